"""Events: detections of one label that follow each other without a gap, counted as one.

A bird that sings for half a minute is ten detections of a classifier with windows of three seconds, and one event.
Detections of one label in one recording are one event as long as each begins no later than one window after the end of
one that began before it. One window is the length of that earlier detection; `EventSettings.max_gap_s` is another
length for all. A detection whose time in its recording is not known is an event of its own. An event belongs to the
hour, date and night in which it begins.

`events_query` says so in SQL. `count_events` counts the same without putting millions of detections into order in
DuckDB: where one event ends and the next begins, all reaches (end and gap) of the detections before lie before the next
start. So the starts and the reaches of a recording can be sorted each for itself: a new event begins where the n-th
start is after the reach number n - 1.
"""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from badc.reports.query.event_settings import BY_WINDOW, EventSettings
from badc.reports.query.nights import night_of

# Valid after `count_events`.
EVENTS_OF_LABELS = "SELECT label, CAST(sum(events) AS BIGINT) AS events FROM event_counts GROUP BY label"
EVENTS_OF_RECORDINGS = (
    "SELECT recording_id, CAST(sum(events) AS BIGINT) AS events FROM event_counts GROUP BY recording_id"
)

_HELD_DETECTIONS = 2_000_000  # in memory at once, some 100 MB
_HELD_RECORDINGS = 100_000
_HOUR_MS = 3_600_000
_NO_HOUR = np.iinfo(np.int64).min


def events_query(table: str, events: EventSettings = BY_WINDOW) -> str:
    """Return the query of the events of a table with the columns of the view `detections`.

    Its columns are `recording_id`, `station`, `study_area`, `label`, `label_name`, `start_ms`, `end_ms` (from the start
    of the recording), `detections`, `avg_confidence`, `max_confidence`, and `local_time`, `date`, `hour` and `night` of
    the first detection.
    """
    one = "recording_id, station, label"
    return f"""
        WITH reaching AS (
          SELECT *, max({_reach(events)}) OVER (PARTITION BY {one} ORDER BY absolute_time_ms
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS reached_ms
          FROM {table}),
        numbered AS (
          SELECT *, count_if(absolute_time_ms IS NULL OR reached_ms IS NULL OR absolute_time_ms > reached_ms) OVER (
            PARTITION BY {one} ORDER BY absolute_time_ms ROWS UNBOUNDED PRECEDING) AS event_number
          FROM reaching)
        SELECT recording_id, station, min(study_area) AS study_area, label, min(label_name) AS label_name,
          min(absolute_time_ms) AS start_ms, max(absolute_end_ms) AS end_ms, count(*) AS detections,
          round(avg(confidence), 9) AS avg_confidence, max(confidence) AS max_confidence,
          arg_min(local_time, absolute_time_ms) AS local_time, arg_min(date, absolute_time_ms) AS date,
          arg_min(hour, absolute_time_ms) AS hour, arg_min(night, absolute_time_ms) AS night
        FROM numbered GROUP BY recording_id, station, label, event_number
    """


