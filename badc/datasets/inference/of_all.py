"""The table and the page of all recordings of a dataset, which a pipeline ends with."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from badc.datasets.inference.settings import OrchestrateSettings
from badc.datasets.inference.tables import own_folder
from badc.datasets.place import DatasetPlace, place_of
from badc.detections.settings import AggregateSettings
from badc.errors import RequestError
from badc.recordings.sites import read_sites
from badc.reports.settings import PageSettings
from badc.reports.which_table import OF_ALL
from badc.settings.model import option_name
from badc.system.annex import content_is_elsewhere
from badc.system.paths import absolute

if TYPE_CHECKING:
    from badc.detections.findings import SpeciesCount

SITES_FILE = "sites.csv"
_COLUMNS = {"station", "latitude", "longitude"}


def sites_beside(place: DatasetPlace) -> tuple[Path | None, str | None]:
    """Return the `sites.csv` beside the recordings or the results, and a sentence on it; None where there is none.

    One of another kind is not used, and the sentence says so. Raises RequestError if one has wrong rows.
    """
    for folder in dict.fromkeys((place.base, place.root)):
        path = folder / SITES_FILE
        if path.is_file():
            if not _has_columns(path):
                return None, f"{path} is not used: its columns are not station,latitude,longitude"
            return path, f"Stations: {len(read_sites(path))}, from {path}"
    return None, None


def _has_columns(path: Path) -> bool:
    with path.open(encoding="utf-8-sig", errors="replace") as stream:
        header = stream.readline().lower().replace('"', "")
    return {name.strip() for name in header.replace(";", ",").replace("\t", ",").split(",")} >= _COLUMNS


def tables_of_all(settings: OrchestrateSettings) -> AggregateSettings:
    """Return the settings of the tables of all recordings, which are in the folder of the recordings' tables."""
    table = _table(settings)
    return AggregateSettings(
        detections_dir=settings.below(settings.output_dir),
        output=table.with_suffix(".csv"),
        parquet=table,
        manifest=(settings.below(settings.manifest_dir),),
        layout=settings.layout,
        sites=settings.sites_path,
    )


def _table(settings: OrchestrateSettings) -> Path:
    return settings.below(settings.bundle_aggregate_dir) / OF_ALL


def page_of_all(settings: OrchestrateSettings) -> Path:
    """Return the path of their page: of a study at the top of its results, else beside the tables.

    Further tables, in a folder of their own, have a page of their own.
    """
    tables = type(settings).model_fields["bundle_aggregate_dir"].default
    is_first = settings.place.is_study and settings.bundle_aggregate_dir == tables
    return (settings.root if is_first else settings.below(settings.bundle_aggregate_dir)) / "report.html"


def page_of_a_dataset(settings: PageSettings) -> tuple[PageSettings, str | None]:
    """Return the settings of a page, and what to say of the stations: see `sites_beside`.

    A page of the table of all recordings gets what a pipeline gives it: the stations, the title and the audio of the
    dataset or the study that the table is in, unless others are given.
    """
    table = absolute(settings.parquet)
    tables = OrchestrateSettings.model_fields["bundle_aggregate_dir"].default
    root = table.parents[len(tables.parts)]
    if table != root / tables / OF_ALL or (place := place_of(root, None)).root != root:
        return settings, None
    found, said = (settings.sites, None) if settings.sites is not None else sites_beside(place)
    changes = {"sites": found, "title": settings.title or place.title, "audio_root": settings.audio_root or root}
    return settings.model_copy(update=changes), said


def write_page_of_all(settings: OrchestrateSettings) -> Path:
    """Write the page; its tables must be there. Raises as `badc.reports.page.page.write_page`."""
    from badc.reports.page.page import write_page  # not at the top: it takes long to import

    page = page_of_all(settings)
    write_page(
        _table(settings),
        page,
        sites=settings.sites_path,
        plots=False,
        audio_root=settings.root,
        title=settings.place.title,
    )
    return page


def is_up_to_date(settings: OrchestrateSettings) -> bool:
    """Whether the page is newer than every result and the stations, or there is nothing to make it of.

    Git keeps no times, so in its repositories a page that is there counts.
    """
    results = settings.below(settings.output_dir)
    if not results.is_dir():
        return True
    try:
        _table(settings).lstat()  # git-annex may have dropped the content
        made_s = page_of_all(settings).lstat().st_mtime
        if (settings.root / ".git").exists():
            return True
        if settings.sites_path is not None and settings.sites_path.stat().st_mtime > made_s:
            return False
        with os.scandir(results) as entries:
            return all(entry.stat().st_mtime <= made_s for entry in entries if entry.is_dir())
    except FileNotFoundError:
        return False


def species_of_all(settings: OrchestrateSettings) -> list[SpeciesCount] | None:
    """Return the species of the table that is there; None if none can be read."""
    if not (table := _table(settings)).exists() or content_is_elsewhere(table):
        return None
    import duckdb  # not at the top, as below

    from badc.detections.findings import species_in

    with suppress(duckdb.Error):
        return species_in(table)
    return None


def require_own_tables_of_all(settings: OrchestrateSettings) -> None:
    """Raise RequestError if the table that is there is of another folder of detections."""
    table, results = _table(settings), settings.below(settings.output_dir)
    if not table.exists():
        return
    import pyarrow as pa  # not at the top: where no table is there, nothing needs it yet
    import pyarrow.parquet as pq

    from badc.detections.made_of import detections_of, is_of

    try:
        told = detections_of(table, pq.read_metadata(table))
    except (pa.ArrowException, OSError):
        return
    if not is_of(told, results):
        raise RequestError(
            f"{table}: is the table of the detections in {told[0]}. What is there is not replaced: "
            f"{own_folder(settings, option_name('bundle_aggregate_dir'))}"
        )
