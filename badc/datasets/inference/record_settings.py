"""The settings of `badc infer record`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from badc.datasets.inference.settings import InferPattern, OrchestrateSettings
from badc.datasets.settings import DatasetSettings


class RecordSettings(DatasetSettings):
    """Which runs are recorded after the fact."""

    manifest_dir: Annotated[
        Path, Field(description="Folder of the manifests, at any depth; a relative path is below the dataset.")
    ] = OrchestrateSettings.model_fields["manifest_dir"].default
    output_dir: Annotated[
        Path,
        Field(description="Folder of the detections whose runs are recorded; a relative path is below the dataset."),
    ] = OrchestrateSettings.model_fields["output_dir"].default
    telemetry_dir: Annotated[
        Path,
        Field(
            description="Folder of the telemetry: infer/RECORDING.jsonl in it, or in a folder named like another "
            "--output-dir; a relative path is below the dataset."
        ),
    ] = OrchestrateSettings.model_fields["telemetry_dir"].default
    pattern: InferPattern = ()
    limit: Annotated[int | None, Field(ge=0, description="Record at most this many recordings.")] = None
