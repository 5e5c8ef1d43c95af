"""The settings of `badc report plot`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator

from badc.reports.settings import ReportSettings, _words


class PlotKind(StrEnum):
    """The plots that there are."""

    HOURS = "hours"
    DATES = "dates"
    TIMELINE = "timeline"
    CONFIDENCE = "confidence"
    SPECTROGRAM = "spectrogram"


# Without the spectrograms, which need the recordings.
DEFAULT_KINDS = (PlotKind.HOURS, PlotKind.DATES, PlotKind.TIMELINE, PlotKind.CONFIDENCE)


class PlotSettings(ReportSettings):
    """Settings of `badc report plot`."""

    kind: Annotated[
        tuple[str, ...],
        BeforeValidator(_words),
        Field(
            description=f"What to draw: {', '.join(PlotKind)}. Several separated by commas, or repeat the option. "
            f"Default: {', '.join(DEFAULT_KINDS)}."
        ),
    ] = ()
    labels: Annotated[
        tuple[str, ...],
        BeforeValidator(_words),
        Field(
            description="Only these labels, by label, code or name, whatever their case. Several separated by commas, "
            "or repeat the option; double quotes around one that has a comma."
        ),
    ] = ()
    recording: Annotated[
        str | None, Field(description="Recording of the timeline, by its id. Default: the one with the most labels.")
    ] = None
    top: Annotated[
        int | None, Field(ge=1, description="Draw so many labels at most, the most frequent ones.", le=40)
    ] = None
    output_dir: Annotated[
        Path | None, Field(description="Folder for the PNG files. Default: that of the table of detections.")
    ] = None
    audio_root: Annotated[
        Path | None,
        Field(description="Folder that the recordings' relative paths start from, for the spectrograms."),
    ] = None

    @field_validator("kind")
    @classmethod
    def _check_kinds(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [word for word in words if word not in set(PlotKind)]:
            raise ValueError(f"'{unknown[0]}' is none of {', '.join(PlotKind)}")
        return words

    @property
    def kinds(self) -> tuple[PlotKind, ...]:
        """What to draw."""
        return tuple(PlotKind(word) for word in self.kind) or DEFAULT_KINDS
