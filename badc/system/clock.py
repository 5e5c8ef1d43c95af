"""The time as every file of BADC has it, and times read back from them."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> str:
    """Return the time as every file of a run has it: UTC, ISO-8601 with offset, to the ms."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def moment(text: str) -> datetime:
    """Return the time that a text in ISO 8601 says; without an offset it is UTC.

    Raises
    ------
    ValueError
        When it says none.
    """
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def epoch_s(text: object) -> float | None:
    """Return an ISO-8601 time as seconds since 1970, or None for what is none."""
    try:
        return datetime.fromisoformat(text).timestamp() if isinstance(text, str) else None
    except (ValueError, OverflowError, OSError):
        return None
