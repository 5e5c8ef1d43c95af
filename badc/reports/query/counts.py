"""What the reports count, as SQL over the views of `badc.reports.query.tables`.

The detections are read once, into a small table of counts per label and recording, from which the rankings of labels,
recordings and stations are made. Averages are over detections that have a confidence, never over groups.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from badc.reports.query.event_settings import BY_WINDOW, EventSettings
from badc.reports.query.events import EVENTS_OF_LABELS, EVENTS_OF_RECORDINGS, count_events
from badc.reports.query.expected import UNEXPECTED, unexpected
from badc.reports.query.spreadsheets import text_cell
from badc.reports.query.thresholds import above_threshold, thresholds_by_label
from badc.reports.settings import EVERYTHING, ChoiceSettings
from badc.system import atomic
from badc.system.paths import absolute
from badc.system.sql import identifier, quoted
from badc.system.texts import spelling

MS_PER_HOUR = 3_600_000
# Rounded: a sum of floats depends on the order in which threads add, and repeating a report should not change it.
AVERAGES = "round(sum(confidence_sum) / nullif(sum(rated), 0), 9) AS avg_confidence, max(highest) AS max_confidence"

# Valid after `count_pairs`.
LABELS = "SELECT * FROM label_ranking ORDER BY detections DESC, label"
RECORDINGS = "SELECT * FROM recording_ranking ORDER BY detections DESC, recording_id"

_LABEL_RANKING = f"""
    SELECT label, label_name, CAST(sum(n) AS BIGINT) AS detections, {AVERAGES},
      count(DISTINCT recording_id) AS recordings,
      sum(n) / (SELECT nullif(sum(analysed_ms), 0) / {MS_PER_HOUR} FROM effort_hours) AS detections_per_hour,
      CAST(sum(unexpected) AS BIGINT) AS unexpected, any_value(events) AS events
    FROM pairs LEFT JOIN ({EVENTS_OF_LABELS}) USING (label) GROUP BY label, label_name
"""

_RECORDING_RANKING = f"""
    WITH heard AS (
      SELECT recording_id, min(station) AS station, sum(n) AS n, count(DISTINCT label) AS labels, {AVERAGES}
      FROM pairs GROUP BY recording_id),
    analysed AS (
      SELECT recording_id, min(station) AS station, sum(analysed_ms) / {MS_PER_HOUR} AS hours
      FROM effort_hours GROUP BY recording_id),
    started AS (
      SELECT recording_id, min(recorded_at) AS recorded_at
      FROM (SELECT recording_id, recorded_at FROM chosen UNION ALL SELECT recording_id, recorded_at FROM coverage)
      GROUP BY recording_id)
    SELECT recording_id, coalesce(heard.station, analysed.station) AS station, recorded_at,
      CAST(coalesce(n, 0) AS BIGINT) AS detections, coalesce(labels, 0) AS labels, avg_confidence, max_confidence,
      hours AS analysed_hours, coalesce(n, 0) / nullif(hours, 0) AS detections_per_hour, coalesce(events, 0) AS events
    FROM heard FULL OUTER JOIN analysed USING (recording_id) LEFT JOIN started USING (recording_id)
    LEFT JOIN ({EVENTS_OF_RECORDINGS}) USING (recording_id)
