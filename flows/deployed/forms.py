"""The forms that start a deployed flow: the settings in groups, each made from one of their parts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, Union

from pydantic import BaseModel, ConfigDict, Field

from badc.settings.model import Settings
from blocks import parts as parts
from blocks.parts import Part


class Form(Settings):
    """One group of a form."""


def _runner_form(kind: str, part: Part) -> Any:
    form = part.model(f"{kind.title().replace('-', '')}Form", Form, kind=_kind(kind, part.description))
    form.model_config["title"] = part.title  # shown on the tab that chooses it
    form.model_rebuild(force=True)
    return form


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

    output_dir: Path | None = Field(
        default=None,
        title="Detections",
        description="Folder of the detections. Default: artifacts/infer, in the dataset if there is one, else in the "
        "worker's checkout.",
    )
    telemetry_log: Path | None = Field(
        default=None, title="Telemetry log", description="Default: a new one, named after the flow run."
    )
    dataset_root: Path | None = Field(
        default=None, title="Dataset", description="Default: the folder above the manifest that has a .datalad."
    )
    dataset_block: str | None = Field(default=None, title="Dataset block", description="Name of a saved dataset.")
    resume_summary: Path | None = Field(
        default=None, title="Go on from", description="Summary or telemetry log of an earlier run."
    )


WorkersForm = parts.CLUSTER.model("WorkersForm", Form, _block_name("Workers"))
ChunksForm = parts.CHUNKS.model("ChunksForm", Form)
RecordingsForm = parts.RECORDINGS.model("RecordingsForm", Form)
ReportsForm = parts.REPORTS.model("ReportsForm", Form)
PipelineRecordingsForm = parts.PIPELINE_RECORDINGS.model("PipelineRecordingsForm", Form)
PipelineReportsForm = parts.PIPELINE_REPORTS.model("PipelineReportsForm", Form)
CuttingForm = parts.CUTTING.model("CuttingForm", Form)
TablesForm = parts.TABLES.model("TablesForm", Form)
BundleForm = parts.BUNDLE.model("BundleForm", Form)
_ROOT = (Path | None, Field(default=None, title="Root", description="The dataset's folder; or name a block."))
DatasetForm = parts.DATASET.model("DatasetForm", Form, {"root": _ROOT} | _block_name("A dataset"))

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


def values_of(*forms: BaseModel) -> dict[str, Any]:
    """Return what the forms say, as fields of a command's settings."""
    values: dict[str, Any] = {}
    for form in forms:
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
