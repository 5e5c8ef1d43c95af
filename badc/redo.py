"""Doing again what was done before a certain time: how a run that does everything again is gone on with."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, Field


def _time(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        moment(text)
    except ValueError:
        raise ValueError(f"{text}: not a time; write it as 2026-05-09T20:00:00Z") from None
    return text


RedoBefore = Annotated[
    str | None,
    AfterValidator(_time),
    Field(
        description="Do again what was done before this time, such as 2026-05-09T20:00:00Z (UTC unless it says "
        "otherwise). An interrupted run with --include-existing prints it, in the command that goes on."
    ),
]


def moment(text: str) -> datetime:
    """Return the time that a text in ISO 8601 says; without an offset it is UTC.

    Raises
    ------
    ValueError
        When it says none.
    """
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