"""

CHUNKS = """
    WITH heard AS (
      SELECT recording_id, chunk_id, any_value(chunk_start_ms) AS chunk_start_ms,
        any_value(chunk_end_ms) AS chunk_end_ms, count(*) AS detections, round(avg(confidence), 9) AS avg_confidence,
        max(confidence) AS max_confidence, any_value(status) AS status
      FROM chosen GROUP BY recording_id, chunk_id),
    covered AS (
      SELECT recording_id, chunk_id, any_value(start_ms) AS start_ms, any_value(end_ms) AS end_ms,
        any_value(status) AS status, bool_or(analysed) AS analysed
      FROM coverage GROUP BY recording_id, chunk_id)
    SELECT recording_id, chunk_id, coalesce(heard.chunk_start_ms, covered.start_ms) AS chunk_start_ms,
      coalesce(heard.chunk_end_ms, covered.end_ms) AS chunk_end_ms,
      coalesce(detections, CASE WHEN analysed THEN 0 END) AS detections, avg_confidence, max_confidence,
      coalesce(covered.status, heard.status) AS status
    FROM heard FULL OUTER JOIN covered USING (recording_id, chunk_id)
    ORDER BY recording_id, chunk_start_ms NULLS FIRST, chunk_id
"""


def timeline(bucket_minutes: int, table: str = "chosen") -> str:
    """Return the query of detections by time from the start of their recording, all recordings together."""
    bucket_ms = bucket_minutes * 60_000
    return f"""
        SELECT absolute_time_ms // {bucket_ms} AS bucket_index,
          absolute_time_ms // {bucket_ms} * {bucket_ms} AS bucket_start_ms,
          count(*) AS detections, round(avg(confidence), 9) AS avg_confidence
        FROM {table} WHERE absolute_time_ms IS NOT NULL GROUP BY ALL ORDER BY bucket_index
    """


@dataclass(frozen=True, slots=True)
class Ranking:
    """The first rows of a query's result; `total` counts the rows of the whole result."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    total: int

    def as_dicts(self) -> list[dict[str, Any]]:
        """Return the rows as dicts by column name."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def choose(
    database: duckdb.DuckDBPyConnection, choice: ChoiceSettings = EVERYTHING, labels: Sequence[str] = ()
) -> tuple[str, ...]:
    """Make the view `chosen` of the detections to report; return a sentence for each label that the table lacks.

    A `min_confidence` above 0 also leaves out detections without a confidence; it is for species without a threshold of
    their own in `choice.thresholds` (see `badc.reports.query.thresholds`). `labels` are labels, codes or names to keep,
    in any case; empty keeps all. The column `unexpected` is that of `badc.reports.query.expected`. Two more views have
    what is left out for one reason alone: `considered` for being unexpected, `at_any_confidence` for the confidence.
    """
    enough = f"confidence >= {choice.min_confidence!r}" if choice.min_confidence > 0 else "true"
    problems: tuple[str, ...] = ()
    if choice.thresholds is not None:
        own, problems = thresholds_by_label(choice.thresholds, known_names(database))
        enough = above_threshold(own, enough)
    named = "true"
    if labels:
        found, unknown = matching(database, labels)
        problems += unknown
        named = f"label IN ({', '.join(map(quoted, found))})" if found else "false"
    flagged = f"SELECT *, {unexpected(database, choice)} AS unexpected FROM detections WHERE {named}"
    kept = "unexpected IS NOT TRUE" if choice.drop_unexpected else "true"
    for view, query in (
        ("considered", f"{flagged} AND {enough}"),
        ("at_any_confidence", f"SELECT * FROM ({flagged}) WHERE {kept}"),
        ("chosen", f"SELECT * FROM considered WHERE {kept}"),
    ):
        database.execute(f"CREATE OR REPLACE TEMP VIEW {view} AS {query}")
    return problems


def matching(database: duckdb.DuckDBPyConnection, wanted: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Return the labels that words mean, in any case, and a sentence for each word without a match."""
    if not wanted:
        return [], ()
    known = known_names(database)
    found: set[str] = set()
    problems = []
    for word in wanted:
        matches = known.get(spelling(word))
        if matches is None:
            near = difflib.get_close_matches(spelling(word), list(known), 1)
            hint = f"; did you mean '{min(known[near[0]])}'?" if near else ""
            problems.append(f"no detection is labelled '{word}'{hint}")
        else:
            found |= matches
    return sorted(found), tuple(problems)


