"""`badc report bundle` and `page`: every report of one table of detections, or the page alone (docs/formats.md)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from badc.reports.files.database import read_database, refuse_in_use, write_database
from badc.reports.query.counts import choose, count_pairs, matching
from badc.reports.query.notes import notes_on_tables
from badc.reports.query.tables import find_coverage, open_tables
from badc.reports.rankings.overview import Overview, figures_of, write_parquet_report
from badc.reports.rankings.quicklook import write_quicklook
from badc.reports.settings import BundleSettings, DatabaseSettings, PageSettings
from badc.system.paths import absolute, require_inside


@dataclass(frozen=True, slots=True)
class Bundle:
    """The figures of the whole table, notes for the reader, and the files in the order in which they were written."""

    figures: Overview
    notes: tuple[str, ...]
    written: tuple[Path, ...]


def make_bundle(settings: BundleSettings) -> Bundle:
    """Write every report of a table of detections that is not turned off.

    Files of an earlier bundle of the same name are replaced, one by one.

    Raises
    ------
    RequestError
        As `badc.reports.files.database.make_database`. If the database is open elsewhere, nothing is written.
    BadcError
        As `badc.reports.query.tables.open_tables`.
    """
    folder, prefix = absolute(settings.folder), settings.prefix
    quicklook, overview, exported = (
        folder / f"{prefix}_{name}" for name in ("quicklook", "parquet_report", "duckdb_exports")
    )
    for made_folder in (quicklook, overview, exported):
        require_inside(folder, made_folder)
    coverage = find_coverage(settings.parquet, settings.coverage)
    database = folder / f"{prefix}.duckdb"
    if not settings.no_duckdb_report:
        refuse_in_use(database)
    written: list[Path] = []
    with open_tables(settings.parquet, coverage, settings.sites) as tables:
        problems = (*choose(tables, settings), *matching(tables, settings.private_labels)[1])
        count_pairs(tables, settings)
        notes = (*notes_on_tables(tables, settings.parquet, coverage), *problems)
        figures = figures_of(tables, has_coverage=coverage is not None)
        if not settings.no_quicklook:
            written += write_quicklook(tables, quicklook, settings.for_spreadsheets)
        if not settings.no_parquet_report:
            written += write_parquet_report(tables, settings, coverage, figures, overview)
        if not settings.no_duckdb_report:
            write_database(tables, database, settings.bucket_minutes, settings, settings.parquet)
    if not settings.no_duckdb_report:
        exports = DatabaseSettings(
            parquet=settings.parquet,
            database=database,
            export_dir=exported,
            for_spreadsheets=settings.for_spreadsheets,
        )
        made = read_database(exports, notes)
        written += [made.database, *made.written]
    if not settings.no_html:
        written += make_page(settings)
    return Bundle(figures, notes, tuple(written))


def make_page(settings: PageSettings) -> tuple[Path, ...]:
    """Write the page of a table of detections, and its charts as PNG files; return them in this order.

    Raises as `badc.reports.query.tables.open_tables`.
    """
    # Not at the top: no other report needs the page's libraries.
    from badc.reports.page.page import write_page

    coverage = find_coverage(settings.parquet, settings.coverage)
    written = write_page(
        settings.parquet,
        absolute(settings.folder) / f"{settings.prefix}_report.html",
        coverage=coverage,
        sites=settings.sites,
        clips=not settings.no_clips,
        plots=not settings.no_plots,
        choice=settings,
        audio_root=settings.audio_root,
        title=settings.title,
        min_effort_h=settings.min_effort,
        privacy=settings,
        events=settings,
    )
    return tuple(written)
