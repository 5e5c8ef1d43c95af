"""`badc report quicklook`: the first look at a table of detections."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import duckdb

from badc.reports.query.counts import CHUNKS, LABELS, RECORDINGS, Ranking, choose, count_pairs, ranked, write_csv
from badc.reports.query.notes import notes_on_tables
from badc.reports.query.tables import find_coverage, open_tables
from badc.reports.settings import QuicklookSettings
from badc.system.bars import sparkline

MOST_STEPS = 20
_MOST_BARS = 60
_STEPS_S = (1, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400)


@dataclass(frozen=True, slots=True)
class Quicklook:
    """What `badc report quicklook` shows.

    `chunks` counts detections by the start of their chunk in its recording, all recordings together: one row per start
    if there are at most `MOST_STEPS`, else one row per span of time. `sparkline` shows the same in finer steps, as a
    line of bars; it is empty if no chunk's start is known.
    """

    labels: Ranking  # those with the most detections
    recordings: Ranking  # likewise
    chunks: Ranking
    sparkline: str
    notes: tuple[str, ...]  # what the reader should know
    written: tuple[Path, ...]  # the CSVs


def quicklook(settings: QuicklookSettings) -> Quicklook:
    """Rank labels and recordings, and count along the recordings.

    With `output_dir`, write `labels.csv`, `recordings.csv` and `chunks.csv` (every chunk, those of coverage included).

    Raises
    ------
    RequestError, BadcError
        As `badc.reports.query.tables.open_tables`.
    """
    coverage = find_coverage(settings.parquet, settings.coverage)
    with open_tables(settings.parquet, coverage, settings.sites) as database:
        problems = choose(database, settings)
        count_pairs(database, settings)
        folder = settings.output_dir
        written = () if folder is None else write_quicklook(database, folder, settings.for_spreadsheets)
        starts = _count_starts(database)
        return Quicklook(
            ranked(database, LABELS, settings.top_labels),
            ranked(database, RECORDINGS, settings.top_recordings),
            ranked(database, _chunk_timeline(_step(database, starts, MOST_STEPS))),
            _sparkline(database, starts),
            (*notes_on_tables(database, settings.parquet, coverage), *problems),
            written,
        )


def write_quicklook(
    database: duckdb.DuckDBPyConnection, folder: Path, for_spreadsheets: bool = False
) -> tuple[Path, ...]:
    """Write the CSVs of a quicklook to a folder; call `badc.reports.query.counts.count_pairs` first."""
    queries = {"labels": LABELS, "recordings": RECORDINGS, "chunks": CHUNKS}
    return tuple(
        write_csv(database, query, folder / f"{name}.csv", for_spreadsheets) for name, query in queries.items()
    )


def _count_starts(database: duckdb.DuckDBPyConnection) -> int:
    """Make the table `starts`, detections by the start of their chunk, and return its number of rows."""
    database.execute(
        """
        CREATE TEMP TABLE starts AS
        WITH heard AS (
          SELECT chunk_start_ms AS start_ms, count(*) AS n, sum(confidence) AS confidence_sum,
            count(confidence) AS rated
          FROM chosen WHERE chunk_start_ms IS NOT NULL GROUP BY ALL),
        covered AS (
          SELECT start_ms, count(*) AS chunks FROM coverage WHERE analysed AND start_ms IS NOT NULL GROUP BY ALL)
        SELECT start_ms, coalesce(n, 0) AS n, confidence_sum, rated, chunks
        FROM heard FULL OUTER JOIN covered USING (start_ms)
        """
    )
    return int(database.execute("SELECT count(*) FROM starts").fetchall()[0][0])


def _step(database: duckdb.DuckDBPyConnection, starts: int, most: int) -> str:
    """Return SQL for the step of a start: the start itself if there are few, else a span of time."""
    if starts <= most:
        return "start_ms"
    last_ms = database.execute("SELECT max(start_ms) FROM starts").fetchall()[0][0]
    least_s = (last_ms + 1) / most / 1000
    step_ms = 1000 * next((s for s in _STEPS_S if s >= least_s), math.ceil(least_s))
    return f"start_ms // {step_ms} * {step_ms}"


def _chunk_timeline(step: str) -> str:
    return f"""
        SELECT {step} AS chunk_start_ms, CAST(sum(n) AS BIGINT) AS detections,
          round(sum(confidence_sum) / nullif(sum(rated), 0), 9) AS avg_confidence,
          CAST(sum(chunks) AS BIGINT) AS analysed_chunks
        FROM starts GROUP BY 1 ORDER BY 1
    """


def _sparkline(database: duckdb.DuckDBPyConnection, starts: int) -> str:
    rows = ranked(database, _chunk_timeline(_step(database, starts, _MOST_BARS))).rows
    return sparkline([row[1] for row in rows])
