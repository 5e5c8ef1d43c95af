"""Sunrise and sunset at the stations over the time they recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from badc.reports.study.data import Station

_MOST_DATES = 12
_MOST_STATIONS = 60
_HOURS = 24.0


@dataclass(frozen=True, slots=True)
class SunBand:
    """When the sun rose and set, in hours of the stations' clocks.

    `sunrise` and `sunset` are the earliest and the latest, or None if the sun never rose or set. They may lie below 0
    or beyond 24 if the clock is far from solar time; `pieces` brings them back.
    """

    sunrise: tuple[float, float] | None
    sunset: tuple[float, float] | None
    stations: int  # how many it covers
    midnight_sun: bool  # on some days the sun did not set
    polar_night: bool  # on some days it did not rise

    def pieces(self) -> list[tuple[str, float, float]]:
        """Return the spans of `night`, `day` and `change` (sunrise or sunset, depending on the date), from 0 to 24.

        Empty if the sun did not rise and set.
        """
        if self.sunrise is None or self.sunset is None:
            return []
        spans = [
            ("change", *self.sunrise),
            ("day", self.sunrise[1], self.sunset[0]),
            ("change", *self.sunset),
            ("night", self.sunset[1], self.sunrise[0] + _HOURS),
        ]
        found = []
        for name, start, end in spans:
            for shift in (-_HOURS, 0.0, _HOURS):
                low, high = max(0.0, start + shift), min(_HOURS, end + shift)
                if low < high:
                    found.append((name, low, high))
        return sorted(found, key=lambda piece: piece[1])

    def words(self) -> str:
        """Return the band in words, such as `sunrise 05:10 to 06:02, sunset 20:48 to 21:30`."""
        parts = [
            f"{name} {clock(span[0])} to {clock(span[1])}"
            if clock(span[0]) != clock(span[1])
            else f"{name} {clock(span[0])}"
            for name, span in (("sunrise", self.sunrise), ("sunset", self.sunset))
            if span is not None
        ]
        if self.midnight_sun:
            parts.append("on some days the sun did not set")
        if self.polar_night:
            parts.append("on some days the sun did not rise")
        return ", ".join(parts)


def clock(hour: float) -> str:
    """Return an hour of the day as `05:10`."""
    minutes = round(hour * 60) % (24 * 60)
    return f"{minutes // 60:02}:{minutes % 60:02}"


def sun_band(stations: Sequence[Station]) -> SunBand | None:
    """Return when the sun rose and set, or None if no station has coordinates, a time zone and dates.

    Up to twelve dates of each station are used, its first and last included; of more than sixty stations, sixty from
    north to south. The formulas are those of the library astral, which follow the solar calculator of the US National
    Oceanic and Atmospheric Administration.
    """
    known = [s for s in stations if s.timezone and None not in (s.latitude, s.longitude, s.first, s.last)]
    known.sort(key=lambda s: (-(s.latitude or 0.0), s.name or ""))
    if len(known) > _MOST_STATIONS:
        known = [known[round(n * (len(known) - 1) / (_MOST_STATIONS - 1))] for n in range(_MOST_STATIONS)]
    days = [_sun_of(station, day) for station in known for day in _some_days(station)]
    if not days:
        return None
    noon = days[0].noon
    rises = [_near(noon, day.noon) - day.before for day in days if day.before is not None]
    sets = [_near(noon, day.noon) + day.after for day in days if day.after is not None]
    return SunBand(
        (min(rises), max(rises)) if rises else None,
        (min(sets), max(sets)) if sets else None,
        len(known),
        any(day.up is True for day in days),
        any(day.up is False for day in days),
    )


def sunrise_and_sunset(latitude: float, longitude: float, timezone: str, day: date) -> dict[str, datetime]:
    """Return `sunrise` and `sunset` of a date at a place (degrees) to the minute, by the clock of the time zone.

    By a clock far from solar time, they may be on the day before or after. Empty if the sun did not rise and set.
    """
    sun = _sun_at(latitude, longitude, timezone, day)
    if sun.before is None or sun.after is None:
        return {}
    hours = {"sunrise": -sun.before, "sunset": sun.after}
    moments = {name: sun.highest + timedelta(hours=hour, seconds=30) for name, hour in hours.items()}
    return {name: moment.replace(second=0, microsecond=0, tzinfo=None) for name, moment in moments.items()}


@dataclass(frozen=True, slots=True)
class _Day:
    """Solar noon by the clock, and the hours from sunrise to noon and noon to sunset, or else whether it was up."""

    highest: datetime
    before: float | None
    after: float | None
    up: bool | None

    @property
    def noon(self) -> float:
        """The hour of the day of solar noon."""
        return _hour(self.highest)


def _some_days(station: Station) -> list[date]:
    assert station.first is not None
    assert station.last is not None
    total = (station.last - station.first).days
    number = min(total + 1, _MOST_DATES)
    return [station.first + timedelta(days=round(n * total / max(number - 1, 1))) for n in range(number)]


def _sun_of(station: Station, day: date) -> _Day:
    assert station.timezone is not None
    return _sun_at(station.latitude or 0.0, station.longitude or 0.0, station.timezone, day)


def _sun_at(latitude: float, longitude: float, timezone: str, day: date) -> _Day:
    from astral import Observer
    from astral.sun import elevation, noon, sunrise, sunset

    observer = Observer(latitude, longitude)
    zone = ZoneInfo(timezone)
    highest = noon(observer, day, tzinfo=zone)
    middle = _hour(highest)
    try:
        rise, set_ = (_hour(of(observer, day, tzinfo=zone)) for of in (sunrise, sunset))
    except ValueError:  # the sun does not cross the horizon on that day
        return _Day(highest, None, None, elevation(observer, highest) > 0)
    # By a clock far from solar time, as UTC often is, sunset may come before sunrise; counted from noon, it does not.
    return _Day(highest, (middle - rise) % _HOURS, (set_ - middle) % _HOURS, None)


def _hour(moment: datetime) -> float:
    return moment.hour + moment.minute / 60 + moment.second / 3600


def _near(reference: float, hour: float) -> float:
    """Return an hour moved by whole days to within half a day of `reference`."""
    return reference + (hour - reference + _HOURS / 2) % _HOURS - _HOURS / 2
