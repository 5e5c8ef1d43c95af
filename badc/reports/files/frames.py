"""Tables and bundles as pandas DataFrames, for notebooks and scripts.

Heavy libraries are imported on first use, so that this module is quick to import.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from badc.errors import RequestError
from badc.system.annex import require_content

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

# The tables and views of `badc report duckdb`, and the columns that docs/formats.md promises for each.
_PROMISED: Mapping[str, Sequence[str]] = {
    "detections": ("recording_id", "chunk_id", "absolute_time_ms", "label", "confidence", "detected_at"),
    "coverage": ("recording_id", "chunk_id", "start_ms", "end_ms", "status"),
    "label_summary": ("label", "label_name", "detections", "avg_confidence", "events"),
    "recording_summary": ("recording_id", "detections", "avg_confidence", "events"),
    "timeline_summary": ("bucket_index", "bucket_start_ms", "detections", "avg_confidence"),
    "effort": ("recording_id", "station", "local_hour", "date", "hour", "night", "analysed_ms"),
    "events": ("recording_id", "station", "label", "start_ms", "end_ms", "detections", "local_time"),
}


def load_detections(
    parquet: Path | str,
    *,
    sites: Path | str | None = None,
    min_confidence: float = 0.0,
    labels: Sequence[str] = (),
    columns: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Read a table of detections, whatever tool wrote it: one row per detection, by recording, time and label.

    The columns are those of the table (docs/formats.md), then `study_area`, `latitude`, `longitude`, `timezone`,
    `local_time`, `date`, `hour` and `night` (from noon to noon, by the evening's date), then any others in the file.
    Columns whose name ends with `_ms` are integers in ms, null if unknown.

    Parameters
    ----------
    sites
        Sites CSV; adds each station's place, and gives times in its time zone.
    min_confidence
        From 0 to 1; above 0, detections without a confidence are left out too.
    labels
        Labels, codes or names to keep, in any case; empty keeps all.
    columns
        Columns to read; fewer of them let a large table fit into memory.

    Raises
    ------
    RequestError
        If a file cannot be read or lacks columns, a column or label is unknown, or `min_confidence` is out of range.

    Examples
    --------
    >>> frame = load_detections("detections.parquet", min_confidence=0.8)  # doctest: +SKIP
    >>> frame.groupby(["station", "label"]).size()  # doctest: +SKIP
    """
    from badc.reports.query.counts import choose
    from badc.reports.settings import ChoiceSettings

    if not 0 <= min_confidence <= 1:
        raise RequestError(f"min_confidence {min_confidence} is not between 0 and 1")
    with _tables(parquet, None, sites) as database:
        if problems := choose(database, ChoiceSettings(min_confidence=min_confidence), labels):
            raise RequestError("; ".join(problems))
        return _frame(
            database, "chosen", parquet, columns, "recording_id, absolute_time_ms NULLS FIRST, label, chunk_id"
        )


