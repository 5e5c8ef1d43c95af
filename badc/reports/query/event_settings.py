"""What one event is: how long a gap may be (see `badc.reports.query.events`)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from badc.settings.model import Settings


class EventSettings(Settings):
    """What is one event; see `badc.reports.query.events`."""

    max_gap_s: Annotated[
        float | None,
        Field(
            ge=0,
            allow_inf_nan=False,
            description="Detections of a label count as one event while no gap between them is longer, in seconds. "
            "Default: one window of the classifier.",
        ),
    ] = None


BY_WINDOW = EventSettings()
