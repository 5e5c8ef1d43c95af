"""Settings of one aggregation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from badc.settings.model import ARGUMENT, Settings, turned_off_by


class AggregateSettings(Settings):
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
    merge_overlaps: Annotated[
        bool | None,
        Field(
            description="Make one row of a call that overlapping chunks detected twice. Default: where the chunks are "
            "said to overlap (overlap_ms).",
            json_schema_extra=turned_off_by("--no-merge-overlaps"),
        ),
    ] = None
    strict: Annotated[bool, Field(description="Stop at the first file that cannot be used; write nothing.")] = False
