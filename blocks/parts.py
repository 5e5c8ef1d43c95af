"""The settings in parts: each becomes a Prefect block, or a group of a form.

A part lists fields of a command's settings, and values that it fixes. Its model is made from these fields, so the name,
type, limits, description and default of a setting are written once, whether it comes from an option, a run
configuration, a block or a form.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, Field, create_model
from pydantic.fields import FieldInfo

from badc.datasets.inference.settings import OrchestrateSettings
from badc.datasets.pipeline_settings import PipelineSettings
from badc.datasets.place import place_of
from badc.datasets.slurm.settings import SlurmSettings
from badc.detections.settings import AggregateSettings
from badc.inference.settings import InferOptions
from badc.reports.settings import BundleSettings
from badc.runners import registry
from badc.runners.interface import RunnerSpec
from badc.settings.model import Settings

_NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the settings; a person sees `title` and `description`, one or two sentences.

    The fields come from the settings model `source`. Values in `fixed` follow from choosing this part, so nobody fills
    them in; those in `beside` complete it when its values are checked alone.
    """

    title: str
    description: str
    source: type[Settings]
    fields: tuple[str, ...] = ()
    required: frozenset[str] = frozenset()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    beside: Mapping[str, Any] = field(default_factory=dict)

    def model(self, name: str, base: type[BaseModel], first: Mapping[str, Any] = _NONE, **further: Any) -> Any:
        """Return a pydantic model of this part, whose fields stand as in the help.

        `first` and `further` are more fields, as `create_model` takes them.
        """
        names = sorted(self.fields, key=self.source.in_the_help)
        own: dict[str, Any] = {each: _field(self.source, each, each in self.required) for each in names}
        return create_model(name, __base__=base, __doc__=self.description, **{**first, **own, **further})

    def given(self, filled: BaseModel) -> dict[str, Any]:
        """Return the values that a filled model sets: the fixed ones, and those that differ from the defaults."""
        values = {name: getattr(filled, name) for name in self.fields}
        default = {name: self.source.model_fields[name].get_default(call_default_factory=True) for name in self.fields}
        return {**self.fixed, **{name: value for name, value in values.items() if value != default[name]}}

    def check(self, filled: BaseModel) -> None:
        """Raise pydantic's ValidationError if the values of a filled model conflict."""
        self.source(**self.beside, **self.given(filled))


def _field(source: type[Settings], name: str, required: bool) -> tuple[Any, FieldInfo]:
    info = source.model_fields[name]
    changes: dict[str, Any] = {"title": _title(name), "json_schema_extra": None}
    if required:
        # A required `str | None` is `str`.
        kinds = [kind for kind in getattr(info.annotation, "__args__", (info.annotation,)) if kind is not type(None)]
        return kinds[0], FieldInfo.merge_field_infos(Field(description=info.description), **changes)
    return info.annotation, FieldInfo.merge_field_infos(info, **changes)


def _title(name: str) -> str:
    name = name.removeprefix("slurm_")  # of all in a profile
    unit = next((f" ({text})" for suffix, text in _UNITS.items() if name.endswith(suffix)), "")
    words = re.sub("|".join(f"{suffix}$" for suffix in _UNITS), "", name).split("_")
    text = " ".join(_SPELT.get(word, word) for word in words)
    return text[0].upper() + text[1:] + unit


_UNITS = {"_s": "s", "_gib": "GiB"}
_SPELT = {"gpu": "GPU", "gpus": "GPUs", "cpu": "CPU", "cpus": "CPUs", "cmd": "command", "env": "environment"}
_SPELT |= {"hawkears": "HawkEars", "birdnet": "BirdNET"}


def _runner(spec: type[RunnerSpec]) -> Part:
    fixed = {**({} if spec.switch is None else {spec.switch.field: True}), **spec.fixed}
    options = {name: field for name, field in spec.options().items() if name not in fixed}
    required = frozenset(name for name, field in options.items() if field.is_required())
    return Part(spec.title, spec.about, InferOptions, tuple(options), required=required, fixed=fixed)


