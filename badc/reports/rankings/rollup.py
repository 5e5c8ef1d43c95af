"""`badc report aggregate-dir`: the leaderboards of all detections below a folder.

Every table of detections counts, whatever tool wrote it, and no detection counts twice: if several tables have the same
chunk of a recording with the same fingerprint, the newest file counts. Two recordings are the same if their id, dataset
and audio folder are the same. The id alone is not enough: recorders such as AudioMoths name their files by time only,
whatever the station.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from badc.detections.aggregate import NotChunked
from badc.detections.fingerprint import MODEL_VERSION, RUNNER, fingerprint_of, settings_of
from badc.detections.stations import add_sites
from badc.detections.tables import coverage_path
from badc.errors import RequestError, numbered
from badc.recordings.places import Place
from badc.reports.query.connection import connection, explained
from badc.reports.query.counts import AVERAGES, Ranking, choose, count_detections, ranked, write_csv
from badc.reports.query.events import EVENTS_OF_LABELS, count_events
from badc.reports.query.expected import notes_on_expected
from badc.reports.query.notes import notes_on_gaps
from badc.reports.query.runs import define_runs, mixture, runs_of
from badc.reports.query.species import with_joined_labels
from badc.reports.query.tables import (
    ANALYSED,
    NEEDED_OF_DETECTIONS,
    define_detections,
    lacking_columns,
    source_of,
)
from badc.reports.rankings.effort import count_analysed, readable_coverage
from badc.reports.settings import RollupSettings
from badc.system.annex import ContentElsewhereError, get_line, require_content
from badc.system.paths import absolute, passed_over_notes, walk
from badc.system.sql import quoted, quoted_path

# Names of the CSVs, with their queries over `pairs` and `board`. A rate is null where a recording's hours are unknown.
_BOARDS = {
    "label_summary": f"""
        SELECT label, label_name, CAST(sum(n) AS BIGINT) AS detections, {AVERAGES},
          count(DISTINCT recording_id) AS recordings, count(DISTINCT station) AS stations,
          (SELECT sum(hours) FROM board) AS analysed_hours,
          sum(n) / (SELECT nullif(sum(hours), 0) FROM board HAVING count(hours) = count(*)) AS detections_per_hour,
          CAST(sum(unexpected) AS BIGINT) AS unexpected, any_value(events) AS events
        FROM pairs LEFT JOIN ({EVENTS_OF_LABELS}) USING (label) GROUP BY label, label_name
        ORDER BY detections DESC, label""",
    "recording_summary": """
        SELECT recording_id, station, detections, avg_confidence, max_confidence, labels, hours AS analysed_hours,
          detections / nullif(hours, 0) AS detections_per_hour, events
        FROM board ORDER BY detections DESC, recording_id, station NULLS LAST""",
    "station_summary": f"""
        WITH heard AS (
          SELECT station, {AVERAGES}, count(DISTINCT label) AS labels, count(DISTINCT recording_id) AS recordings
          FROM pairs GROUP BY station),
        analysed AS (
          SELECT station, CAST(sum(detections) AS BIGINT) AS detections, sum(hours) AS hours,
            count(hours) = count(*) AS all_known, CAST(sum(events) AS BIGINT) AS events
          FROM board GROUP BY station)
        SELECT analysed.station, detections, avg_confidence, max_confidence, coalesce(labels, 0) AS labels,
          coalesce(recordings, 0) AS recordings, hours AS analysed_hours,
          CASE WHEN all_known THEN detections / nullif(hours, 0) END AS detections_per_hour, events
        FROM analysed LEFT JOIN heard ON heard.station IS NOT DISTINCT FROM analysed.station
        ORDER BY detections DESC, analysed.station NULLS LAST""",
}
LAST_BOARD = f"{list(_BOARDS)[-1]}.csv"  # of the files, the one that is written last
# Every recording that was heard or analysed, or was to be.
_BOARD = f"""
    CREATE TEMP TABLE board AS
    WITH heard AS (
      SELECT recording_id, station, sum(n) AS n, {AVERAGES}, count(DISTINCT label) AS labels
      FROM pairs GROUP BY recording_id, station),
    begun AS (SELECT recording_id, station, sum(events) AS events FROM event_counts GROUP BY recording_id, station)
    SELECT coalesce(heard.recording_id, a.recording_id) AS recording_id, coalesce(heard.station, a.station) AS station,
      CAST(coalesce(n, 0) AS BIGINT) AS detections, avg_confidence, max_confidence, coalesce(labels, 0) AS labels,
      hours, CAST(coalesce(events, 0) AS BIGINT) AS events
    FROM heard FULL OUTER JOIN analysed a
      ON a.recording_id = heard.recording_id AND a.station IS NOT DISTINCT FROM heard.station
    LEFT JOIN begun ON begun.recording_id = heard.recording_id AND begun.station IS NOT DISTINCT FROM heard.station