def known_names(database: duckdb.DuckDBPyConnection) -> dict[str, set[str]]:
    """Return the labels of the detections by what they may be called: label, code or name, as these are compared."""
    known: dict[str, set[str]] = {}
    rows = database.execute("SELECT DISTINCT label, label_code, label_name FROM detections").fetchall()
    for label, *others in rows:
        for name in (label, *others):
            if name:
                known.setdefault(spelling(name), set()).add(label)
    return known


def count_pairs(database: duckdb.DuckDBPyConnection, events: EventSettings = BY_WINDOW) -> None:
    """Make the tables that `LABELS` and `RECORDINGS` read, from the chosen detections."""
    count_detections(database)
    count_effort(database)
    count_events(database, events)
    database.execute(f"CREATE OR REPLACE TEMP TABLE label_ranking AS {_LABEL_RANKING}")
    database.execute(f"CREATE OR REPLACE TEMP TABLE recording_ranking AS {_RECORDING_RANKING}")


def count_detections(database: duckdb.DuckDBPyConnection) -> None:
    """Make the table `pairs`: the chosen detections, counted by label, recording and station.

    Its columns are `label`, `recording_id`, `station`, `n` (detections), `confidence_sum`, `rated` (detections with a
    confidence), `highest`, `unexpected` (null if not known) and `label_name`.
    """
    # Separately, because a text among the counts of all these groups would make them several times as costly.
    database.execute(
        """
        CREATE OR REPLACE TEMP TABLE label_names AS
        SELECT label, min(label_name) AS label_name FROM chosen GROUP BY label
        """
    )
    database.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE pairs AS
        WITH counted AS (
          SELECT label, recording_id, station, count(*) AS n, sum(confidence) AS confidence_sum,
            count(confidence) AS rated, max(confidence) AS highest, {UNEXPECTED}
          FROM chosen GROUP BY label, recording_id, station)
        SELECT counted.*, label_name FROM counted JOIN label_names USING (label)
        """
    )


def count_effort(database: duckdb.DuckDBPyConnection) -> None:
    """Make the table `effort_hours` from the view `effort`."""
    database.execute("CREATE OR REPLACE TEMP TABLE effort_hours AS SELECT * FROM effort")


def ranked(database: duckdb.DuckDBPyConnection, query: str, limit: int = 0) -> Ranking:
    """Return the first `limit` rows of a query that ends with its order; 0 returns all."""
    cursor = database.execute(f"{query} LIMIT {int(limit)}" if limit else query)
    columns = tuple(column[0] for column in cursor.description)
    rows = tuple(tuple(row) for row in cursor.fetchall())
    cut = limit and len(rows) == limit
    total = database.execute(f"SELECT count(*) FROM ({query})").fetchall()[0][0] if cut else len(rows)
    return Ranking(columns, rows, total)


def write_csv(database: duckdb.DuckDBPyConnection, query: str, path: Path, for_spreadsheets: bool = False) -> Path:
    """Write the result of a query, of any size, as CSV and return the path.

    Times are ISO-8601, null is empty; text stays as it is, quoted where CSV needs it. For spreadsheets, texts that they
    would run are marked (see `badc.reports.query.spreadsheets`).
    """
    target = absolute(path)
    if for_spreadsheets:
        columns = database.execute(f"DESCRIBE {query}").fetchall()
        texts = [identifier(name) for name, kind, *_ in columns if kind == "VARCHAR"]
        marked = ", ".join(f"{text_cell(name)} AS {name}" for name in texts)
        query = f"SELECT * REPLACE ({marked}) FROM ({query})" if texts else query
    with atomic.replacing(target) as temporary:
        database.execute(
            f"COPY ({query}) TO {quoted(str(temporary))} (FORMAT csv, HEADER, COMPRESSION 'none', "
            "TIMESTAMPFORMAT '%Y-%m-%dT%H:%M:%S.%g', DATEFORMAT '%Y-%m-%d')"
        )
    return target
