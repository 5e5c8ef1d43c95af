"""`badc report duckdb`: a database with the tables and views listed in docs/formats.md."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import duckdb

from badc.detections.collected import embeddings_beside
from badc.errors import RequestError
from badc.reports.query.connection import connection, explained, first_line
from badc.reports.query.counts import Ranking, choose, ranked, timeline, write_csv
from badc.reports.query.event_settings import EventSettings
from badc.reports.query.events import EVENTS_OF_LABELS, EVENTS_OF_RECORDINGS, count_events, events_query
from badc.reports.query.notes import notes_on_tables
from badc.reports.query.tables import EFFORT, find_coverage, open_tables
from badc.reports.settings import DatabaseSettings
from badc.system import atomic
from badc.system.paths import absolute
from badc.system.scratch import folder_beside
from badc.system.sql import quoted, quoted_path

# Names of the exported CSVs, by view.
EXPORTS = {"label_summary": "label_summary", "recording_summary": "recording_summary", "timeline_summary": "timeline"}


@dataclass(frozen=True, slots=True)
class MadeDatabase:
    """What `badc report duckdb` made."""

    database: Path
    detections: int  # rows of the table `detections`
    chunks: int  # rows of the table `coverage`
    labels: Ranking  # those with the most detections
    recordings: Ranking  # likewise
    timeline: Ranking  # the view `timeline_summary`
    notes: tuple[str, ...]  # what the reader should know
    written: tuple[Path, ...]  # the CSVs


def make_database(settings: DatabaseSettings) -> MadeDatabase:
    """Write a DuckDB database of the tables; with `export_dir`, also export its views.

    The tables `detections` and `coverage` have the columns of the views of the same names in
    `badc.reports.query.tables.open_tables`; the views are `label_summary`, `recording_summary`, `timeline_summary`,
    `effort` (as there) and `events` (see `badc.reports.query.events`). The file is built beside its place and renamed
    into it.

    Raises
    ------
    RequestError
        If the file is open elsewhere or not a DuckDB database; it stays as it is. Also as
        `badc.reports.query.tables.open_tables`.
    BadcError
        As `badc.reports.query.tables.open_tables`.
    """
    refuse_in_use(settings.database)
    coverage = find_coverage(settings.parquet, settings.coverage)
    with open_tables(settings.parquet, coverage, settings.sites) as tables:
        problems = choose(tables, settings)
        notes = (*notes_on_tables(tables, settings.parquet, coverage), *problems)
        count_events(tables, settings)
        write_database(tables, settings.database, settings.bucket_minutes, settings, settings.parquet)
    return read_database(settings, notes)


def read_database(settings: DatabaseSettings, notes: tuple[str, ...]) -> MadeDatabase:
    """Return what a database holds; with `export_dir`, also export its views."""
    path = absolute(settings.database)
    with explained(path), connection(str(path), read_only=True) as database:
        folder = settings.export_dir
        queries = {view: f"SELECT * FROM {view} {order}" for view, order in _ORDERS.items()}
        written = (
            ()
            if folder is None
            else tuple(
                write_csv(database, queries[view], folder / f"{name}.csv", settings.for_spreadsheets)
                for view, name in EXPORTS.items()
            )
        )
        return MadeDatabase(
            path,
            database.execute("SELECT count(*) FROM detections").fetchall()[0][0],
            database.execute("SELECT count(*) FROM coverage").fetchall()[0][0],
            ranked(database, queries["label_summary"], settings.top_labels),
            ranked(database, queries["recording_summary"], settings.top_recordings),
            ranked(database, queries["timeline_summary"]),
            notes,
            written,
        )


# For readers with an older DuckDB, such as R's package or a desktop program.
_STORAGE_VERSION = "v1.2.0"
# A file begins with a checksum of eight bytes, then this ("Storage Versions and Format" in DuckDB's manual).
_MAGIC, _MAGIC_AT = b"DUCK", 8
_ORDERS = {
    "label_summary": "ORDER BY detections DESC, label",
    "recording_summary": "ORDER BY detections DESC, recording_id",
    "timeline_summary": "ORDER BY bucket_index",
}


def write_database(
    tables: duckdb.DuckDBPyConnection, database: Path, bucket_minutes: int, events: EventSettings, parquet: Path
) -> None:
    """Write the chosen detections, the coverage and the views to a database file.

    The view `embeddings` reads those that were collected beside `parquet`, if there are any.

    `tables` is a connection of `badc.reports.query.tables.open_tables`, after `badc.reports.query.counts.choose` and
    `badc.reports.query.events.count_events`; `bucket_minutes` is the step of the view `timeline_summary`. An older file
    is replaced once the new one is complete.
    """
    target = absolute(database)
    target.parent.mkdir(parents=True, exist_ok=True)
    # In its own folder, because DuckDB puts its write-ahead log beside the file; of a path with a `?`, somewhere else.
    beside = None if "?" in str(target) else target.parent
    with folder_beside(beside) as folder:
        made = folder / "made.duckdb"
        tables.execute(f"ATTACH {quoted(str(made))} AS made (STORAGE_VERSION '{_STORAGE_VERSION}')")
        try:
            tables.execute("CREATE TABLE made.detections AS SELECT * FROM chosen")
            tables.execute("CREATE TABLE made.coverage AS SELECT * FROM coverage")
            tables.execute("CREATE TABLE made.runs AS SELECT * FROM runs")
            tables.execute(
                "CREATE TABLE made.event_counts AS SELECT label, recording_id, station, "
                "CAST(sum(events) AS BIGINT) AS events FROM event_counts GROUP BY ALL"
            )
        finally:
            tables.execute("DETACH made")
        # Over a new connection, so that the views do not refer to the tables by the attached name `made`.
        with connection(str(made)) as inner:
            for name, query in (_views(bucket_minutes, events) | _embeddings_view(parquet)).items():
                inner.execute(f"CREATE VIEW {name} AS {query}")
            inner.execute("CHECKPOINT")
        refuse_in_use(target)
        with atomic.replacing(target) as temporary:
            shutil.move(made, temporary)


def _views(bucket_minutes: int, events: EventSettings) -> dict[str, str]:
    return {
        "label_summary": "WITH heard AS (SELECT label, min(label_name) AS label_name, count(*) AS detections, "
        "avg(confidence) AS avg_confidence FROM detections GROUP BY label) "
        f"FROM heard LEFT JOIN ({EVENTS_OF_LABELS}) USING (label) ORDER BY detections DESC, label",
        "recording_summary": "WITH heard AS (SELECT recording_id, count(*) AS detections, "
        "avg(confidence) AS avg_confidence FROM detections GROUP BY recording_id) "
        f"FROM heard LEFT JOIN ({EVENTS_OF_RECORDINGS}) USING (recording_id) ORDER BY detections DESC, recording_id",
        "timeline_summary": timeline(bucket_minutes, "detections"),
        "effort": EFFORT,
        "events": events_query("detections", events),
    }


def _embeddings_view(parquet: Path) -> dict[str, str]:
    folder = embeddings_beside(absolute(parquet))
    files = sorted(folder.glob("*.parquet")) if folder.is_dir() else []
    return {"embeddings": f"SELECT * FROM read_parquet([{', '.join(map(quoted_path, files))}])"} if files else {}


def refuse_in_use(database: Path) -> None:
    """Raise RequestError if no DuckDB database can be written there: a folder, another file, open in a program."""
    path = absolute(database)
    if path.is_dir():
        raise RequestError(f"{path}: is a folder; name the database to write")
    if "\\" in str(path):
        raise RequestError(f"{path}: DuckDB takes a backslash for a '/'; choose another folder")
    if not path.exists():
        return
    # DuckDB itself opens small files and CSVs as if they were databases.
    with path.open("rb") as stream:
        if stream.read(len(_MAGIC) + _MAGIC_AT)[_MAGIC_AT:] != _MAGIC:
            raise RequestError(f"{path}: is not a DuckDB database, so it is not replaced; choose another name")
    # Opening may write, and a git-annex link must not be written through.
    read_only = path.is_symlink() or not os.access(path, os.W_OK)
    try:
        # With our own settings, so that DuckDB also refuses a database that this process has open.
        with connection(str(path), read_only=read_only):
            pass
    except duckdb.Error as error:
        reason = first_line(error)
        if "lock" in reason.lower() or "different configuration" in reason:
            raise RequestError(
                f"{path}: the database is open elsewhere; close it there, or choose another name"
            ) from None
        raise RequestError(f"{path}: cannot be replaced ({reason}); choose another name") from None
    log = path.with_name(f"{path.name}.wal")
    if log.exists():  # DuckDB would apply it to the new database
        raise RequestError(f"{log}: changes that are not yet in the database; open that once, or remove both")
