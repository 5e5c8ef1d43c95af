"""Settings of one aggregation, and of what the tables say about places."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from badc.recordings.places import layout_problem
from badc.settings.model import ARGUMENT, Settings, turned_off_by


def _layout(text: str | None) -> str | None:
    if text is not None and (problem := layout_problem(text)):
        raise ValueError(problem)
    return text


class LayoutSettings(Settings):
    """The rule by which a dataset's recordings have a station and a study area."""

    layout: Annotated[
        str | None,
        AfterValidator(_layout),
        Field(
            description="Where station and study area stand in a recording's path below audio/: a template such as "
            "'{study_area}/{_}/{station}/{_}/{name}', where {_} is anything; or name (the file names, else the "
            "folders), folder (the folders, else the file names), recorder (serial numbers, where there is nothing "
            "else). Default: the one of these three that suits the dataset."
        ),
    ] = None


class AggregateSettings(LayoutSettings):
    """Settings of one aggregation (`badc infer aggregate`)."""

    detections_dir: Annotated[
        Path, Field(description="Folder with the chunks' detections (JSON).", json_schema_extra=ARGUMENT)
    ]
    output: Annotated[
        Path | None,
        Field(
            description="CSV of the detections. Default: artifacts/aggregate/summary.csv, in the folder's dataset if "
            "it has one. The coverage table goes beside it as *_coverage.csv."
        ),
    ] = None
    parquet: Annotated[
        Path | None, Field(description="Also write the detections, and the coverage beside them, as Parquet.")
    ] = None
    manifest: Annotated[
        tuple[Path, ...],
        Field(
            description="Manifest, or folder of manifests, that fills in what detections lack and shows which chunks "
            "have none. Repeatable."
        ),
    ] = ()
    sites: Annotated[
        Path | None,
        Field(
            description="CSV of the stations: station,latitude,longitude and, optionally, study_area,timezone,clock. "
            "With it, each detection gets the occurrence of its species there and then, by BirdNET's range model."
        ),
    ] = None
    merge_overlaps: Annotated[
        bool | None,
        Field(
            description="Make one row of a call that overlapping chunks detected twice. Default: where the chunks are "
            "said to overlap (overlap_ms).",
            json_schema_extra=turned_off_by("--no-merge-overlaps"),
        ),
    ] = None
    embeddings: Annotated[
        Path | None,
        Field(
            description="Folder of the embeddings of a run: also collect them, as Parquet with station and time, in "
            "X_embeddings beside the table X."
        ),
    ] = None
    strict: Annotated[bool, Field(description="Stop at the first file that cannot be used; write nothing.")] = False