RUNNERS: Mapping[str, Part] = {spec.kind: _runner(spec) for spec in registry.RUNNERS}
CLUSTER = Part(
    "Workers",
    "The workers of a run: the GPUs and CPU cores of its machine, or those of a Dask scheduler.",
    InferOptions,
    (
        "max_gpus",
        "cpu_workers",
        "threads_per_worker",
        "worker_memory_gib",
        "worker_timeout_s",
        "gpu_sample_interval_s",
        "gpu_pool",
        "scheduler",
    ),
)
CHUNKS = Part(
    "Chunks and failures",
    "What of them is analysed, how they are handed out, and what happens when one fails.",
    InferOptions,
    (
        "channel",
        "salvage",
        "chunks_per_task",
        "chunks_at_once",
        "max_retries",
        "keep_going",
        "replace_results",
        "grace_period_s",
        "no_wait",
    ),
)
# Its root is the command's `dataset` or `dataset_root`, whichever there is.
DATASET = Part(
    "Dataset",
    "A folder of recordings, where its manifests and results are, and whether runs are recorded in DataLad.",
    OrchestrateSettings,
    (
        *("results", "manifest_dir", "chunks_dir", "output_dir", "embeddings", "telemetry_dir"),
        *("bundle_aggregate_dir", "layout", "record_datalad", "fetch_ahead", "drop_after", "disk_limit"),
        "stage_dir",
    ),
    beside={"dataset": Path("dataset")},
)
SLURM = Part(
    "Slurm profile",
    "What the job scripts of a site ask Slurm for.",
    SlurmSettings,
    tuple(name for name in SlurmSettings.model_fields if name not in ("slurm_script", "slurm_dask", "slurm_profile")),
    beside={"slurm_script": Path("job.sh")},
)


RECORDINGS = Part(
    "Which recordings",
    "Which recordings of the dataset, and how many at a time.",
    OrchestrateSettings,
    (
        "pattern",
        "limit",
        "include_existing",
        "resume_completed",
        "allow_partial_chunks",
        "concurrent_recordings",
        "fail_fast",
        "chunk_plan",
    ),
)
REPORTS = Part(
    "Reports",
    "What is made of the detections.",
    OrchestrateSettings,
    (
        "bundle",
        "bundle_bucket_minutes",
        "sites",
        "bundle_rollup",
        "bundle_rollup_limit",
        "bundle_rollup_export_dir",
    ),
)
# The same for a pipeline, where some fields have other names and defaults.
PIPELINE_RECORDINGS = replace(
    RECORDINGS,
    source=PipelineSettings,
    fields=(
        "infer_pattern",
        "infer_limit",
        "infer_include_existing",
        "resume_completed",
        "allow_partial_chunks",
        "concurrent_recordings",
        "fail_fast",
    ),
)
PIPELINE_REPORTS = replace(REPORTS, source=PipelineSettings, fields=("report", *REPORTS.fields))
CUTTING = Part(
    "Cutting",
    "How recordings are cut into chunks.",
    PipelineSettings,
    (
        "chunk_duration_s",
        "overlap_s",
        "min_chunk_s",
        "virtual",
        "hash_chunks",
        "chunk_pattern",
        "chunk_limit",
        "chunk_include_existing",
        "workers",
    ),
)
TABLES = Part(
    "Tables",
    "Which tables are made of the detections, and where they go.",
    AggregateSettings,
    tuple(name for name in AggregateSettings.model_fields if name != "detections_dir"),
    beside={"detections_dir": Path("detections")},
)
BUNDLE = Part(
    "Contents",
    "What is made of the table, and where it goes.",
    BundleSettings,
    tuple(name for name in BundleSettings.model_fields if name != "parquet"),
    beside={"parquet": Path("detections.parquet")},
)


def dataset_values(root: Path, sites: Path | None, given: Mapping[str, Any], target: type[Settings]) -> dict[str, Any]:
    """Return a saved dataset's values for one command; `sites` is relative to `root`, `given` from `DATASET.given`."""
    known = target.model_fields
    values = {name: value for name, value in given.items() if name in known}
    place = place_of(root, given.get("results"))
    if "dataset" in known:
        values["dataset"] = root
    elif "dataset_root" in known:
        values["dataset_root"] = place.root
        # A command for one manifest knows no folders below the dataset.
        values["output_dir"] = place.root / given.get("output_dir", DATASET.source.model_fields["output_dir"].default)
        if (embeddings := given.get("embeddings")) is not None:
            values["embeddings"] = place.root / embeddings
    if sites is not None and "sites" in known:
        values["sites"] = place.base / sites
    return values
