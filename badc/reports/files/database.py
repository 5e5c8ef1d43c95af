"""`badc report duckdb`: a database with the tables and views that docs/formats.md names."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import duckdb

from badc.errors import RequestError
from badc.reports.query.connection import connection, explained, first_line, quoted
from badc.reports.query.counts import Ranking, choose, ranked, timeline, write_csv
from badc.reports.query.notes import notes_on_tables
from badc.reports.query.tables import find_coverage, open_tables
from badc.reports.settings import DatabaseSettings
from badc.system import atomic
from badc.system.paths import absolute

# What the exported CSVs are called, by view.
EXPORTS = {"label_summary": "label_summary", "recording_summary": "recording_summary", "timeline_summary": "timeline"}


@dataclass(frozen=True, slots=True)
class MadeDatabase:
    """What a database report made.

    Parameters
    ----------
    database
        The file.
    detections, chunks
        Rows of its two tables.
    labels, recordings
        Those with the most detections.
    timeline
        Its view `timeline_summary`.
    notes
        What the reader should know.
    written
        The CSVs.
    """

    database: Path
    detections: int
    chunks: int
    labels: Ranking
    recordings: Ranking
    timeline: Ranking
    notes: tuple[str, ...]
    written: tuple[Path, ...]


def make_database(settings: DatabaseSettings) -> MadeDatabase:
    """Write a DuckDB database of the tables, and export its views where that is asked for.

    The database has the tables `detections` and `coverage`, with the columns of the views of the same names in
    `badc.reports.query.tables.open_tables`, and the views `label_summary`, `recording_summary` and `timeline_summary`.
    It is built beside its place and renamed into it.

    Raises
    ------
    RequestError
        When the database is open elsewhere or is no DuckDB database; it stays as it is. Also as
        `badc.reports.query.tables.open_tables`.
    BadcError
        As `badc.reports.query.tables.open_tables`.
    """
    refuse_in_use(settings.database)
    coverage = find_coverage(settings.parquet, settings.coverage)
    with open_tables(settings.parquet, coverage, settings.sites) as tables:
        choose(tables, settings.min_confidence)
        notes = notes_on_tables(tables, settings.parquet, coverage)
        write_database(tables, settings.database, settings.bucket_minutes)
    return read_database(settings, notes)


def read_database(settings: DatabaseSettings, notes: tuple[str, ...]) -> MadeDatabase:
    """Return what a database holds, and export its views where that is asked for."""
    path = absolute(settings.database)
    with explained(path), connection(str(path), read_only=True) as database:
        folder = settings.export_dir
        queries = {view: f"SELECT * FROM {view} {order}" for view, order in _ORDERS.items()}
        written = (
            ()
            if folder is None
            else tuple(write_csv(database, queries[view], folder / f"{name}.csv") for view, name in EXPORTS.items())
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


# The file begins with a checksum of eight bytes, then this ("Storage Versions and Format" in the manual of DuckDB).
_MAGIC, _MAGIC_AT = b"DUCK", 8
_ORDERS = {
    "label_summary": "ORDER BY detections DESC, label",
    "recording_summary": "ORDER BY detections DESC, recording_id",
    "timeline_summary": "ORDER BY bucket_index",
}


def write_database(tables: duckdb.DuckDBPyConnection, database: Path, bucket_minutes: int) -> None:
    """Write the detections that were chosen, the coverage and the views to a database file.

    Parameters
    ----------
    tables
        A connection of `badc.reports.query.tables.open_tables`, after `badc.reports.query.counts.choose`.
    database
        The file; an older one is replaced when the new one is whole.
    bucket_minutes
        The step of the view `timeline_summary`.
    """
    target = absolute(database)
    target.parent.mkdir(parents=True, exist_ok=True)
    # A folder of its own: DuckDB puts its write-ahead log beside the file.
    with tempfile.TemporaryDirectory(prefix=".badc-report-", dir=target.parent) as folder:
        made = Path(folder, "made.duckdb")
        tables.execute(f"ATTACH {quoted(str(made))} AS made")
        try:
            tables.execute("CREATE TABLE made.detections AS SELECT * FROM chosen")
            tables.execute("CREATE TABLE made.coverage AS SELECT * FROM coverage")
        finally:
            tables.execute("DETACH made")
        # By a connection of its own, so that the views name the tables without the name under which they were attached.
        with connection(str(made)) as inner:
            for name, query in _views(bucket_minutes).items():
                inner.execute(f"CREATE VIEW {name} AS {query}")
            inner.execute("CHECKPOINT")
        refuse_in_use(target)
        with atomic.replacing(target) as temporary:
            os.replace(made, temporary)  # noqa: PTH105 - the rename is the point


def _views(bucket_minutes: int) -> dict[str, str]:
    return {
        "label_summary": "SELECT label, min(label_name) AS label_name, count(*) AS detections, "
        "avg(confidence) AS avg_confidence FROM detections GROUP BY label ORDER BY detections DESC, label",
        "recording_summary": "SELECT recording_id, count(*) AS detections, avg(confidence) AS avg_confidence "
        "FROM detections GROUP BY recording_id ORDER BY detections DESC, recording_id",
        "timeline_summary": timeline(bucket_minutes, "detections"),
    }


def refuse_in_use(database: Path) -> None:
    """Refuse to replace a file that another program has open, or that is no DuckDB database.

    Raises
    ------
    RequestError
        In these cases, and when the path is a folder.
    """
    path = absolute(database)
    if path.is_dir():
        raise RequestError(f"{path}: is a folder; name the database to write")
    if not path.exists():
        return
    # Not left to DuckDB, which opens small files and CSVs as if they were databases.
    with path.open("rb") as stream:
        if stream.read(len(_MAGIC) + _MAGIC_AT)[_MAGIC_AT:] != _MAGIC:
            raise RequestError(f"{path}: is no DuckDB database, so it is not replaced; choose another name")
    # A file in git-annex is a link that must not be written through, and opening may write.
    read_only = path.is_symlink() or not os.access(path, os.W_OK)
    try:
        # With settings of our own, so that DuckDB also refuses what this very process has open.
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
    if log.exists():  # it would be taken for the new database's
        raise RequestError(f"{log}: changes that are not yet in the database; open that once, or remove both")