"""
_USED = (
    "recording_id, chunk_id, label, label_code, label_name, confidence, absolute_time_ms, absolute_end_ms, station, "
    "recorded_at, detected_at, runner, model_version, fingerprint, study_area, occurrence, "
    "concat_ws(chr(31), coalesce(dataset_root, ''), parse_dirpath(coalesce(source_path, ''))) AS origin, badc_file"
)


@dataclass(frozen=True, slots=True)
class Rollup:
    """What was found below a folder."""

    tables: tuple[Path, ...]  # the tables that were read, newest first
    copies: tuple[Path, ...]  # tables that, with their coverage, equal one of those byte for byte
    detections: int  # those that count
    repeated: int  # those that do not, because a newer table has the same chunk
    labels: Ranking  # those with the most detections
    recordings: Ranking  # likewise
    stations: Ranking  # likewise
    notes: tuple[str, ...]  # what the reader should know
    bad_files: tuple[tuple[Path, str], ...]  # unreadable Parquet files, with the reason
    written: tuple[Path, ...]  # the CSVs

    @property
    def rankings(self) -> dict[str, Ranking]:
        """The leaderboards by title."""
        return {"Labels": self.labels, "Recordings": self.recordings, "Stations": self.stations}


@dataclass(frozen=True, slots=True)
class _TablesFound:
    tables: list[Path]
    copies: list[Path]
    bad_files: list[tuple[Path, str]]
    schemas: dict[Path, pa.Schema]
    passed_over: list[str] = field(default_factory=list)


def roll_up(settings: RollupSettings, not_chunked: Sequence[tuple[NotChunked, Place]] = ()) -> Rollup:
    """Rank the labels, recordings and stations of every table of detections below a folder.

    A folder without such a table has no leaderboards, and nothing is written. Recordings of `not_chunked`, with where
    they were made, are among the others, with 0 hours of analysed audio.

    Raises
    ------
    RequestError
        If the folder does not exist.
    BadcError
        If DuckDB fails, as on a full disk.
    """
    if not settings.folder.is_dir():
        raise RequestError(f"{settings.folder}: no such folder")
    folder = absolute(settings.folder)
    found = _find(folder)
    passed_over = tuple(passed_over_notes(folder, found.passed_over, {".parquet"}))
    if not found.tables:
        empty = Ranking((), (), 0)
        bad_files = tuple(found.bad_files)
        return Rollup((), tuple(found.copies), 0, 0, empty, empty, empty, passed_over, bad_files, ())
    with connection() as database, explained(settings.folder):
        notes = _define(database, found)
        notes += choose(database, settings)
        count_detections(database)
        count_events(database, settings, origin="origin")
        notes += count_analysed(database, found.tables, not_chunked)
        define_runs(database, [file for table in found.tables for file in (table, coverage_path(table))])
        if (mixed := mixture(runs_of(database))) is not None:
            notes = (mixed, *notes)
        database.execute(_BOARD)
        notes += (*notes_on_expected(database), *notes_on_gaps(database), *passed_over)
        everything = _number(database, "SELECT count(*) FROM all_rows")
        counted = _number(database, "SELECT count(*) FROM detections")
        written = [
            write_csv(database, query, settings.export_dir / f"{name}.csv", settings.for_spreadsheets)
            for name, query in _BOARDS.items()
            if settings.export_dir is not None
        ]
        labels, recordings, stations = (ranked(database, query, settings.limit) for query in _BOARDS.values())
        return Rollup(
            tuple(found.tables),
            tuple(found.copies),
            _number(database, "SELECT coalesce(sum(n), 0) FROM pairs"),
            everything - counted,
            labels,
            recordings,
            stations,
            notes,
            tuple(found.bad_files),
            tuple(written),
        )


def _number(database: duckdb.DuckDBPyConnection, query: str) -> int:
    return int(database.execute(query).fetchall()[0][0])


def _find(folder: Path) -> _TablesFound:
    """Return the tables of detections below a folder, recognized by their columns, newest first."""
    found = _TablesFound([], [], [], {})
    files: dict[tuple[int, int], Path] = {}
    for path in _parquet_files(folder, found.passed_over):
        try:
            require_content([path, coverage_path(path)], "table")
            status = path.stat()
            schema = pq.read_schema(path)
        except ContentElsewhereError as error:
            found.bad_files.append((path, f"the content of its files is not here; {get_line(error.paths)}"))
        except OSError as error:
            found.bad_files.append((path, f"cannot be read ({error.strerror or error})"))
        except pa.ArrowException as error:
            found.bad_files.append((path, f"is not Parquet ({str(error).splitlines()[0]})"))
        else:
            if lacking_columns([name.lower() for name in schema.names], NEEDED_OF_DETECTIONS):
                continue
            if (status.st_dev, status.st_ino) in files:  # the same file by another name
                found.copies.append(path)
                continue
            files[status.st_dev, status.st_ino] = path
            found.schemas[path] = schema
    newest_first = sorted(files.values(), key=lambda path: (-path.stat().st_mtime_ns, str(path)))
    known: set[str] = set()
    sizes = Counter(path.stat().st_size for path in newest_first)
    # Those with coverage first: of a table and a copy of it alone, the one that knows its effort stays.
    for path in sorted(newest_first, key=lambda path: not coverage_path(path).is_file()):
        contents = _contents(path) if sizes[path.stat().st_size] > 1 else (str(path),)
        (found.copies if contents[0] in known else found.tables).append(path)
        known.update(contents)
    found.tables.sort(key={path: rank for rank, path in enumerate(newest_first)}.__getitem__)
    return found


def _parquet_files(folder: Path, passed: list[str]) -> Iterator[Path]:
    for base, files in walk(folder, passed):
        yield from (Path(base, name) for name in sorted(files) if name.lower().endswith(".parquet"))


def _contents(path: Path) -> tuple[str, ...]:
    """Return what a table is a copy by, and what else may be one of it.

    That is a digest of a table with its coverage, and, if it has detections, of the table alone: tables without any all
    look alike.
    """
    coverage = coverage_path(path)
    alone = (_digest(path),) if pq.read_metadata(path).num_rows else ()
    whole = (_digest(path) + _digest(coverage),) if coverage.is_file() else ()
    return (*whole, *alone) or (str(path),)


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _define(database: duckdb.DuckDBPyConnection, found: _TablesFound) -> tuple[str, ...]:
    """Make the views `all_rows`, of all tables, and `detections`, of the rows that count; return notes on them."""
    database.execute("CREATE TABLE files (badc_file VARCHAR, number INTEGER)")
    files = pa.table({"badc_file": [str(path) for path in found.tables], "number": range(len(found.tables))})
    database.register("listed_files", files)
    database.execute("INSERT INTO files SELECT * FROM listed_files")
    add_sites(database, ())
    alike: dict[str, list[Path]] = defaultdict(list)
    for path in found.tables:
        alike[str(found.schemas[path].remove_metadata())].append(path)
    views = []
    for number, paths in enumerate(alike.values()):
        views.append(f"rows_{number}")
        source = source_of(database, paths, NEEDED_OF_DETECTIONS, file_column="badc_file")
        define_detections(database, source, (), views[-1])
    union = " UNION ALL ".join(f"SELECT {_USED} FROM {view}" for view in views)
    _name_old_runs(database, union)
    database.execute(
        f"""
        CREATE VIEW told_rows AS
        SELECT u.* REPLACE (coalesce(u.fingerprint, old.fingerprint) AS fingerprint), number
        FROM ({union}) u JOIN files USING (badc_file)
        LEFT JOIN old_runs old ON u.fingerprint IS NULL AND old.runner IS NOT DISTINCT FROM u.runner
          AND old.model_version IS NOT DISTINCT FROM u.model_version
        """
    )
    with_joined_labels(database, "told_rows", "all_rows")
    return _drop_repeated(database, found.tables)


def _name_old_runs(database: duckdb.DuckDBPyConnection, rows: str) -> None:
    """Make the table `old_runs`: the fingerprints that an aggregation gives to results that have none themselves."""
    database.execute("CREATE TABLE old_runs (runner VARCHAR, model_version VARCHAR, fingerprint VARCHAR)")
    for runner, version in database.execute(
        f"SELECT DISTINCT runner, model_version FROM ({rows}) WHERE fingerprint IS NULL"
    ).fetchall():
        made = fingerprint_of(settings_of({RUNNER: runner, MODEL_VERSION: version}))
        database.execute("INSERT INTO old_runs VALUES (?, ?, ?)", [runner, version, made])


def _drop_repeated(database: duckdb.DuckDBPyConnection, tables: Sequence[Path]) -> tuple[str, ...]:
    database.execute(
        """
        CREATE TABLE recordings AS
        WITH ids AS (SELECT DISTINCT number, recording_id FROM all_rows),
        several AS (SELECT recording_id FROM ids GROUP BY recording_id HAVING count(*) > 1)
        SELECT number, recording_id, origin, max(fingerprint) AS fingerprint
        FROM all_rows SEMI JOIN several USING (recording_id) GROUP BY number, recording_id, origin
        """
    )
    database.execute(
        """
        CREATE TABLE shared AS
        SELECT recording_id, origin FROM recordings GROUP BY ALL HAVING count(DISTINCT number) > 1
        """
    )
    notes = _notes(database)
    if not _number(database, "SELECT count(*) FROM shared"):
        database.execute("CREATE VIEW detections AS SELECT * FROM all_rows")
        return notes
    database.execute(
        """
        CREATE TABLE held AS
        SELECT DISTINCT recording_id, origin, chunk_id, fingerprint, number
        FROM all_rows SEMI JOIN shared USING (recording_id, origin)
        """
    )
    for (number,) in database.execute(
        "SELECT DISTINCT number FROM recordings SEMI JOIN shared USING (recording_id, origin)"
    ).fetchall():
        _hold_silent_chunks(database, readable_coverage(tables[number]), number)
    database.execute(
        "CREATE TABLE owners AS "
        "SELECT recording_id, origin, chunk_id, fingerprint, min(number) AS owner FROM held GROUP BY ALL"
    )
    database.execute(
        """
        CREATE VIEW detections AS
        SELECT all_rows.* FROM all_rows LEFT JOIN owners USING (recording_id, origin, chunk_id, fingerprint)
        WHERE owner IS NULL OR owner = number
        """
    )
    return notes


def _hold_silent_chunks(database: duckdb.DuckDBPyConnection, coverage: Path | None, number: int) -> None:
    """Add to `held` the chunks that the table's coverage lists as analysed, those without a detection included."""
    if coverage is None:
        return
    has_own = "fingerprint" in (name.lower() for name in pq.read_schema(coverage).names)
    made = "coalesce(c.fingerprint, r.fingerprint)" if has_own else "r.fingerprint"
    database.execute(
        f"""
        INSERT INTO held
        SELECT DISTINCT c.recording_id, r.origin, c.chunk_id, {made}, {number}
        FROM read_parquet({quoted_path(coverage)}, hive_partitioning = false) c
        JOIN recordings r ON r.number = {number} AND r.recording_id = c.recording_id
        SEMI JOIN shared s ON s.recording_id = r.recording_id AND s.origin = r.origin
        WHERE c.status IN ({", ".join(map(quoted, ANALYSED))})
        """
    )


def _notes(database: duckdb.DuckDBPyConnection) -> tuple[str, ...]:
    notes = []
    if several := _number(
        database,
        "SELECT count(*) FROM (SELECT recording_id FROM recordings GROUP BY recording_id "
        "HAVING count(DISTINCT origin) > 1)",
    ):
        ids = numbered(several, "recording id stands", "recording ids stand")
        notes.append(f"{ids} for recordings of several datasets or folders, which are added up")
    if shared := _number(database, "SELECT count(*) FROM shared"):
        notes.append(
            f"{numbered(shared, 'recording is', 'recordings are')} in several tables; of chunks that these share, the "
            "newest file counts (what was cut into other chunks, or analysed with other settings, counts each time)"
        )
    return tuple(notes)
