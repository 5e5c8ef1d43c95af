"""Visits that are hours from sunrise or sunset, at each station by its own sun.

A moment belongs to the nearest sunrise or sunset, at most twelve hours away: `2023-05-09 sunrise+00` is the hour from
that sunrise on, `2023-05-09 sunset-01` the hour before that sunset. Sunrise and sunset are taken to the minute. The
hour in which the nearest one changes is shorter than the others; the effort says how long it was.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import duckdb
import pyarrow as pa

from badc.errors import RequestError, named_few
from badc.reports.query.tables import PIECES
from badc.reports.study.sun import sunrise_and_sunset

_DAY = timedelta(days=1)
_HOUR = "INTERVAL 1 HOUR"


def define_sun_visits(database: duckdb.DuckDBPyConnection) -> tuple[str, ...]:
    """Make the tables `listened`, `told` and `visits` (see `badc.reports.history.visits`); return notes.

    Raises
    ------
    RequestError
        If no station has coordinates and a time zone.
    """
    note = _define_sun(database)
    # A clock hour has parts of up to three such hours; by it, they are found quickly.
    database.execute(
        f"""
        CREATE TEMP TABLE sun_parts AS
        WITH nearest AS (
          SELECT station, moment, kind,
            greatest(moment - INTERVAL 12 HOUR, _middle(lag(moment) OVER one, moment)) AS since,
            least(moment + INTERVAL 12 HOUR, _middle(moment, lead(moment) OVER one)) AS until
          FROM sun_moments WINDOW one AS (PARTITION BY station ORDER BY moment)),
        hours AS (SELECT *, unnest(range(-12, 12)) AS k FROM nearest),
        cut AS (
          SELECT station, CAST(moment AS DATE) AS date, kind, k,
            greatest(since, moment + k * {_HOUR}) AS begins, least(until, moment + (k + 1) * {_HOUR}) AS ends
          FROM hours)
        SELECT station, date, kind, k, begins, ends,
          unnest(range(date_trunc('hour', begins), ends, {_HOUR})) AS local_hour
        FROM cut WHERE begins < ends
        """
    )
    # One number, in the order of time.
    visit = "((p.date - DATE '1970-01-01') * 2 + CAST(kind = 'sunset' AS BIGINT)) * 24 + k + 12 AS visit"
    database.execute(
        f"""
        CREATE TEMP TABLE listened AS
        WITH pieces AS ({PIECES}),
        hours AS (
          SELECT station, begins, ends, unnest(range(date_trunc('hour', begins), ends, {_HOUR})) AS local_hour
          FROM pieces WHERE begins IS NOT NULL)
        SELECT h.station, {visit}, CAST(sum(epoch_ms(least(h.ends, p.ends, h.local_hour + {_HOUR}))
          - epoch_ms(greatest(h.begins, p.begins, h.local_hour))) AS BIGINT) AS effort_ms
        FROM hours h JOIN sun_parts p USING (station, local_hour)
        WHERE greatest(h.begins, p.begins, local_hour) < least(h.ends, p.ends, local_hour + {_HOUR})
        GROUP BY ALL
        """
    )
    database.execute(
        f"""
        CREATE TEMP TABLE told AS
        SELECT label, c.station, {visit}, count(*) AS n
        FROM chosen c JOIN sun_parts p ON p.station = c.station AND p.local_hour = date_trunc('hour', c.local_time)
        WHERE c.local_time >= p.begins AND c.local_time < p.ends GROUP BY ALL
        """
    )
    database.execute(
        """
        CREATE TEMP TABLE visits AS
        SELECT visit, row_number() OVER (ORDER BY visit) - 1 AS number,
          format('{} {}{:+03d}', DATE '1970-01-01' + CAST(visit // 48 AS INTEGER),
            CASE WHEN visit // 24 % 2 = 0 THEN 'sunrise' ELSE 'sunset' END, visit % 24 - 12) AS name
        FROM (SELECT DISTINCT visit FROM listened)
        """
    )
    return note


def _define_sun(database: duckdb.DuckDBPyConnection) -> tuple[str, ...]:
    """Make the table `sun_moments` (station, moment, kind), and name the stations whose sun is not known."""
    database.execute("CREATE TEMP MACRO _middle(a, b) AS date_trunc('minute', a + (b - a) / 2)")
    stations = database.execute(
        """
        SELECT c.station, any_value(latitude), any_value(longitude), any_value(timezone), min(e.date), max(e.date)
        FROM effort e JOIN (SELECT DISTINCT station, latitude, longitude, timezone FROM coverage) c USING (station)
        WHERE e.date IS NOT NULL GROUP BY c.station ORDER BY c.station
        """
    ).fetchall()
    unknown = [row[0] for row in stations if None in row[1:4]]
    if stations and len(unknown) == len(stations):
        raise RequestError(
            "--relative-to sun: no station has coordinates and a time zone; give a CSV of them (--sites) with the "
            "columns station,latitude,longitude,timezone"
        )
    moments: list[tuple[Any, ...]] = []
    for station, latitude, longitude, timezone, first, last in stations:
        if station in unknown:
            continue
        for day in range(-1, (last - first).days + 2):
            for kind, moment in sunrise_and_sunset(latitude, longitude, timezone, first + day * _DAY).items():
                moments.append((station, moment, kind))
    columns = dict(zip(("station", "moment", "kind"), zip(*moments, strict=True), strict=True)) if moments else {}
    told = pa.table(
        {
            "station": pa.array(columns.get("station", ()), pa.string()),
            "moment": pa.array(columns.get("moment", ()), pa.timestamp("us")),
            "kind": pa.array(columns.get("kind", ()), pa.string()),
        }
    )
    database.register("told_moments", told)
    database.execute("CREATE TEMP TABLE sun_moments AS SELECT DISTINCT * FROM told_moments")
    database.unregister("told_moments")
    if not unknown:
        return ()
    names = named_few([f"'{name}'" for name in unknown])
    return (f"left out, because their coordinates or time zones are not known: the stations {names}",)
