"""What follows inference: the tables and reports of each recording, and at the end the leaderboards of all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from badc.datasets.inference.elsewhere import fetch_outputs
from badc.datasets.inference.plan import OrchestrationPlan
from badc.datasets.inference.recording import RecordingToInfer
from badc.datasets.inference.settings import OrchestrateSettings
from badc.detections.aggregate import NotChunked, aggregate
from badc.detections.settings import AggregateSettings
from badc.errors import BadcError, listed, numbered
from badc.recordings.places import Layout
from badc.reports.bundle import make_bundle
from badc.reports.rankings.rollup import LAST_BOARD, Rollup, roll_up
from badc.reports.settings import BundleSettings, RollupSettings
from badc.system.paths import as_written, is_passed_over


def bundle_recording(plan: OrchestrationPlan, recording: RecordingToInfer) -> list[Path]:
    """Make a recording's tables and its bundle of reports; return what was written.

    Raises
    ------
    BadcError
        When a file of detections cannot be used, or a report cannot be written.
    """
    settings = plan.settings
    fetch_outputs(plan, recording)
    table = settings.table_of(recording.recording_id)
    sites = settings.sites_path
    made = aggregate(
        AggregateSettings(
            detections_dir=settings.below(settings.output_dir) / recording.recording_id,
            output=table.with_suffix(".csv"),
            parquet=table,
            manifest=(recording.manifest,),
            layout=plan.layout,
            sites=sites,
        )
    )
    bundle = make_bundle(
        BundleSettings(
            parquet=table,
            sites=sites,
            bucket_minutes=settings.bundle_bucket_minutes,
            audio_root=settings.root,
            no_plots=True,  # four files a recording that few look at, and most of the time that its reports take
        )
    )
    if made.bad:
        for path in bundle.written:
            if path.suffix == ".html":
                path.unlink()  # with it, the reports would count as whole, and the next run would say nothing
        reasons = [f"{path}: {reason}" for path, reason in made.bad_files]
        raise BadcError(
            f"{numbered(made.bad, 'file')} of detections could not be used, the others are in:\n"
            f"{listed(reasons, made.bad)}"
        )
    return [*made.written, *bundle.written]


def has_tables(settings: OrchestrateSettings) -> bool:
    """Whether any recording of the dataset, of this run or an earlier one, has a table."""
    return next(_tables(settings), None) is not None


def lacks_leaderboards(settings: OrchestrateSettings) -> bool:
    """Whether leaderboards are wanted and could be made, and are not there, or older than a table."""
    if not settings.bundle_rollup or not has_tables(settings):
        return False
    last = settings.rollup_folder / LAST_BOARD
    return not last.exists() or any(table.stat().st_mtime > last.stat().st_mtime for table in _tables(settings))


def _tables(settings: OrchestrateSettings) -> Iterator[Path]:
    tables = settings.below(settings.bundle_aggregate_dir).glob("*.parquet")
    return (table for table in tables if table.exists() and not is_passed_over(table.name))


def roll_up_bundles(plan: OrchestrationPlan) -> Rollup:
    """Make the leaderboards of every table in the folder of the bundles, and of the recordings that have no chunks.

    Raises
    ------
    BadcError
        When there is no table, or one cannot be used.
    """
    settings, layout, audio = plan.settings, Layout(plan.layout), plan.settings.place.audio
    folder = settings.below(settings.bundle_aggregate_dir)
    made = roll_up(
        RollupSettings(folder=folder, limit=settings.bundle_rollup_limit, export_dir=settings.rollup_folder),
        [
            (NotChunked(r.recording_id, r.manifest, r.reason), layout.place_of(as_written(r.manifest, audio)))
            for r in plan.not_chunked
        ],
    )
    if not made.tables:
        raise BadcError(
            listed([f"{folder}: no table in it can be used", *(f"{p}: {why}" for p, why in made.bad_files)])
        )
    return made
