"""The settings of `badc review compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from badc.reports.settings import CsvSettings, Labels, PrivacySettings, ReportSettings
from badc.system.choices import Choice
from badc.system.paths import absolute


class Unit(Choice):
    """What is counted as found, missed or a false alarm."""

    WINDOW = "window"
    CHUNK = "chunk"
    MINUTE = "minute"
    RECORDING = "recording"


class CompareSettings(CsvSettings, PrivacySettings, ReportSettings):
    """Settings of `badc review compare`."""

    truth: Annotated[
        tuple[Path, ...],
        Field(
            description="What people heard: Raven selection tables, Audacity labels, a CSV with "
            "recording,start_s,end_s,label, WildTrax' tags, Kaleidoscope's manual IDs, or folders of them. Can be "
            "repeated."
        ),
    ] = ()
    other: Annotated[Path | None, Field(description="Another table of detections, of another run or classifier.")] = (
        None
    )
    recording: Annotated[
        str | None,
        Field(description="Id of the recording of --truth, for a file that neither names it nor is named after it."),
    ] = None
    label_column: Annotated[
        str | None, Field(description="Column of --truth with the species, if it is not found by its name.")
    ] = None
    complete: Annotated[
        bool,
        Field(
            description="The truth names every species that was heard, so detections of others are false alarms. "
            "Default: only species that the truth names are compared."
        ),
    ] = False
    labels: Labels = ()
    by: Annotated[
        Unit,
        Field(
            description="What to print: by window, each detection and each label of the truth; by chunk, minute or "
            "recording, whether a species was heard in it. All are written."
        ),
    ] = Unit.WINDOW
    min_overlap_s: Annotated[
        float,
        Field(ge=0, description="Seconds that two must share, or half of the shorter one, to be about the same sound."),
    ] = 0.5
    names_table: Annotated[
        Path | None, Field(description="CSV of names, by which species are matched too (see `badc report export`).")
    ] = None
    clips: Annotated[
        int, Field(ge=0, description="Clips to cut of each species' misses, and of its false alarms; 0 cuts none.")
    ] = 10
    audio_root: Annotated[
        Path | None, Field(description="Folder that the recordings' relative paths start from, for the clips.")
    ] = None
    output_dir: Annotated[
        Path | None, Field(description="Folder for the files. Default: *_compare beside the table of detections.")
    ] = None

    @model_validator(mode="after")
    def _check_something_to_compare_with(self) -> Self:
        if not self.truth and self.other is None:
            raise ValueError("name what to compare with: --truth FILE, or --other TABLE")
        return self

    @property
    def folder(self) -> Path:
        """The folder for all files, as an absolute path."""
        return absolute(self.output_dir or self.parquet.with_name(f"{self.parquet.stem}_compare"))

    @property
    def min_overlap_ms(self) -> int:
        """What two must share, or half of the shorter one."""
        return round(self.min_overlap_s * 1000)
