"""The flows as deployments start them: the same flows, with the settings in groups that a person can fill in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import State, flow
from prefect.runtime import flow_run

from badc.orchestration.pipeline_settings import PipelineSettings
from badc.orchestration.settings import OrchestrateSettings
from badc.settings import InferSettings, settings_from
from flows import forms
from flows.infer import infer as infer_flow
from flows.infer import name_of_run
from flows.orchestrate import orchestrate as orchestrate_flow
from flows.pipeline import pipeline as pipeline_flow

# Prefect shows what stands under Args in the form, which is why it stands there.


def _filled_in(group: str) -> dict[str, Any]:
    """Return what a group of the form says: Prefect gives it as it was sent, or as the object that was made of it."""
    form = flow_run.parameters.get(group) or {}
    return form.model_dump(mode="json") if isinstance(form, forms.Form) else dict(form)


def _dataset_name() -> str:
    given = _filled_in("dataset")
    return Path(given["root"]).name if given.get("root") else str(given.get("block"))


def _name_of_infer() -> str:
    root = _filled_in("places").get("dataset_root")
    return name_of_run(Path(flow_run.parameters["manifest"]), Path(root) if root else None)


@flow(name="infer", flow_run_name=_name_of_infer, persist_result=False)
def infer(
    manifest: Path,
    runner: forms.RunnerForm,
    workers: forms.WorkersForm = forms.WorkersForm(),  # noqa: B008 - frozen
    chunks: forms.ChunksForm = forms.ChunksForm(),  # noqa: B008
    places: forms.PlacesForm = forms.PlacesForm(),  # noqa: B008
) -> State:
    """Analyse every chunk of a manifest and write its detections.

    Args:
        manifest: The manifest, as `badc chunk` writes it, by its path on the worker's machine.
        runner: The classifier: one that is saved, or one that is filled in here.
        workers: The GPUs and CPU workers, or the Dask scheduler to join.
        chunks: Retries, and how chunks are handed out.
        places: Where the files of the run are.
    """
    values = forms.values_of(runner, workers, chunks, places)
    return infer_flow.fn(settings_from(InferSettings, {"manifest": manifest, **values}))


@flow(name="orchestrate", flow_run_name=lambda: f"orchestrate {_dataset_name()}", persist_result=False)
def orchestrate(
    dataset: forms.DatasetForm,
    runner: forms.RunnerForm,
    recordings: forms.RecordingsForm = forms.RecordingsForm(),  # noqa: B008
    workers: forms.WorkersForm = forms.WorkersForm(),  # noqa: B008
    chunks: forms.ChunksForm = forms.ChunksForm(),  # noqa: B008
    reports: forms.ReportsForm = forms.ReportsForm(),  # noqa: B008
) -> State:
    """Analyse every recording of a dataset that is not complete, on one warm cluster.

    Args:
        dataset: Where it is on the worker's machine, or the block that says so.
        runner: The classifier: one that is saved, or one that is filled in here.
        recordings: Which ones of the dataset, and how many at a time.
        workers: The GPUs and CPU workers, or the Dask scheduler to join.
        chunks: Retries, and how chunks are handed out.
        reports: What to make of the detections in the end.
    """
    values = forms.values_of(dataset, runner, recordings, workers, chunks, reports)
    return orchestrate_flow.fn(settings_from(OrchestrateSettings, {**values, "apply": True}))


@flow(name="pipeline", flow_run_name=lambda: f"pipeline {_dataset_name()}", persist_result=False)
def pipeline(
    dataset: forms.DatasetForm,
    runner: forms.RunnerForm,
    cutting: forms.CuttingForm = forms.CuttingForm(),  # noqa: B008
    recordings: forms.PipelineRecordingsForm = forms.PipelineRecordingsForm(),  # noqa: B008
    workers: forms.WorkersForm = forms.WorkersForm(),  # noqa: B008
    chunks: forms.ChunksForm = forms.ChunksForm(),  # noqa: B008
    reports: forms.PipelineReportsForm = forms.PipelineReportsForm(),  # noqa: B008
) -> State:
    """Take a dataset from recordings to reports: chunk, analyse, aggregate, report.

    Args:
        dataset: Where it is on the worker's machine, or the block that says so.
        runner: The classifier: one that is saved, or one that is filled in here.
        cutting: The length of a chunk, and what overlaps.
        recordings: Which ones of the dataset, and how many at a time.
        workers: The GPUs and CPU workers, or the Dask scheduler to join.
        chunks: Retries, and how chunks are handed out.
        reports: What to make of the detections in the end.
    """
    values = forms.values_of(dataset, runner, cutting, recordings, workers, chunks, reports)
    return pipeline_flow.fn(settings_from(PipelineSettings, values))
