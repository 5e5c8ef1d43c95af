"""`badc report parquet`: labels, recordings, a timeline and the figures of the whole table."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from badc.reports.query.counts import (
    AVERAGES,
    LABELS,
    MS_PER_HOUR,
    RECORDINGS,
    Ranking,
    choose,
    count_pairs,
    ranked,
    timeline,
    write_csv,
)
from badc.reports.query.notes import notes_on_tables
from badc.reports.query.tables import find_coverage, open_tables
from badc.reports.settings import ParquetReportSettings
from badc.system import atomic
from badc.system.paths import absolute


@dataclass(frozen=True, slots=True)
class Overview:
    """The figures of a whole table of detections."""

    detections: int
    labels: int
    recordings: int  # with a detection
    stations: int  # with a detection
    avg_confidence: float | None  # over detections that have one; None without any
    max_confidence: float | None  # likewise
    first_detected_at: str | None  # by the recorders' clocks, ISO-8601; None if no recording's start is known
    last_detected_at: str | None  # likewise
    chunks: dict[str, int]  # of coverage, by status; empty without coverage
    analysed_recordings: int | None  # with an analysed chunk; None without coverage
    analysed_hours: float | None  # of audio; None without coverage
    detections_per_hour: float | None  # of analysed audio; None without any
    events: int  # see `badc.reports.query.events`


@dataclass(frozen=True, slots=True)
class ParquetReport:
    """What `badc report parquet` shows."""

    labels: Ranking  # those with the most detections
    recordings: Ranking  # likewise
    timeline: Ranking  # detections by time from the start of their recording, all recordings together
    figures: Overview
    notes: tuple[str, ...]  # what the reader should know
    written: tuple[Path, ...]  # the CSVs and the JSON


def parquet_report(settings: ParquetReportSettings) -> ParquetReport:
    """Rank labels and recordings, and count over time.

    With `output_dir`, write `labels.csv`, `recordings.csv`, `timeline.csv` and `summary.json`.

    Raises
    ------
    RequestError, BadcError
        As `badc.reports.query.tables.open_tables`.
    """
    coverage = find_coverage(settings.parquet, settings.coverage)
    with open_tables(settings.parquet, coverage, settings.sites) as database:
        problems = choose(database, settings)
        count_pairs(database, settings)
        figures = figures_of(database, has_coverage=coverage is not None)
        written: tuple[Path, ...] = ()
        if settings.output_dir is not None:
            written = write_parquet_report(database, settings, coverage, figures, settings.output_dir)
        return ParquetReport(
            ranked(database, LABELS, settings.top_labels),
            ranked(database, RECORDINGS, settings.top_recordings),
            ranked(database, timeline(settings.bucket_minutes)),
            figures,
            (*notes_on_tables(database, settings.parquet, coverage), *problems),
            written,
        )


def figures_of(database: duckdb.DuckDBPyConnection, *, has_coverage: bool) -> Overview:
    """Return the figures of the chosen detections; call `badc.reports.query.counts.count_pairs` first."""
    detections, recordings, stations, average, highest = database.execute(
        f"""
        SELECT CAST(coalesce(sum(n), 0) AS BIGINT), count(DISTINCT recording_id), count(DISTINCT station), {AVERAGES}
        FROM pairs
        """
    ).fetchall()[0]
    labels = database.execute("SELECT count(*) FROM label_ranking").fetchall()[0][0]
    first, last = database.execute("SELECT min(detected_at), max(detected_at) FROM chosen").fetchall()[0]
    chunks: dict[str, int] = {}
    analysed: int | None = None
    hours: float | None = None
    if has_coverage:
        chunks = dict(
            database.execute(
                "SELECT coalesce(status, 'unknown'), count(*) FROM coverage GROUP BY ALL ORDER BY ALL"
            ).fetchall()
        )
        analysed, hours = database.execute(
            f"SELECT count(DISTINCT recording_id), coalesce(sum(analysed_ms), 0) / {MS_PER_HOUR} FROM effort_hours"
        ).fetchall()[0]
    return Overview(
        detections,
        labels,
        recordings,
        stations,
        average,
        highest,
        _iso(first),
        _iso(last),
        chunks,
        analysed,
        hours,
        detections / hours if hours else None,
        database.execute("SELECT CAST(coalesce(sum(events), 0) AS BIGINT) FROM event_counts").fetchall()[0][0],
    )


def write_parquet_report(
    database: duckdb.DuckDBPyConnection,
    settings: Any,
    coverage: Path | None,
    figures: Overview,
    folder: Path,
) -> tuple[Path, ...]:
    """Write the CSVs and the JSON of a report to a folder; call `badc.reports.query.counts.count_pairs` first.

    Of `settings`, only `parquet`, `min_confidence`, `thresholds`, `bucket_minutes` and `for_spreadsheets` count;
    `coverage` is only named in the JSON.
    """
    queries = {"labels": LABELS, "recordings": RECORDINGS, "timeline": timeline(settings.bucket_minutes)}
    written = [
        write_csv(database, query, folder / f"{name}.csv", settings.for_spreadsheets) for name, query in queries.items()
    ]
    document = {
        "parquet": str(settings.parquet),
        "coverage": None if coverage is None else str(coverage),
        "min_confidence": settings.min_confidence,
        "thresholds": None if settings.thresholds is None else str(settings.thresholds),
        "bucket_minutes": settings.bucket_minutes,
        **asdict(figures),
    }
    target = absolute(folder / "summary.json")
    atomic.write_text(target, json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    return (*written, target)


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds")
