"""The time as BADC's files write it, and how to read it back."""

from __future__ import annotations

from datetime import UTC, datetime

_FAR_S = 5e10  # in 1,500 years: what datetime takes, in every time zone


def now() -> str:
    """Return the current time in UTC: ISO 8601 with offset, to the ms."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def moment(text: str) -> datetime:
    """Return the time that an ISO 8601 text gives, in UTC if it has no offset; ValueError if it gives none."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def epoch_s(text: object) -> float | None:
    """Return an ISO 8601 time as seconds since 1970, or None if it is not one, or too far away to be shown."""
    try:
        seconds = datetime.fromisoformat(text).timestamp() if isinstance(text, str) else None
        return seconds if seconds is None or abs(seconds) < _FAR_S else None
    except (ValueError, OverflowError, OSError):
        return None


def duration_text(seconds: float) -> str:
    """Return a length of time as `m:ss`, or `h:mm:ss` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def hours_text(hours: float) -> str:
    """Return an amount of audio as `45 s`, `4 min` or `1.07 h`."""
    if hours >= 0.9999:
        return f"{hours:.2f} h" if hours < 100 else f"{hours:,.0f} h"
    return f"{hours * 60:.0f} min" if hours * 3600 >= 59.5 else f"{hours * 3600:.0f} s"
