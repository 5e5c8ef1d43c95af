"""The settings of `badc pipeline run`: those of chunking and of inference together, made from the two models.

An option that both have, and that may differ between them, gets a prefix: `--chunk-limit`, `--infer-limit`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import create_model
from pydantic.fields import FieldInfo

from badc.datasets.chunking.settings import ChunkSettings
from badc.datasets.inference.settings import OrchestrateSettings
from badc.datasets.slurm.settings import SlurmSettings
from badc.settings.dataset import DatasetSettings
from badc.settings.model import turned_off_by
from badc.settings.redo import redoing

_SAME = frozenset({*DatasetSettings.model_fields, "manifest_dir", "chunks_dir", "record_datalad"})
_LEFT_OUT = frozenset({*SlurmSettings.model_fields, "apply", "plan_csv", "plan_json", "chunk_plan"})
# A pipeline goes all the way, and can be started again and again.
_ON = {"bundle": "--no-bundle", "bundle_rollup": "--no-bundle-rollup", "resume_completed": "--rerun-all"}


def _places() -> dict[str, tuple[str | None, str | None]]:
    """Return each field of the pipeline with the fields of chunking and of inference that it is."""
    chunk = [name for name in ChunkSettings.model_fields if name not in _LEFT_OUT]
    infer = [name for name in OrchestrateSettings.model_fields if name not in _LEFT_OUT]
    both = set(chunk) & set(infer) - _SAME
    places: dict[str, tuple[str | None, str | None]] = {name: (name, name) for name in chunk if name in _SAME}
    places |= {(f"chunk_{name}" if name in both else name): (name, None) for name in chunk if name not in _SAME}
    places |= {(f"infer_{name}" if name in both else name): (None, name) for name in infer if name not in _SAME}
    return places


def _field(name: str, chunk: str | None, infer: str | None) -> tuple[Any, FieldInfo]:
    field = OrchestrateSettings.model_fields[infer] if infer else ChunkSettings.model_fields[str(chunk)]
    annotation = field.rebuild_annotation()
    extra = field.json_schema_extra
    if isinstance(extra, dict) and "off" in extra and name not in (chunk, infer):
        prefix = name.removesuffix(str(chunk or infer)).replace("_", "-")
        field = FieldInfo.merge_field_infos(
            field, json_schema_extra=turned_off_by(f"--{prefix}{str(extra['off']).removeprefix('--')}")
        )
    if name in _ON:
        field = FieldInfo.merge_field_infos(field, default=True, json_schema_extra=turned_off_by(_ON[name]))
    return annotation, field


_PLACES = _places()

if TYPE_CHECKING:

    class PipelineSettings(DatasetSettings):
        """Settings of a pipeline."""

        def __getattr__(self, name: str) -> Any: ...

else:
    PipelineSettings = create_model(
        "PipelineSettings",
        __base__=DatasetSettings,
        __doc__="Settings of a pipeline.",
        **{name: _field(name, *place) for name, place in _PLACES.items()},
    )


def going_on(settings: PipelineSettings, begun: str) -> PipelineSettings:
    """Return the settings that go on with a pipeline of these that began at this time (ISO 8601)."""
    changes = redoing(settings, begun, "chunk_") | redoing(settings, begun, "infer_")
    return settings.model_copy(update={"resume_completed": True, **changes})


def chunk_settings(settings: PipelineSettings) -> ChunkSettings:
    """Return the chunking's part of a pipeline's settings."""
    return ChunkSettings(**{chunk: getattr(settings, name) for name, (chunk, _) in _PLACES.items() if chunk})


def orchestrate_settings(settings: PipelineSettings) -> OrchestrateSettings:
    """Return the inference's part of a pipeline's settings."""
    values = {infer: getattr(settings, name) for name, (_, infer) in _PLACES.items() if infer}
    return OrchestrateSettings(**values, apply=True)
