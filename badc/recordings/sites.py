"""The sites of a study: a CSV that gives stations their place, their study area and their clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from badc.errors import named_few
from badc.recordings.names import nfc
from badc.system.texts import read_each, read_table

LOCAL_CLOCK = "local"
_REQUIRED = ("station", "latitude", "longitude")
_OPTIONAL = ("study_area", "timezone", "clock")


@dataclass(frozen=True, slots=True)
class Site:
    """A station's row of the sites CSV."""

    station: str  # as in the tables, in NFC
    latitude: float  # degrees (WGS 84), north positive
    longitude: float  # degrees (WGS 84), east positive
    study_area: str | None = None
    timezone: str | None = None  # in the IANA database, such as `America/Edmonton`
    clock: str | None = None  # time zone of the recorder's clock; None is the station's local time


def read_sites(path: Path) -> tuple[Site, ...]:
    """Read a sites CSV: `station,latitude,longitude[,study_area,timezone,clock]`, in any order.

    UTF-8, with or without a byte order mark; further columns and empty lines are ignored.

    Raises
    ------
    RequestError
        If the file cannot be read, lacks a column, or has wrong rows; all of them are listed with their lines.
    """
    sites: dict[str, Site] = {}

    def add(row: Mapping[str, str]) -> None:
        site = _site(row)
        if site.station in sites:
            raise ValueError(f"station '{site.station}' is listed twice")
        sites[site.station] = site

    read_each(path, read_table(path, "CSV of sites", _REQUIRED, _OPTIONAL), add)
    return tuple(sites.values())


def unlisted_note(stations: Sequence[str]) -> list[str]:
    """Return a sentence on stations that the sites do not list, or nothing if there are none."""
    if not stations:
        return []
    names = named_few([f"'{name}'" for name in stations])
    return [f"the sites do not list the station{'s' if len(stations) > 1 else ''} {names}"]


def _site(row: Mapping[str, str]) -> Site:
    texts = {name: nfc(row[name]) for name in (*_REQUIRED, *_OPTIONAL)}
    if not texts["station"]:
        raise ValueError("station is empty")
    clock: str | None = texts["clock"]
    if not clock or clock.lower() == LOCAL_CLOCK:
        clock = None
    else:
        clock = _zone("clock", "UTC" if clock.lower() == "utc" else clock)
        if not texts["timezone"]:
            raise ValueError(f"clock is '{texts['clock']}', so timezone must say what to convert it to")
    return Site(
        texts["station"],
        _degrees("latitude", texts["latitude"], 90),
        _degrees("longitude", texts["longitude"], 180),
        texts["study_area"] or None,
        _zone("timezone", texts["timezone"]) if texts["timezone"] else None,
        clock,
    )


def _degrees(name: str, text: str, limit: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not -limit <= value <= limit:
        raise ValueError(f"{name} '{text}' is not a number of degrees from -{limit} to {limit}")
    return value


def _zone(column: str, name: str) -> str:
    try:
        ZoneInfo(name)
    except (OSError, ValueError):  # ZoneInfoNotFoundError is a KeyError; a folder of the database is an OSError
        pass
    except KeyError:
        pass
    else:
        return name
    raise ValueError(f"{column} '{name}' is not an IANA time zone, such as America/Edmonton or UTC")
