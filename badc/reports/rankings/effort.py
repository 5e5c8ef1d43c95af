"""How long was analysed of each recording, over the coverage of several tables: the leaderboards' effort."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from badc.detections.aggregate import NotChunked
from badc.detections.tables import NOT_CHUNKED, coverage_path
from badc.errors import numbered
from badc.recordings.places import Place
from badc.reports.query.counts import MS_PER_HOUR
from badc.reports.query.tables import (
    COVERAGE_COLUMNS,
    NEEDED_OF_COVERAGE,
    Source,
    define_coverage,
    lacking_columns,
    source_of,
)

_USED = (
    "recording_id, station, study_area, recorded_at, start_ms, end_ms, status, notes, analysed, runner, fingerprint, "
    "badc_file"
)


def readable_coverage(table: Path) -> Path | None:
    """Return the table of coverage beside a table of detections, or None if there is none that can be used."""
    path = coverage_path(table)
    try:
        lacking = lacking_columns([name.lower() for name in pq.read_schema(path).names], NEEDED_OF_COVERAGE)
    except (OSError, pa.ArrowException):
        return None
    return None if lacking else path


def count_analysed(
    database: duckdb.DuckDBPyConnection, tables: Sequence[Path], not_chunked: Sequence[tuple[NotChunked, Place]] = ()
) -> tuple[str, ...]:
    """Make the view `coverage` of all tables, and the table `analysed`: recording_id, station, hours.

    Audio that several chunks or tables share counts once. Recordings are the same as among the detections, whose views
    must exist; one that is heard in no table is known by its id, place and start. Those that were not chunked, as the
    tables or `not_chunked` say, have 0 hours, unless a table has them. Returns notes for the reader.
    """
    beside = {table: path for table in tables if (path := readable_coverage(table)) is not None}
    alike: dict[str, list[Path]] = defaultdict(list)
    for path in beside.values():
        alike[str(pq.read_schema(path).remove_metadata())].append(path)
    sources = [source_of(database, paths, NEEDED_OF_COVERAGE, "badc_file") for paths in alike.values()]
    columns = COVERAGE_COLUMNS | {"badc_file": "VARCHAR"}
    database.execute(f"CREATE TABLE others ({', '.join(f'{name} {kind}' for name, kind in columns.items())})")
    for recording, place in not_chunked:
        database.execute(
            "INSERT INTO others (recording_id, station, study_area, status, notes) VALUES (?, ?, ?, ?, ?)",
            [recording.recording_id, place.station, place.study_area, NOT_CHUNKED, recording.reason],
        )
    sources.append(Source("others", columns))
    for number, source in enumerate(sources):
        define_coverage(database, source, (), f"covered_{number}")
    union = " UNION ALL ".join(f"SELECT {_USED} FROM covered_{number}" for number in range(len(sources)))
    database.execute(
        f"""
        CREATE VIEW coverage AS
        WITH told AS ({union}),
        found AS (
          SELECT recording_id, station FROM told WHERE status IS DISTINCT FROM '{NOT_CHUNKED}'
          UNION SELECT recording_id, station FROM all_rows)
        SELECT * FROM told WHERE status IS DISTINCT FROM '{NOT_CHUNKED}' OR NOT EXISTS (
          SELECT 1 FROM found
          WHERE found.recording_id = told.recording_id AND found.station IS NOT DISTINCT FROM told.station)
        """
    )
    numbers = pa.table(
        {
            "badc_file": [str(path) for path in beside.values()],
            "number": pa.array([tables.index(table) for table in beside], pa.int32()),
        }
    )
    database.register("coverage_files", numbers)
    database.execute(
        f"""
        CREATE TEMP TABLE analysed AS
        WITH origins AS (
          SELECT number, recording_id, min(origin) AS origin FROM all_rows GROUP BY ALL),
        stations AS (
          SELECT recording_id FROM coverage GROUP BY ALL HAVING count(DISTINCT station) > 1),
        only_origins AS (
          SELECT recording_id, min(origin) AS origin FROM origins ANTI JOIN stations USING (recording_id)
          GROUP BY ALL HAVING count(DISTINCT origin) = 1),
        named AS (
          SELECT c.*, coalesce(o.origin, only_origins.origin,
            concat_ws(chr(31), c.station, c.study_area, CAST(c.recorded_at AS VARCHAR))) AS origin
          FROM coverage c JOIN coverage_files USING (badc_file)
          LEFT JOIN origins o ON o.number = coverage_files.number AND o.recording_id = c.recording_id
          LEFT JOIN only_origins ON only_origins.recording_id = c.recording_id
          WHERE analysed AND end_ms > start_ms),
        ordered AS (
          SELECT recording_id, origin, station, start_ms, end_ms,
            max(end_ms) OVER (PARTITION BY recording_id, origin ORDER BY start_ms, end_ms
              ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS covered_ms
          FROM named),
        one AS (
          SELECT recording_id, max(station) AS station,
            sum(greatest(0, end_ms - greatest(start_ms, coalesce(covered_ms, start_ms)))) / {MS_PER_HOUR} AS hours
          FROM ordered GROUP BY recording_id, origin)
        SELECT recording_id, station, sum(hours) AS hours FROM one GROUP BY ALL
        UNION SELECT recording_id, station, 0 FROM coverage WHERE status = '{NOT_CHUNKED}'
        """
    )
    without = len(tables) - len(beside)
    if not without:
        return ()
    return (
        f"{numbered(without, 'table has', 'tables have')} no table of coverage beside "
        f"{'it' if without == 1 else 'them'}, so rates that need "
        f"{'its' if without == 1 else 'their'} hours of analysed audio are not known",
    )
