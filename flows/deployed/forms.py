"""The forms that start a deployed flow: the settings in groups, each made from one of their parts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, Union

from pydantic import BaseModel, ConfigDict, Field

from badc.inference.settings import InferSettings
from badc.settings.model import Settings
from blocks import parts as parts
from blocks.parts import Part


class Form(Settings):
    """One group of a form."""


def _form(name: str, part: Part, first: Mapping[str, Any] = MappingProxyType({}), **further: Any) -> Any:
    form = part.model(name, Form, first, **further)
    form.model_config["title"] = part.title  # shown on the tab that chooses or unfolds it
    form.model_rebuild(force=True)
    return form


def _runner_form(kind: str, part: Part) -> Any:
    return _form(f"{kind.title().replace('-', '')}Form", part, kind=_kind(kind, part.description))


def _kind(kind: str, description: str) -> Any:
    return (Literal[kind], Field(default=kind, title="Kind", description=description))


class SavedRunnerForm(Form):
    """A runner saved as a block."""

    model_config = ConfigDict(title="Saved")

    kind: Literal["saved"] = Field(default="saved", title="Kind", description="A runner that is saved as a block.")
    block: str = Field(title="Block", description="Name of the block, such as careful or badc-birdnet/careful.")


RUNNER_FORMS = {kind: _runner_form(kind, part) for kind, part in parts.RUNNERS.items()}
# Each has its own `kind`. Declared as a discriminator, it would make Prefect's UI show a box for JSON, not a choice.
if TYPE_CHECKING:  # which cannot know the runners
    RunnerForm: TypeAlias = Form
else:
    RunnerForm = Union[(SavedRunnerForm, *RUNNER_FORMS.values())]


def _block_name(title: str) -> Any:
    text = f"{title} saved in Prefect, by the name of its block. Values below that are not the default take precedence."
    return {"block": (str | None, Field(default=None, title="Block", description=text))}


class PlacesForm(Form):
    """Where the files of one run are."""

    model_config = ConfigDict(title="Places")

    resume_summary: Path | None = Field(
        default=None, title="Resume summary", description="Summary or telemetry log of an earlier run to go on from."
    )
    output_dir: Path | None = Field(
        default=None,
        title="Output dir",
        description="Folder of the detections. Default: artifacts/infer, in the dataset if there is one, else in the "
        "worker's checkout.",
    )
    embeddings: Path | None = Field(
        default=None, title="Embeddings", description=InferSettings.model_fields["embeddings"].description
    )
    telemetry_log: Path | None = Field(
        default=None, title="Telemetry log", description="Default: a new one, named after the flow run."
    )
    dataset_root: Path | None = Field(
        default=None, title="Dataset root", description="Default: the folder above the manifest that has a .datalad."
    )
    dataset_block: str | None = Field(default=None, title="Dataset block", description="Name of a saved dataset.")


WorkersForm = _form("WorkersForm", parts.CLUSTER, _block_name("Workers"))
ChunksForm = _form("ChunksForm", parts.CHUNKS)
RecordingsForm = _form("RecordingsForm", parts.RECORDINGS)
ReportsForm = _form("ReportsForm", parts.REPORTS)
PipelineRecordingsForm = _form("PipelineRecordingsForm", parts.PIPELINE_RECORDINGS)
PipelineReportsForm = _form("PipelineReportsForm", parts.PIPELINE_REPORTS)
CuttingForm = _form("CuttingForm", parts.CUTTING)
TablesForm = _form("TablesForm", parts.TABLES)
BundleForm = _form("BundleForm", parts.BUNDLE)
_ROOT = (Path | None, Field(default=None, title="Root", description="The dataset's folder; or name a block."))
DatasetForm = _form("DatasetForm", parts.DATASET, {"root": _ROOT} | _block_name("A dataset"))

_PARTS: dict[type[BaseModel], Part] = {
    WorkersForm: parts.CLUSTER,
    ChunksForm: parts.CHUNKS,
    RecordingsForm: parts.RECORDINGS,
    ReportsForm: parts.REPORTS,
    PipelineRecordingsForm: parts.PIPELINE_RECORDINGS,
    PipelineReportsForm: parts.PIPELINE_REPORTS,
    CuttingForm: parts.CUTTING,
    TablesForm: parts.TABLES,
    BundleForm: parts.BUNDLE,
    DatasetForm: parts.DATASET,
    **{form: parts.RUNNERS[kind] for kind, form in RUNNER_FORMS.items()},
}
_BLOCK_OF = {WorkersForm: "cluster_block", DatasetForm: "dataset_block"}


def values_of(*forms: BaseModel | None) -> dict[str, Any]:
    """Return what the forms say, as fields of a command's settings; None is a group left as it is."""
    values: dict[str, Any] = {}
    for form in filter(None, forms):
        if isinstance(form, SavedRunnerForm):
            values["runner_block"] = form.block
        elif isinstance(form, PlacesForm):
            values |= {name: value for name, value in form if value is not None}
        else:
            values |= _PARTS[type(form)].given(form)
        if (block := getattr(form, "block", None)) and type(form) in _BLOCK_OF:
            values[_BLOCK_OF[type(form)]] = block
        if isinstance(form, DatasetForm) and form.root is not None:
            values["dataset"] = form.root
    return values
