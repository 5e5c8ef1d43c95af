"""Which outputs a redo-everything run still has to replace: those from before it began."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from badc.settings.model import Settings
from badc.system.clock import moment


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
        description="Redo what was done before this time, such as 2026-05-09T20:00:00Z (UTC unless it says "
        "otherwise). An interrupted run with --include-existing prints it, in the command that resumes it."
    ),
]


def redoing(settings: Settings, begun: str, prefix: str = "") -> dict[str, str | bool]:
    """Return the settings to change in order to resume a run that began at this time (ISO 8601).

    `settings` must have `include_existing` and `redo_before`, each with `prefix` before its name.
    """
    if not getattr(settings, f"{prefix}include_existing"):
        return {}
    return {f"{prefix}include_existing": False, f"{prefix}redo_before": begun}
