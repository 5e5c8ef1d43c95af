"""The settings of `badc pipeline run`: those of chunking and inference together.

An option that both have, and that may differ between them, gets a prefix: `--chunk-limit`, `--infer-limit`.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from pydantic.fields import FieldInfo

from badc.chunks.settings import CutSettings
from badc.datasets.chunking.settings import CHUNK_AGAIN, ChunkLimit, ChunkOptions, ChunkPattern, ChunkSettings
from badc.datasets.inference.of_all import sites_beside
from badc.datasets.inference.settings import (
    ANALYSE_AGAIN,
    DatasetInferOptions,
    InferLimit,
    InferPattern,
    OrchestrateSettings,
)
from badc.datasets.settings import DatasetSettings
from badc.detections.settings import LayoutSettings
from badc.recordings.sites import read_sites
from badc.settings.model import Settings, also_called, turned_off_by
from badc.settings.redo import RedoBefore, redoing

_PREFIXED = ("pattern", "include_existing", "redo_before", "limit")


def _as_elsewhere(name: str) -> FieldInfo:
    """Return the field of a switch that is on in a pipeline."""
    switch = DatasetInferOptions.model_fields[name]
    field: FieldInfo = Field(description=switch.description, json_schema_extra=switch.json_schema_extra)
    return field


class PipelineSettings(DatasetInferOptions, ChunkOptions, LayoutSettings, DatasetSettings):
    """Settings of a pipeline, which goes all the way, and can be started again and again."""

    chunk_pattern: ChunkPattern = ()
    chunk_include_existing: Annotated[
        bool, Field(description=CHUNK_AGAIN, json_schema_extra=turned_off_by("--chunk-skip-existing"))
    ] = False
    chunk_redo_before: RedoBefore = None
    chunk_limit: ChunkLimit = None
    infer_pattern: InferPattern = ()
    infer_include_existing: Annotated[
        bool, Field(description=ANALYSE_AGAIN, json_schema_extra=turned_off_by("--infer-skip-existing"))
    ] = False
    infer_redo_before: RedoBefore = None
    infer_limit: InferLimit = None
    report: Annotated[
        bool,
        Field(
            description="At the end, make the tables (`badc infer aggregate`) and the page (`badc report page`) of all "
            "recordings.",
            json_schema_extra=turned_off_by("--no-report"),
        ),
    ] = True
    bundle: Annotated[
        bool,
        Field(
            description="Also make a bundle of tables and reports of each recording, some twenty files of each.",
            json_schema_extra={**turned_off_by("--no-bundle"), **also_called("bundle_recordings")},
        ),
    ] = False
    resume_completed: Annotated[bool, _as_elsewhere("resume_completed")] = True


def going_on(
    settings: PipelineSettings, begun: str, to_chunk: int | None = None, to_infer: int | None = None
) -> PipelineSettings:
    """Return the settings that resume a pipeline of these that began at this time (ISO 8601).

    `to_chunk` and `to_infer` are how many recordings each step has left, where that is known.
    """
    changes: dict[str, Any] = {**redoing(settings, begun, "chunk_"), **redoing(settings, begun, "infer_")}
    for name, left in (("chunk_limit", to_chunk), ("infer_limit", to_infer)):
        if left is not None and getattr(settings, name) is not None:
            changes[name] = left
    return settings.model_copy(update={"resume_completed": True, **changes})


def with_sites(settings: PipelineSettings) -> tuple[PipelineSettings, str | None]:
    """Return the settings with the stations that are given, or else found, and what to say of those found, if any.

    Raises RequestError when the stations cannot be read.
    """
    wanted = orchestrate_settings(settings)
    if wanted.sites_path is not None:
        read_sites(wanted.sites_path)
        return settings, None
    found, said = sites_beside(wanted.place)
    return (settings if found is None else settings.model_copy(update={"sites": found})), said


def chunk_settings(settings: PipelineSettings) -> ChunkSettings:
    """Return the chunking part of a pipeline's settings."""
    # Lengths that nobody gave must not look as if they had been given: see `ChunkOrder`.
    values = _part(settings, ChunkSettings, "chunk_")
    defaults = CutSettings.model_fields.keys() - settings.model_fields_set
    return ChunkSettings(**{name: value for name, value in values.items() if name not in defaults})


def orchestrate_settings(settings: PipelineSettings) -> OrchestrateSettings:
    """Return the inference part of a pipeline's settings."""
    return OrchestrateSettings(**_part(settings, OrchestrateSettings, "infer_"), apply=True)


def _part(settings: PipelineSettings, model: type[Settings], prefix: str) -> dict[str, Any]:
    names = {name: f"{prefix}{name}" if name in _PREFIXED else name for name in model.model_fields}
    return {name: getattr(settings, own) for name, own in names.items() if own in PipelineSettings.model_fields}
