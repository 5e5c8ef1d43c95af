"""Notes for the reader of a report: what its tables lack, and what that does to the numbers."""

from __future__ import annotations

from pathlib import Path

import duckdb

from badc.reports.query.runs import mixture, runs_of

_MOST_NAMED = 5


def notes_on_tables(database: duckdb.DuckDBPyConnection, parquet: Path, coverage: Path | None) -> tuple[str, ...]:
    """Return a sentence for each thing that the tables and sites lack; `coverage` is None without such a table."""
    mixed = mixture(runs_of(database))
    found = [] if mixed is None else [mixed]
    if coverage is None:
        found.append(f"no table of coverage beside {parquet}, so detections per analysed hour are not known")
    elif not _exists(database, "coverage WHERE analysed"):
        found.append(f"{coverage}: no chunk was analysed, so detections per analysed hour are not known")
    if unlisted := _stations_without_site(database):
        names = ", ".join(f"'{name}'" for name in unlisted[:_MOST_NAMED])
        more = f" and {len(unlisted) - _MOST_NAMED} more" if len(unlisted) > _MOST_NAMED else ""
        found.append(f"the sites do not list the station{'s' if len(unlisted) > 1 else ''} {names}{more}")
    if _exists(database, "detections WHERE recorded_utc_offset_min = 0 AND timezone IS NULL"):
        found.append(
            "some recorders' clocks showed UTC: hours and dates are UTC where the sites give no time zone (--sites)"
        )
    return tuple(found)


def _stations_without_site(database: duckdb.DuckDBPyConnection) -> list[str]:
    if not _exists(database, "sites"):
        return []
    rows = database.execute(
        "SELECT DISTINCT station FROM (SELECT station FROM detections UNION ALL SELECT station FROM coverage) "
        "WHERE station IS NOT NULL AND station NOT IN (SELECT station FROM sites) ORDER BY station"
    ).fetchall()
    return [row[0] for row in rows]


def _exists(database: duckdb.DuckDBPyConnection, rows: str) -> bool:
    return bool(database.execute(f"SELECT 1 FROM {rows} LIMIT 1").fetchall())
