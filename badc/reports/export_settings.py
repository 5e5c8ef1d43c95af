"""The settings of `badc report export`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from badc.reports.settings import _asked_for, _needed, _words
from badc.settings.model import Settings


class ExportFormat(StrEnum):
    """What other tools read."""

    RAVEN = "raven"
    AUDACITY = "audacity"
    BIRDNET = "birdnet"


class ExportSettings(Settings):
    """Settings of one export of detections (`badc report export`)."""

    parquet: Annotated[
        Path,
        BeforeValidator(_asked_for),
        Field(description="Table of detections, as `badc infer aggregate --parquet` writes it. Needed."),
    ] = _needed()
    format: Annotated[
        ExportFormat,
        BeforeValidator(_asked_for),
        Field(
            description="raven: a selection table per recording. audacity: a label track per recording. birdnet: one "
            "CSV with the columns of BirdNET-Analyzer. Needed."
        ),
    ] = _needed()
    output_dir: Annotated[
        Path | None,
        Field(description="Folder for the files. Default: beside the table, named after it and the format."),
    ] = None
    min_confidence: Annotated[float, Field(ge=0, le=1, description="Leave out detections below this confidence.")] = 0.0
    labels: Annotated[
        tuple[str, ...],
        BeforeValidator(_words),
        Field(
            description="Only these labels, by label, code or name, whatever their case. Several separated by commas, "
            "or repeat the option; double quotes around one that has a comma."
        ),
    ] = ()
