"""The map of the stations: drawn from their coordinates alone, without anything from the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, floor, log10, radians, sqrt

from markupsafe import Markup

from badc.errors import numbered
from badc.reports.page.charts import LAYOUTS, Layout
from badc.reports.page.sections import ChartPart, rate_legend
from badc.reports.page.svg import element, line, picture, text
from badc.reports.study.data import Findings, Station
from badc.reports.study.scale import Scale, scale_of, short
from badc.reports.study.words import clean, fitted

_KM_PER_DEGREE = 111.195  # of latitude, on a sphere with the earth's mean radius of 6,371.0 km
_MARGIN_PX = 46.0
_LEAST_HEIGHT_PX = 200.0
_MOST_HEIGHT_PX = 520.0
_MOST_NAMED = 40
_LEAST_SPAN_KM = 0.2


@dataclass(frozen=True, slots=True)
class _Place:
    station: Station
    east_km: float
    north_km: float


def map_part(found: Findings) -> ChartPart | None:
    """Return the map of the stations with its legend, or None if fewer than two places are known."""
    rated = found.making.analysed_h is not None
    if rated:
        scale = scale_of(s.detections / s.analysed_h for s in found.stations if s.analysed_h)
    else:
        scale = scale_of(s.detections for s in found.stations)
    chart = map_chart(found.stations, scale)
    return None if chart is None else ChartPart((), chart, (), *rate_legend(scale, rated))


def map_chart(stations: Sequence[Station], scale: Scale) -> Markup | None:
    """Return the stations that have coordinates, coloured by their detections per analysed hour, north up.

    Distances are true at the middle latitude (an equirectangular projection), which is fine for the size of a study
    area. None if fewer than two places are known.
    """
    places = _places(stations)
    if len({(place.east_km, place.north_km) for place in places}) < 2:
        return None
    return Markup("").join(_drawing(layout, places, scale) for layout in LAYOUTS)


def _places(stations: Sequence[Station]) -> list[_Place]:
    known = [(s, s.latitude, s.longitude) for s in stations if s.latitude is not None and s.longitude is not None]
    if not known:
        return []
    easts = [longitude for *_, longitude in known]
    if max(easts) - min(easts) > 180:  # on both sides of the date line
        known = [(s, north, east + 360 if east < 0 else east) for s, north, east in known]
        easts = [longitude for *_, longitude in known]
    middle = (min(north for _, north, _ in known) + max(north for _, north, _ in known)) / 2
    west = min(easts)
    per_degree = _KM_PER_DEGREE * max(cos(radians(middle)), 0.01)
    return [_Place(s, (east - west) * per_degree, (north - middle) * _KM_PER_DEGREE) for s, north, east in known]


def _drawing(layout: Layout, places: Sequence[_Place], scale: Scale) -> Markup:
    easts, norths = [place.east_km for place in places], [place.north_km for place in places]
    wide, high = max(easts) - min(easts), max(norths) - min(norths)
    room = layout.width - 2 * _MARGIN_PX
    px_per_km = min(room / max(wide, _LEAST_SPAN_KM), (_MOST_HEIGHT_PX - 2 * _MARGIN_PX) / max(high, _LEAST_SPAN_KM))
    height = max(high * px_per_km + 2 * _MARGIN_PX, _LEAST_HEIGHT_PX)
    left = (layout.width - wide * px_per_km) / 2 - min(easts) * px_per_km
    middle = height / 2 + (max(norths) + min(norths)) / 2 * px_per_km
    radius = max(5.0, min(9.0, 60 / sqrt(len(places))))
    parts: list[str] = []
    for place in places:
        x, y = left + place.east_km * px_per_km, middle - place.north_km * px_per_km
        kind, words = _dot(place.station, scale)
        circle = {"cx": x, "cy": y, "r": radius, "class_": f"swatch {kind}"}
        name = clean(place.station.name or "no station")
        parts.append(element("circle", element("title", f"{name}: {words}"), **circle))
        if len(places) <= _MOST_NAMED:
            at_right = x < layout.width * 0.75
            room_px = (layout.width - x if at_right else x) - radius - 6
            at = x + (radius + 4 if at_right else -radius - 4)
            parts.append(text(at, y + 4, fitted(name, room_px, 12), "muted", None if at_right else "end"))
    parts += _scale_bar(layout, px_per_km, height)
    what = f"Map of {numbered(len(places), 'station')}, north up. The table of stations has the numbers."
    return picture(layout.width, height, what, layout.class_, *parts)


def _dot(station: Station, scale: Scale) -> tuple[str, str]:
    """Return how a station is coloured, and what it says when pointed at."""
    found = f"{numbered(station.detections, 'detection')} of {station.species:,} species"
    if station.analysed_h is None:
        return f"c{scale.step(station.detections)}" if station.detections else "zero", found
    if station.analysed_h <= 0:
        return "none", "not recorded or not analysed"
    rate = station.detections / station.analysed_h
    return (f"c{scale.step(rate)}" if rate else "zero"), f"{short(rate)} per hour, {found}"


def _scale_bar(layout: Layout, px_per_km: float, height: float) -> list[str]:
    most_km = layout.width / 4 / px_per_km
    power = 10.0 ** floor(log10(most_km))
    length_km = next(part * power for part in (5, 2, 1) if part * power <= most_km)
    right, y = layout.width - 8, height - 8
    words = f"{length_km:g} km" if length_km >= 1 else f"{length_km * 1000:g} m"
    return [
        line(right - length_km * px_per_km, y, right, y, "rule"),
        text(right, y - 5, words, "axis", "end"),
        text(4, y, "north is up", "axis"),
    ]