def load_coverage(
    parquet: Path | str,
    *,
    coverage: Path | str | None = None,
    sites: Path | str | None = None,
    columns: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Read the table of coverage of a table of detections: one row per chunk, by recording and time.

    The columns are those of the table (docs/formats.md), then `study_area`, `latitude`, `longitude`, `timezone`,
    `local_start`, `length_ms`, `analysed`, then any others in the file. `coverage` is by default the table beside
    `parquet`; without one, there are no rows. `sites` and `columns` are as for `load_detections`.

    Raises
    ------
    RequestError
        If a file cannot be read or lacks columns, or a column is unknown.
    """
    with _tables(parquet, coverage, sites) as database:
        return _frame(database, "coverage", parquet, columns, "recording_id, start_ms NULLS FIRST, chunk_id")


def load_effort(
    parquet: Path | str, *, coverage: Path | str | None = None, sites: Path | str | None = None
) -> pd.DataFrame:
    """Read how much audio was analysed: one row per recording and hour of the clock at its station.

    The columns are `recording_id`, `station`, `study_area`, `local_hour`, `date`, `hour`, `night` and `analysed_ms`.
    Audio that several chunks share counts once. Parameters and errors are those of `load_coverage`.

    Examples
    --------
    >>> effort = load_effort("detections.parquet")  # doctest: +SKIP
    >>> effort.groupby(["station", "night"])["analysed_ms"].sum() / 3_600_000  # doctest: +SKIP
    """
    with _tables(parquet, coverage, sites) as database:
        return _frame(database, "effort", parquet, None, "recording_id, local_hour NULLS FIRST")


def load_runs(parquet: Path | str, *, coverage: Path | str | None = None) -> pd.DataFrame:
    """Read what made the results: one row per set of settings, that of the most chunks first.

    The columns are `fingerprint`, `settings` (a dict), `chunks` and `detections`. Parameters and errors are those of
    `load_coverage`.
    """
    with _tables(parquet, coverage, None) as database:
        runs = _frame(database, "runs", parquet, None, "chunks DESC, detections DESC, fingerprint")
    runs["settings"] = [json.loads(settings) for settings in runs["settings"]]
    return runs


def summary(
    parquet: Path | str,
    by: Sequence[str] = ("label",),
    *,
    complete: bool = False,
    coverage: Path | str | None = None,
    sites: Path | str | None = None,
    **more: Any,
) -> pd.DataFrame:
    """Count detections by groups, with the rate per analysed hour: the table of `badc report summary`.

    Parameters
    ----------
    by
        What to group by: `label`, `recording_id`, `station`, `study_area`, `hour`, `date`, `night`.
    complete
        Whether to have a row with 0 also for each label where and when audio was analysed and it was not detected.
    coverage
        By default the table beside `parquet`. Without one, hours and rates are null, and nothing can be completed.
    sites
        As for `load_detections`.
    more
        Other settings of `badc.reports.settings.SummarySettings`, such as `labels`, `min_confidence`, `thresholds`.

    Raises
    ------
    RequestError
        If a file cannot be read or lacks columns, or a setting is wrong.

    Examples
    --------
    >>> summary("x.parquet", by=["station", "label"], complete=True)  # doctest: +SKIP
    """
    from pydantic import ValidationError

    from badc.reports.rankings.summary import in_order, summarised
    from badc.reports.settings import SummarySettings
    from badc.settings.model import request_error

    places = {"parquet": parquet, "coverage": coverage, "sites": sites}
    try:
        settings = SummarySettings.model_validate({**places, **more, "group_by": by, "complete": complete})
    except ValidationError as error:
        raise request_error(error, places="key") from None
    with summarised(settings) as (database, _):
        frame: pd.DataFrame = database.execute(in_order(settings)).df()
        return frame


@contextlib.contextmanager
def _tables(
    parquet: Path | str, coverage: Path | str | None, sites: Path | str | None
) -> Iterator[duckdb.DuckDBPyConnection]:
    from badc.reports.query.tables import open_tables

    given = (None if path is None else Path(path) for path in (coverage, sites))
    with open_tables(Path(parquet), *given) as database:
        yield database


def _frame(
    database: duckdb.DuckDBPyConnection, view: str, parquet: Path | str, columns: Sequence[str] | None, order: str
) -> pd.DataFrame:
    """Return the columns of a view, by default all; raise RequestError if it lacks one."""
    from badc.system.sql import identifier

    there = [row[0] for row in database.execute(f"DESCRIBE {view}").fetchall()]
    if unknown := [name for name in columns or () if name not in there]:
        raise RequestError(f"{parquet}: there is no column {', '.join(unknown)}; there are {', '.join(there)}")
    names = ", ".join(map(identifier, columns or there))
    frame: pd.DataFrame = database.execute(f"SELECT {names} FROM {view} ORDER BY {order}").df()
    return frame


def open_bundle(database: Path | str) -> BundleDatabase:
    """Open a database of `badc report bundle` or `badc report duckdb`, to read its tables and views as DataFrames.

    It is opened read-only and cannot be replaced while it is open, so use it as a context manager or close it.

    Raises
    ------
    RequestError
        If it cannot be opened, or lacks a table, a view or a column; everything missing is named.

    Examples
    --------
    >>> with open_bundle("detections.duckdb") as bundle:  # doctest: +SKIP
    ...     bundle.label_summary.head()
    """
    import duckdb

    path = Path(database)
    require_content([path], "database")
    if not path.is_file():
        raise RequestError(f"{path}: no such database; `badc report bundle` writes one")
    try:
        opened = duckdb.connect(str(path), read_only=True)
    except duckdb.Error as error:
        raise RequestError(f"{path}: cannot be opened ({str(error).splitlines()[0]})") from None
    bundle = BundleDatabase(path, opened)
    try:
        bundle.check()
    except BaseException:
        bundle.close()
        raise
    return bundle


class BundleDatabase:
    """The database of a bundle, open for reading; `open_bundle` makes it."""

    def __init__(self, path: Path, connection: Any) -> None:
        self.path = path
        self.connection = connection

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the database, so that others can write it."""
        self.connection.close()

    @property
    def detections(self) -> pd.DataFrame:
        """One row per detection; see `load_detections` for the columns."""
        return self.query("SELECT * FROM detections ORDER BY recording_id, absolute_time_ms NULLS FIRST, label")

    @property
    def coverage(self) -> pd.DataFrame:
        """One row per chunk, with its status and whether it was `analysed`."""
        return self.query("SELECT * FROM coverage ORDER BY recording_id, start_ms NULLS FIRST, chunk_id")

    @property
    def label_summary(self) -> pd.DataFrame:
        """Per label: label_name, detections, avg_confidence, events; the most frequent first."""
        return self.query("SELECT * FROM label_summary ORDER BY detections DESC, label")

    @property
    def recording_summary(self) -> pd.DataFrame:
        """Per recording with a detection: detections, avg_confidence, events; the most detections first."""
        return self.query("SELECT * FROM recording_summary ORDER BY detections DESC, recording_id")

    @property
    def timeline_summary(self) -> pd.DataFrame:
        """Per step of time from the start of the recordings: bucket_start_ms, detections, avg_confidence."""
        return self.query("SELECT * FROM timeline_summary ORDER BY bucket_index")

    @property
    def effort(self) -> pd.DataFrame:
        """The analysed audio by recording and hour; see `load_effort` for the columns."""
        return self.query("SELECT * FROM effort ORDER BY recording_id, local_hour NULLS FIRST")

    @property
    def events(self) -> pd.DataFrame:
        """Detections that follow each other, as one; see `badc.reports.query.events`."""
        return self.query("SELECT * FROM events ORDER BY recording_id, start_ms NULLS FIRST, label")

    def query(self, sql: str, values: Sequence[object] = ()) -> pd.DataFrame:
        """Return the result of an SQL query with a `?` for each value; raise RequestError if DuckDB refuses it."""
        import duckdb

        try:
            frame: pd.DataFrame = self.connection.execute(sql, list(values)).df()
        except duckdb.Error as error:
            raise RequestError(f"{self.path}: {error}") from None
        return frame

    def check(self) -> None:
        """Raise RequestError with every table, view and column of docs/formats.md that the database lacks."""
        rows = self.query("SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal")
        there = set(zip(rows["table_name"], rows["column_name"], strict=True))
        tables = {table for table, _ in there}
        lacking = [name for name in _PROMISED if name not in tables]
        lacking += [
            f"{table}.{column}"
            for table, columns in _PROMISED.items()
            if table in tables
            for column in columns
            if (table, column) not in there
        ]
        if lacking:
            raise RequestError(
                f"{self.path}: {', '.join(lacking)} {'are' if len(lacking) > 1 else 'is'} missing, so it is no "
                "database of `badc report duckdb`; make it anew"
            )