def count_events(
    database: duckdb.DuckDBPyConnection, events: EventSettings, *, by_hour: bool = False, origin: str = ""
) -> None:
    """Make the view `event_counts` of the events of the view `chosen`.

    Its columns are `label`, `recording_id`, `station`, `study_area`, `date`, `hour`, `night` and `events`. The times
    are null unless events are to be counted by the hour. `origin` names a column that tells recordings of the same id
    and station apart.
    """
    told = f"recording_id, station{origin and ', '}{origin}"
    keys = told.split(", ")
    database.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE heard_recordings AS
        WITH heard AS (
          SELECT {told}, count(absolute_time_ms) AS n, min(absolute_time_ms) AS low, max({_reach(events)}) AS high,
            min(study_area) AS study_area
          FROM chosen GROUP BY {told})
        SELECT *, row_number() OVER (ORDER BY {told}) AS number FROM heard WHERE n > 0
        """
    )
    database.execute(
        """
        CREATE OR REPLACE TEMP TABLE heard_labels AS
        SELECT label, row_number() OVER (ORDER BY label) - 1 AS label_number FROM (SELECT DISTINCT label FROM chosen)
        """
    )
    database.execute(
        """
        CREATE OR REPLACE TEMP TABLE counted_events (number BIGINT, label_number BIGINT, hour BIGINT, events BIGINT)
        """
    )
    labels = _row(database, "SELECT count(*) FROM heard_labels")[0]
    low, high, repeated = _row(
        database, "SELECT min(low), max(high), count(*) > count(DISTINCT recording_id) FROM heard_recordings"
    )
    # By recording_id, in whose order an aggregation writes the rows: DuckDB passes over the other parts of the file.
    for first, last, number in database.execute(
        f"""
        WITH placed AS (
          SELECT recording_id, min(number) AS number,
            sum(sum(n)) OVER (ORDER BY recording_id) // {_HELD_DETECTIONS} AS by_size,
            row_number() OVER (ORDER BY recording_id) // {_HELD_RECORDINGS} AS by_number
          FROM heard_recordings GROUP BY recording_id)
        SELECT min(recording_id), max(recording_id), min(number) FROM placed GROUP BY by_size, by_number ORDER BY 1
        """
    ).fetchall():
        columns = _timed(database, events, by_hour, keys if repeated else keys[:1], (first, last))
        counted = _counted(columns, int(number), int(labels), int(low), int(high))
        database.register("counted_block", pa.table(counted))
        database.execute("INSERT INTO counted_events SELECT * FROM counted_block")
        database.unregister("counted_block")
    hour = f"CASE WHEN hour IS NOT NULL THEN make_timestamp(hour * {1000 * _HOUR_MS}) END"
    untimed = "date_trunc('hour', local_time)" if by_hour else "CAST(NULL AS TIMESTAMP)"
    database.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE untimed_events AS
        SELECT label, recording_id, station, study_area, {untimed} AS local_hour, count(*) AS events FROM chosen
        WHERE absolute_time_ms IS NULL GROUP BY ALL
        """
    )
    database.execute(
        f"""
        CREATE OR REPLACE TEMP VIEW event_counts AS
        WITH counted AS (
          SELECT label, recording_id, station, study_area, {hour} AS local_hour, events
          FROM counted_events JOIN heard_recordings USING (number) JOIN heard_labels USING (label_number)
          UNION ALL FROM untimed_events)
        SELECT label, recording_id, station, study_area, CAST(local_hour AS DATE) AS date, hour(local_hour) AS hour,
          {night_of("local_hour")} AS night, events
        FROM counted
        """
    )


def _reach(events: EventSettings) -> str:
    """Return SQL for the latest start, in ms, of a detection that is in one event with this one or those before."""
    given_s = events.max_gap_s
    gap = "greatest(absolute_end_ms - absolute_time_ms, 0)" if given_s is None else str(round(given_s * 1000))
    return f"greatest(absolute_time_ms, coalesce(absolute_end_ms, absolute_time_ms)) + coalesce({gap}, 0)"


def _row(database: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...]:
    found: tuple[Any, ...] = database.execute(query).fetchall()[0]
    return found


def _timed(
    database: duckdb.DuckDBPyConnection, events: EventSettings, by_hour: bool, keys: list[str], span: tuple[str, str]
) -> dict[str, Any]:
    """Return `number`, `label_number`, `start`, `reach` (ms) and maybe `hour` of the detections of some recordings."""
    hour = f", coalesce(epoch_ms(local_time) // {_HOUR_MS}, {_NO_HOUR}) AS hour" if by_hour else ""
    same = " AND ".join(f"r.{name} IS NOT DISTINCT FROM c.{name}" for name in keys)
    cursor = database.execute(
        f"""
        SELECT r.number, l.label_number, absolute_time_ms AS start, {_reach(events)} AS reach {hour}
        FROM chosen c JOIN heard_recordings r ON {same} JOIN heard_labels l ON l.label = c.label
        WHERE c.recording_id BETWEEN ? AND ? AND absolute_time_ms IS NOT NULL
        """,
        list(span),
    )
    return {name: np.ma.getdata(column) for name, column in cursor.fetchnumpy().items()}


def _counted(columns: dict[str, Any], number: int, labels: int, low: int, high: int) -> dict[str, Any]:
    """Return the columns of `counted_events` for the detections of recordings from `number` on."""
    span = high - low + 1
    # Recording, label and time as one number, in whose order they are.
    pairs = ((columns["number"] - number) * labels + columns["label_number"]) * span
    reaches = np.sort(pairs + (columns["reach"] - low))
    starts = pairs + (columns["start"] - low)
    hours = columns.get("hour")
    if hours is None:
        starts.sort()
    else:
        order = np.argsort(starts)
        starts, hours = starts[order], hours[order]
    begins = np.concatenate([[True], starts[1:] > reaches[:-1]])
    found = starts[begins] // span
    changes = np.concatenate([[True], found[1:] != found[:-1]])
    if hours is not None:
        hours = hours[begins]
        changes[1:] |= hours[1:] != hours[:-1]
    places = np.flatnonzero(changes)
    found = found[places]
    return {
        "number": found // labels + number,
        "label_number": found % labels,
        "hour": pa.nulls(len(places), pa.int64())
        if hours is None
        else pa.array(hours[places], mask=hours[places] == _NO_HOUR),
        "events": np.diff(np.append(places, len(hours) if hours is not None else begins.sum())),
    }
