"""Whose tables there are in a dataset's folder of tables, before those of a run take their place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from badc.datasets.inference.settings import OrchestrateSettings
from badc.detections.fingerprint import differ_in_channels_only
from badc.errors import RequestError
from badc.settings.model import option_name
from badc.system.annex import content_is_elsewhere


def require_own_tables(settings: OrchestrateSettings, recordings: Sequence[tuple[str, bool]]) -> None:
    """Raise RequestError if tables of these recordings, where theirs are wanted, are of another folder of detections.

    Each recording has its id, and whether its tables would be made.

    That is so with an output folder of its own, whose tables would replace those of the first. Tables of another
    program, or of an earlier version, do not say which folder they are of, and count as those of this one.
    """
    for option, folder in _wanted(settings):
        looked = False
        for recording_id, made in recordings:
            if not made and looked:
                continue  # one tells of the others: they were made together
            table = folder / f"{recording_id}.parquet"
            problem = _problem(table, settings.below(settings.output_dir) / recording_id)
            looked = looked or table.exists()
            if problem is not None:
                without = "" if settings.bundle else ", or make none (--no-bundle-rollup)"
                raise RequestError(f"{problem}. What is there is not replaced: {own_folder(settings, option)}{without}")


def own_folder(settings: OrchestrateSettings, option: str) -> str:
    """Return how tables of a second folder of results get a folder of their own, which this option names."""
    if settings.place.is_study:
        return "give the results a folder of their own, with their tables, with --results in place of --output-dir"
    return f"give those of {settings.output_dir} a folder of their own with {option}"


def has_older_tables(settings: OrchestrateSettings, recording_ids: Iterable[str]) -> bool:
    """Whether any of these recordings has a table of this folder's results, which a run without tables leaves."""
    results = settings.below(settings.output_dir)
    return any(
        (table := settings.table_of(name)).exists() and _problem(table, results / name) is None
        for name in recording_ids
    )


def made_otherwise(table: Path, made_with: Mapping[str, Any]) -> bool:
    """Whether a recording's table is of results of other settings than these, as far as it says so."""
    if not table.exists() or content_is_elsewhere(table):
        return False
    from badc.reports.query.runs import told_by  # not at the top, as in `_problem`

    return not all(differ_in_channels_only(settings, made_with) for settings in told_by([table]).values())


def _wanted(settings: OrchestrateSettings) -> list[tuple[str, Path]]:
    """Return each folder in which tables are made or read, with the option that names it."""
    folders: list[tuple[str, Path]] = []
    if settings.bundle or settings.bundle_rollup:
        option = "slurm_bundle_aggregate_dir" if settings.slurm_bundle else "bundle_aggregate_dir"
        folders.append((option_name(option), settings.below(settings.bundle_aggregate_dir)))
    return folders


def _problem(table: Path, results: Path) -> str | None:
    """Return why a recording's tables are not those of these results; None if they are, or are not there."""
    csv = table.with_suffix(".csv")
    if (not table.exists() and not csv.is_file()) or content_is_elsewhere(table):
        return None
    # Not at the top: where no table is there, nothing needs these libraries yet.
    import pyarrow as pa
    import pyarrow.parquet as pq

    from badc.detections.made_of import detections_of, is_of
    from badc.detections.tables import DETECTIONS_SCHEMA

    columns = DETECTIONS_SCHEMA.names[:2]
    try:
        if table.exists():  # git-annex may have dropped its content
            metadata = pq.read_metadata(table)
            if metadata.schema.names[: len(columns)] != columns:
                return f"{table}: is no table of detections"
            # Either folder may have been moved since, with a link in its place.
            if not is_of(told := detections_of(table, metadata), results):
                return f"{table}: is the table of the detections in {told[0]}"
        else:
            with csv.open("rb") as stream:
                if not stream.readline().startswith(",".join(columns).encode()):
                    return f"{csv}: is no table of detections"
    except (pa.ArrowInvalid, OSError) as error:
        return f"{table}: cannot be read as a table of detections ({error})"
    return None
