"""The settings of `badc report history` and `badc report phenology`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from badc.reports.settings import CsvSettings, Labels, ReportSettings
from badc.system.choices import Choice


class Visit(Choice):
    """What one visit of a station is."""

    NIGHT = "night"
    DATE = "date"
    HOUR = "hour"


class Reference(Choice):
    """What hours may be counted from instead of the full hour of the clock."""

    SUN = "sun"


class HistorySettings(CsvSettings, ReportSettings):
    """Settings of `badc report history`."""

    visit: Annotated[
        Visit,
        Field(
            description="What one visit of a station is: night (noon to noon), date, or hour, of the station's clock."
        ),
    ] = Visit.NIGHT
    relative_to: Annotated[
        Reference | None,
        Field(
            description="sun: count the hours of --visit hour from the nearest sunrise or sunset. Needs --sites with "
            "coordinates and time zones."
        ),
    ] = None
    labels: Labels = ()
    output_dir: Annotated[
        Path | None, Field(description="Folder for the CSVs. Default: beside the table, named after it: X_history.")
    ] = None
    limit: Annotated[int, Field(ge=0, description="Print at most this many species; 0 prints all.")] = 20

    @model_validator(mode="after")
    def _check_reference(self) -> Self:
        if self.relative_to is not None and self.visit is not Visit.HOUR:
            raise ValueError("--relative-to sun counts hours: give --visit hour, too")
        return self

    @property
    def folder(self) -> Path:
        """The folder for the CSVs."""
        return self.output_dir or self.parquet.with_name(f"{self.parquet.stem}_history")


class PhenologySettings(CsvSettings, ReportSettings):
    """Settings of `badc report phenology`."""

    labels: Labels = ()
    output_dir: Annotated[
        Path | None,
        Field(description="Folder for the CSVs and the curve. Default: beside the table, named after it: X_phenology."),
    ] = None
    limit: Annotated[int, Field(ge=0, description="Print at most this many species; 0 prints all.")] = 20

    @property
    def folder(self) -> Path:
        """The folder for the CSVs and the curve."""
        return self.output_dir or self.parquet.with_name(f"{self.parquet.stem}_phenology")
