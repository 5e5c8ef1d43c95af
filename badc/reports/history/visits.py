"""Stations and their visits: who was heard in each, and how long was listened."""

from __future__ import annotations

from pathlib import Path

import duckdb

from badc.errors import RequestError, numbered
from badc.reports.history.settings import Reference, Visit
from badc.reports.history.sun_hours import define_sun_visits

# A visit as a column of the views `effort` and `chosen`, and its name in the files.
_VISITS = {
    Visit.NIGHT: ("night", "night", "strftime(visit, '%Y-%m-%d')"),
    Visit.DATE: ("date", "date", "strftime(visit, '%Y-%m-%d')"),
    Visit.HOUR: ("local_hour", "date_trunc('hour', local_time)", "strftime(visit, '%Y-%m-%dT%H:%M')"),
}


def require_coverage(coverage: Path | None, parquet: Path) -> Path:
    """Return the table of coverage; raise RequestError if there is none, because silence means nothing without it."""
    if coverage is None:
        raise RequestError(
            f"{parquet}: there is no table of coverage beside it, so nobody knows where and when nothing was heard; "
            "name it with --coverage, or make both tables with `badc infer aggregate --manifest`"
        )
    return coverage


def define_visits(
    database: duckdb.DuckDBPyConnection, visit: Visit, relative_to: Reference | None = None
) -> tuple[str, ...]:
    """Make the tables of a history from the views `chosen` and `effort`; return notes on what they leave out.

    `visits` (visit, name, number): every visit in which any station listened, in order of time. `listened` (station,
    visit, effort_ms): of each station. `heard` (label, station, visit, n): detections in these.
    """
    notes: tuple[str, ...] = ()
    if relative_to is None:
        of_effort, of_detection, name = _VISITS[visit]
        database.execute(
            f"""
            CREATE TEMP TABLE listened AS
            SELECT station, {of_effort} AS visit, CAST(sum(analysed_ms) AS BIGINT) AS effort_ms FROM effort
            WHERE station IS NOT NULL AND local_hour IS NOT NULL GROUP BY ALL HAVING sum(analysed_ms) > 0
            """
        )
        database.execute(
            f"""
            CREATE TEMP TABLE told AS
            SELECT label, station, {of_detection} AS visit, count(*) AS n FROM chosen
            WHERE station IS NOT NULL AND local_time IS NOT NULL GROUP BY ALL
            """
        )
        database.execute(
            f"""
            CREATE TEMP TABLE visits AS
            SELECT visit, {name} AS name, row_number() OVER (ORDER BY visit) - 1 AS number
            FROM (SELECT DISTINCT visit FROM listened)
            """
        )
    else:
        notes = define_sun_visits(database)
    database.execute("CREATE TEMP TABLE heard AS SELECT * FROM told SEMI JOIN listened USING (station, visit)")
    return (*notes, *_left_out(database))


def _left_out(database: duckdb.DuckDBPyConnection) -> list[str]:
    """Return a sentence if detections are in no visit."""
    known = "station IS NOT NULL AND local_time IS NOT NULL"
    total, placed = database.execute(f"SELECT count(*), count(*) FILTER ({known}) FROM chosen").fetchall()[0]
    told, heard = (
        database.execute(f"SELECT coalesce(sum(n), 0)::BIGINT FROM {table}").fetchall()[0][0]
        for table in ("told", "heard")
    )
    reasons = {
        "without a known station and time": total - placed,
        "without an hour of the sun": placed - told,
        "where and when the coverage has no analysed audio": told - heard,
    }
    parts = [f"{numbered(number, 'detection')} {why}" for why, number in reasons.items() if number]
    return [f"left out: {', '.join(parts)}"] if parts else []
