"""The settings of the commands `badc review …`, and their defaults."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from badc.reports.settings import CsvSettings, Labels, PrivacySettings, ReportSettings
from badc.settings.model import ARGUMENT, Settings


class ClipFormat(StrEnum):
    """The formats of clips."""

    FLAC = "flac"
    WAV = "wav"


class ClipSettings(Settings):
    """What the clips of a review are like, and where their audio is."""

    pad_s: Annotated[float, Field(ge=0, le=30, description="Seconds to hear before and after the detection.")] = 3.0
    format: Annotated[ClipFormat, Field(description="Format of the clips: flac or wav.")] = ClipFormat.FLAC
    audio_root: Annotated[Path | None, Field(description="Folder that the recordings' relative paths start from.")] = (
        None
    )

    @property
    def pad_ms(self) -> int:
        """What is heard before and after the detection, in ms."""
        return round(self.pad_s * 1000)


class SampleSettings(ClipSettings, PrivacySettings, ReportSettings):
    """Settings of `badc review sample`."""

    labels: Labels = ()
    per_species: Annotated[int, Field(ge=1, description="Draw at most this many detections of each species.")] = 50
    by_score: Annotated[
        bool,
        Field(description="Draw evenly over the bands of the confidence, a tenth wide each. The default."),
    ] = False
    near: Annotated[
        float | None,
        Field(ge=0, le=1, description="Draw only detections whose confidence is within 0.05 of this threshold."),
    ] = None
    strongest: Annotated[
        bool,
        Field(
            description="Draw the detections with the highest confidence: first the best of each station and night, "
            "then the second best, and so on."
        ),
    ] = False
    seed: Annotated[int, Field(ge=0, description="The same seed draws the same sample from the same table.")] = 1
    output_dir: Annotated[
        Path | None,
        Field(description="A new folder for the review. Default: beside the table, named after it, with _review."),
    ] = None

    @model_validator(mode="after")
    def _check_modes(self) -> SampleSettings:
        if self.by_score + (self.near is not None) + self.strongest > 1:
            raise ValueError("--by-score, --near and --strongest exclude each other; give one of them")
        return self

    @property
    def folder(self) -> Path:
        """The folder of the review."""
        return self.output_dir or self.parquet.with_name(f"{self.parquet.stem}_review")


class VerdictSettings(CsvSettings):
    """Settings of `badc review report`."""

    verdicts: Annotated[
        tuple[Path, ...],
        Field(
            min_length=1,
            description="Files of verdicts: verdicts.csv of the review page, CSVs typed by hand, Raven selection "
            "tables with a column Verdict, Audacity labels that end with = y, = n or = ?.",
            json_schema_extra=ARGUMENT,
        ),
    ]
    sample: Annotated[
        tuple[Path, ...],
        Field(description="The sample.csv of the review, or of several. Default: those beside the files of verdicts."),
    ] = ()
    target: Annotated[
        float,
        Field(
            gt=0,
            lt=1,
            description="thresholds.csv takes as min_confidence the confidence at which a detection is right with this "
            "probability.",
        ),
    ] = 0.9
    output_dir: Annotated[
        Path | None,
        Field(
            description="Folder for thresholds.csv, precision.csv and conflicts.csv. Default: that of the first file "
            "of verdicts."
        ),
    ] = None

    @property
    def folder(self) -> Path:
        """The folder for what is written."""
        return self.output_dir or self.verdicts[0].parent
