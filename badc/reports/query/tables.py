"""The tables of detections and coverage as SQL views, whatever tool wrote them.

Every report starts from `open_tables`. It reads Parquet as it is queried, keeps DuckDB's memory bounded, and lets large
intermediate results spill to disk.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from badc.detections.stations import SITE_COLUMNS, add_sites, local_time, site_join
from badc.detections.tables import COVERAGE_SCHEMA, DETECTIONS_SCHEMA, coverage_path
from badc.errors import RequestError
from badc.recordings.names import parse_recording_name
from badc.recordings.sites import Site, read_sites
from badc.reports.query.connection import connection, explained, first_line
from badc.reports.query.events import events_query
from badc.reports.query.nights import night_of
from badc.reports.query.runs import define_runs
from badc.reports.query.species import with_joined_labels
from badc.system.annex import require_content
from badc.system.sql import identifier, quoted, quoted_path

ANALYSED = ("ok", "no_detections")
# Other tools write a row with one of these for a chunk without a detection.
_PLACEHOLDERS = ("no_detections", "no_output", "stub", "missing")
_IDS_PER_READ = 50_000
_SQL_TYPES = {"string": "VARCHAR", "int64": "BIGINT", "int32": "INTEGER", "double": "DOUBLE", "bool": "BOOLEAN"}
NEEDED_OF_DETECTIONS = ("recording_id", "chunk_id", "label", "confidence")
NEEDED_OF_COVERAGE = ("recording_id", "chunk_id", "start_ms", "end_ms", "status")


# The analysed audio of each chunk without what an earlier chunk of the recording has too, by the station's clock.
PIECES = """
    SELECT recording_id, station, study_area,
      local_start + to_milliseconds(greatest(start_ms, covered_ms) - start_ms) AS begins,
      local_start + to_milliseconds(end_ms - start_ms) AS ends,
      end_ms - greatest(start_ms, covered_ms) AS piece_ms
    FROM (
      SELECT recording_id, station, study_area, start_ms, end_ms, local_start,
        max(end_ms) OVER (PARTITION BY recording_id ORDER BY start_ms, end_ms
          ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS covered_ms
      FROM coverage WHERE analysed AND end_ms > start_ms)
    WHERE covered_ms IS NULL OR end_ms > covered_ms
"""
# The query of the view `effort`, from the view or a table `coverage`.
EFFORT = f"""
    WITH pieces AS ({PIECES}),
    hours AS (
      SELECT *, unnest(CASE WHEN begins IS NULL THEN [CAST(NULL AS TIMESTAMP)]
        ELSE range(date_trunc('hour', begins), ends, INTERVAL 1 HOUR) END) AS local_hour
      FROM pieces)
    SELECT recording_id, station, study_area, local_hour, CAST(local_hour AS DATE) AS date,
      hour(local_hour) AS hour, {night_of("local_hour")} AS night,
      CAST(sum(CASE WHEN local_hour IS NULL THEN piece_ms
        ELSE epoch_ms(least(ends, local_hour + INTERVAL 1 HOUR)) - epoch_ms(greatest(begins, local_hour)) END)
        AS BIGINT) AS analysed_ms
    FROM hours GROUP BY ALL
"""


@contextlib.contextmanager
def open_tables(
    parquet: Path, coverage: Path | None = None, sites: Path | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield an in-memory database in which a table of detections and its coverage are views.

    View `detections`: the columns of the table of detections (docs/formats.md), then `study_area`, `latitude`,
    `longitude`, `timezone`, `local_time` (TIMESTAMP: `detected_at` as the station's time of day), its `date` (DATE),
    `hour` (0 to 23) and `night` (DATE: see `badc.reports.query.nights`), then any others in the file. Rows that are no
    detections are left out. A species has one `label` (see `badc.reports.query.species`).

    View `coverage`: the columns of the table of coverage, then `study_area`, `latitude`, `longitude`, `timezone`,
    `local_start` (TIMESTAMP), `length_ms` and `analysed` (BOOLEAN), then any others in the file. Empty without a
    coverage table.

    View `effort`: the audio that was analysed, by recording and hour: `recording_id`, `station`, `study_area`,
    `local_hour` (TIMESTAMP: start of the hour), `date`, `hour`, `night`, `analysed_ms`. Audio that several chunks share
    counts once; a chunk across the full hour is divided between both. The times are null if the recording's start is
    unknown.

    View `events`: detections that follow each other, as one (see `badc.reports.query.events`).

    View `runs`: what made the results (see `badc.reports.query.runs`).

    Columns that the file lacks are null; `station`, `recorded_at` and the absolute times are derived from what it has.
    `coverage` is by default the table beside `parquet`, if there is one; `sites` is as in `badc.recordings.sites`.

    Raises
    ------
    RequestError
        If a file cannot be read, or lacks a column that cannot be derived.
    BadcError
        If DuckDB fails later on, as on a full disk.
    """
    found = find_coverage(parquet, coverage)
    places = read_sites(sites) if sites is not None else ()
    require_content([parquet], "table")
    if not parquet.is_file():
        raise RequestError(f"{parquet}: no such table of detections; `badc infer aggregate --parquet` writes one")
    with connection() as database, explained(parquet):
        add_sites(database, places)
        define_detections(database, source_of(database, [parquet], NEEDED_OF_DETECTIONS), places, "told_detections")
        with_joined_labels(database, "told_detections", "detections")
        if found is None:
            columns = ", ".join(f"{name} {kind}" for name, kind in COVERAGE_COLUMNS.items())
            database.execute(f"CREATE TABLE covered ({columns})")
            define_coverage(database, Source("covered", COVERAGE_COLUMNS), places)
        else:
            with explained(found):
                define_coverage(database, source_of(database, [found], NEEDED_OF_COVERAGE), places)
        database.execute(f"CREATE VIEW effort AS {EFFORT}")
        database.execute(f"CREATE VIEW events AS {events_query('detections')}")
        define_runs(database, [parquet] if found is None else [parquet, found])
        yield database


def find_coverage(parquet: Path, coverage: Path | None = None) -> Path | None:
    """Return the named table of coverage, else the one beside the detections, or None.

    Raises
    ------
    RequestError
        If the named one does not exist.
    """
    if coverage is None:
        beside = coverage_path(parquet)
        require_content([beside], "table of coverage")
        return beside if beside.is_file() else None
    require_content([coverage], "table of coverage")
    if not coverage.is_file():
        raise RequestError(f"{coverage}: no such table of coverage")
    return coverage


@dataclass(frozen=True, slots=True)
class Source:
    """Something to select from, with the names and DuckDB types of its columns."""

    sql: str
    columns: dict[str, str]


def source_of(
    database: duckdb.DuckDBPyConnection, files: Sequence[Path], needed: Sequence[str], file_column: str | None = None
) -> Source:
    """Return Parquet files with the same columns as something to select from.

    `needed` are columns they must have; `file_column` names a column to add, with the path of each row's file.

    Raises
    ------
    RequestError
        If the first file is not Parquet or lacks a needed column.
    """
    # A folder named like `station=A` is not a column.
    options = "hive_partitioning = false" + (f", filename = {quoted(file_column)}" if file_column else "")
    sql = f"read_parquet([{', '.join(map(quoted_path, files))}], {options})"
    try:
        described = database.execute(f"DESCRIBE SELECT * FROM {sql}").fetchall()
    except duckdb.Error as error:
        raise RequestError(f"{files[0]}: cannot be read as Parquet: {first_line(error)}") from None
    columns = {name.lower(): str(kind) for name, kind, *_ in described}
    if lacking := lacking_columns(columns, needed):
        raise RequestError(
            f"{files[0]}: the column{'s' if len(lacking) > 1 else ''} {', '.join(lacking)} "
            f"{'are' if len(lacking) > 1 else 'is'} missing{_hint(files[0], columns, needed)}"
        )
    return Source(sql, columns)


def lacking_columns(columns: dict[str, str] | Sequence[str], needed: Sequence[str]) -> list[str]:
    """Return the missing columns; a table of detections also needs those that give the times of detections."""
    lacking = [name for name in needed if name not in columns]
    if "label" in needed and "absolute_time_ms" not in columns:
        lacking += [name for name in ("chunk_start_ms", "timestamp_ms") if name not in columns]
    return lacking


def _hint(path: Path, columns: dict[str, str], needed: Sequence[str]) -> str:
    if "label" in needed and not lacking_columns(columns, NEEDED_OF_COVERAGE):
        return "; this is a table of coverage, name the table of detections"
    kind = "detections" if "label" in needed else "coverage"
    return f", so it is not a table of {kind}; `badc infer aggregate --parquet` writes one"


def define_detections(database: duckdb.DuckDBPyConnection, source: Source, sites: Sequence[Site], view: str) -> None:
    """Make a view of a source, with its own labels; call `add_sites` first."""
    names = _recorded(database, source, f"{view}_names")
    cells = {name: _cell(source, name, _sql_type(name, DETECTIONS_SCHEMA)) for name in DETECTIONS_SCHEMA.names}
    cells |= names.cells
    for absolute_ms, ms in (("absolute_time_ms", "timestamp_ms"), ("absolute_end_ms", "end_ms")):
        cells[absolute_ms] = f"coalesce({cells[absolute_ms]}, {cells['chunk_start_ms']} + {cells[ms]})"
    computed = f"{cells['recorded_at']} + to_milliseconds({cells['absolute_time_ms']})"
    cells["detected_at"] = f"coalesce({cells['detected_at']}, {computed})"
    cells["confidence"] = _finite(cells["confidence"])
    _normalized(cells, source)
    told = [name for name in cells if name not in SITE_COLUMNS]
    own = {*DETECTIONS_SCHEMA.names, *SITE_COLUMNS, "local_time", "date", "hour", "night", "unexpected"}
    further = [name for name in source.columns if name not in own]
    chosen = [f"{cell} AS {name}" for name, cell in cells.items()] + [f"t.{identifier(name)}" for name in further]
    placeholders = ", ".join(map(quoted, _PLACEHOLDERS))
    # A custom command's chunk without a detection, in tables of other tools.
    none = " AND ".join(f"{cells[name]} IS NULL" for name in ("confidence", "timestamp_ms", "absolute_time_ms"))
    database.execute(
        f"""
        CREATE VIEW {view} AS
        WITH told AS (
          SELECT {", ".join(chosen)} FROM {source.sql} t {names.join}
          WHERE {cells["label"]} IS NOT NULL AND {cells["label"]} <> ''
            AND ({cells["status"]} IS NULL OR {cells["status"]} NOT IN ({placeholders}))
            AND NOT ({cells["label"]} = 'none' AND {none})),
        placed AS (
          SELECT {", ".join(f"told.{name}" for name in told)}, {_site_cells(sites)},
            {local_time("told.detected_at", sites)} AS local_time
            {"".join(f", told.{identifier(name)}" for name in further)}
          FROM told {site_join(sites)})
        SELECT {", ".join(dict.fromkeys((*cells, *SITE_COLUMNS)))}, local_time, CAST(local_time AS DATE) AS date,
          hour(local_time) AS hour, {night_of("local_time")} AS night
          {"".join(f", {identifier(name)}" for name in further)} FROM placed
        """
    )


def define_coverage(
    database: duckdb.DuckDBPyConnection, source: Source, sites: Sequence[Site], view: str = "coverage"
) -> None:
    """Make the view `coverage` (or another name) of a source; call `add_sites` first."""
    names = _recorded(database, source, f"{view}_names")
    cells = {name: _cell(source, name, _sql_type(name, COVERAGE_SCHEMA)) for name in COVERAGE_SCHEMA.names}
    cells |= names.cells
    _normalized(cells, source)
    own = {*COVERAGE_COLUMNS, *SITE_COLUMNS, "local_start", "length_ms", "analysed", "started_at"}
    further = [name for name in source.columns if name not in own]
    chosen = [f"{cell} AS {name}" for name, cell in cells.items()] + [f"t.{identifier(name)}" for name in further]
    told = [name for name in cells if name not in SITE_COLUMNS]
    database.execute(
        f"""
        CREATE VIEW {view} AS
        WITH told AS (
          SELECT {", ".join(chosen)} FROM {source.sql} t {names.join}),
        started AS (SELECT *, recorded_at + to_milliseconds(start_ms) AS started_at FROM told)
        SELECT {", ".join(f"told.{name}" for name in told)}, {_site_cells(sites)},
          {local_time("told.started_at", sites)} AS local_start, end_ms - start_ms AS length_ms,
          coalesce(status IN ({", ".join(map(quoted, ANALYSED))}), false) AS analysed
          {"".join(f", told.{identifier(name)}" for name in further)}
        FROM started AS told {site_join(sites)}
        """
    )


def _sql_type(name: str, schema: pa.Schema) -> str:
    kind = schema.field(name).type
    return "TIMESTAMP" if pa.types.is_timestamp(kind) else _SQL_TYPES[str(kind)]


COVERAGE_COLUMNS = {name: _sql_type(name, COVERAGE_SCHEMA) for name in COVERAGE_SCHEMA.names}  # with DuckDB's types


def _cell(source: Source, name: str, kind: str) -> str:
    """Return SQL for a column in the type that reports rely on; null if the source lacks it."""
    given = source.columns.get(name)
    if given is None:
        return f"CAST(NULL AS {kind})"
    cell = f"t.{identifier(name)}"
    if given == "TIMESTAMP WITH TIME ZONE" and kind == "TIMESTAMP":
        return f"timezone('UTC', {cell})"
    if given in ("FLOAT", "DOUBLE") and kind == "BIGINT":  # whole numbers with gaps, as pandas writes them
        return f"CAST({_finite(cell)} AS BIGINT)"
    return cell if given == kind else f"CAST({cell} AS {kind})"


def _finite(cell: str) -> str:
    """Return SQL for a number, null if it is NaN; `isnan` is always false if Parquet's statistics know no NaN."""
    return f"CASE WHEN isfinite({cell}) THEN {cell} END"


@dataclass(frozen=True, slots=True)
class _Recorded:
    cells: dict[str, str]
    join: str


def _recorded(database: duckdb.DuckDBPyConnection, source: Source, table: str) -> _Recorded:
    """Return how to get station, start and clock of the recordings: from the source, else from their ids."""
    columns = source.columns
    if columns.get("recorded_at") == "TIMESTAMP WITH TIME ZONE":  # instants, which are UTC here
        told = {"recorded_utc_offset_min": "0"}
    elif "recorded_at" not in columns:
        told = {"recorded_at": "n.recorded_at", "recorded_utc_offset_min": "n.utc_offset_min"}
    else:
        told = {}
    if "station" not in columns:
        told["station"] = "n.station"
    if not any(cell.startswith("n.") for cell in told.values()):
        return _Recorded(told, "")
    database.execute(
        f"CREATE TABLE {table} (recording_id VARCHAR, station VARCHAR, recorded_at TIMESTAMP, utc_offset_min BIGINT)"
    )
    ids = database.cursor().execute(f"SELECT DISTINCT CAST(recording_id AS VARCHAR) FROM {source.sql}")
    while rows := ids.fetchmany(_IDS_PER_READ):
        parsed = [(row[0], parse_recording_name(row[0])) for row in rows if row[0] is not None]
        block = pa.table(
            {
                "recording_id": pa.array([name for name, _ in parsed], pa.string()),
                "station": pa.array([origin.station for _, origin in parsed], pa.string()),
                "recorded_at": pa.array([origin.recorded_at for _, origin in parsed], pa.timestamp("us")),
                "utc_offset_min": pa.array([origin.utc_offset_min for _, origin in parsed], pa.int64()),
            }
        )
        database.register("parsed_names", block)
        database.execute(f"INSERT INTO {table} SELECT * FROM parsed_names")
        database.unregister("parsed_names")
    return _Recorded(told, f"LEFT JOIN {table} n ON n.recording_id = CAST(t.recording_id AS VARCHAR)")


def _normalized(cells: dict[str, str], source: Source) -> None:
    """Bring names into NFC, in which sites are compared; tables with study areas have them so."""
    if "study_area" not in source.columns:
        for name in ("recording_id", "chunk_id", "station", "label", "label_code", "label_name"):
            if name in cells:
                cells[name] = f"nfc_normalize({cells[name]})"


def _site_cells(sites: Sequence[Site]) -> str:
    cells = {name: f"sites.{name}" if sites else f"CAST(NULL AS {kind})" for name, kind in SITE_COLUMNS.items()}
    cells["study_area"] = "coalesce(sites.study_area, told.study_area)" if sites else "told.study_area"
    return ", ".join(f"{cell} AS {name}" for name, cell in cells.items())
