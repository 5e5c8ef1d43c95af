"""The stations of a study in SQL: where they are, and the time of day there."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from badc.recordings.sites import Site

SITE_COLUMNS = {"study_area": "VARCHAR", "latitude": "DOUBLE", "longitude": "DOUBLE", "timezone": "VARCHAR"}


def add_sites(database: duckdb.DuckDBPyConnection, sites: Sequence[Site]) -> None:
    """Make the table `sites`: station, study_area, latitude, longitude, timezone, clock."""
    columns = ", ".join(f"{name} {kind}" for name, kind in SITE_COLUMNS.items())
    database.execute(f"CREATE TABLE sites (station VARCHAR, {columns}, clock VARCHAR)")
    for site in sites:
        row = [site.station, site.study_area, site.latitude, site.longitude, site.timezone, site.clock]
        database.execute("INSERT INTO sites VALUES (?, ?, ?, ?, ?, ?)", row)


def site_join(sites: Sequence[Site]) -> str:
    """Return SQL that joins the table `sites`, if there are any, to rows named `told` with a station."""
    return "LEFT JOIN sites ON sites.station = told.station" if sites else ""


def local_time(cell: str, sites: Sequence[Site]) -> str:
    """Return SQL for a time of the recorder's clock as the station's time of day (docs/report.md, "Times").

    It stands in rows named `told`, with `recorded_utc_offset_min`, after `site_join`.
    """
    if not any(site.timezone for site in sites):
        return cell
    return f"""CASE WHEN sites.timezone IS NULL THEN {cell}
      WHEN told.recorded_utc_offset_min IS NOT NULL
        THEN timezone(sites.timezone, timezone('UTC', {cell} - to_minutes(told.recorded_utc_offset_min)))
      WHEN sites.clock IS NOT NULL THEN timezone(sites.timezone, timezone(sites.clock, {cell}))
      ELSE {cell} END"""
