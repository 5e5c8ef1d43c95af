"""The flows as deployments start them, with the settings in groups that a person can fill in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect import State, flow
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from badc.datasets.inference.settings import OrchestrateSettings
from badc.datasets.pipeline_settings import PipelineSettings
from badc.datasets.settings import DatasetSettings
from badc.detections.settings import AggregateSettings
from badc.errors import BadcError, InUseError, listed, numbered
from badc.inference.settings import InferSettings
from badc.reports.settings import BundleSettings
from badc.settings.model import settings_from
from blocks.loading import filled_from_blocks
from flows.aggregate import aggregate as aggregate_flow
from flows.deployed import forms
from flows.infer import infer as infer_flow
from flows.infer import name_of_run
from flows.orchestrate import orchestrate as orchestrate_flow
from flows.pipeline import pipeline as pipeline_flow
from flows.report import report as report_flow
from tasks.plain_log import log_plainly

# Prefect shows the Args of these docstrings in its form. A group that may be None is folded there, behind a tab.


def _filled_in(group: str) -> dict[str, Any]:
    """Return the values of a form's group, which Prefect gives as sent, or as the object made of it."""
    form = flow_run.parameters.get(group) or {}
    return form.model_dump(mode="json") if isinstance(form, forms.Form) else dict(form)


class RunFailedError(BadcError):
    """A run failed; the text says why, like the state of its flow."""


def _ended(run: Callable[[], State]) -> State:
    """Run a flow to its end and return its state; raise RunFailedError if it failed.

    Prefect retries, if so configured, a flow that raises. Returning the failed state would leave the flow run waiting
    for its retry, and the worker would take it for crashed.
    """
    log_plainly()
    try:
        state = run()
    except InUseError as error:  # the other run does it, such as that of last night
        return Cancelled(message=str(error))
    if state.is_failed():
        raise RunFailedError(state.message or "the run failed")
    return state


def _dataset_name() -> str:
    given = _filled_in("dataset")
    return (_root_of(given.get("root"), given.get("block")) or Path("without a dataset")).name


def _root_of(root: str | None, block: str | None) -> Path | None:
    """Return a dataset's folder for the name of its run, or its block's name if that cannot be used."""
    if root or not block:
        return Path(root) if root else None
    try:
        return filled_from_blocks(DatasetSettings(dataset_block=block)).place.base
    except BadcError:  # the run will say why
        return Path(block)


def _name_of(parameter: str) -> str:
    return Path(flow_run.parameters[parameter]).name


def _name_of_infer() -> str:
    given = _filled_in("places")
    root = _root_of(given.get("dataset_root"), given.get("dataset_block"))
    return name_of_run(Path(flow_run.parameters["manifest"]), root)


@flow(name="infer", flow_run_name=_name_of_infer, persist_result=False)
def infer(
    manifest: Path,
    runner: forms.RunnerForm,
    workers: forms.WorkersForm | None = None,
    chunks: forms.ChunksForm | None = None,
    places: forms.PlacesForm | None = None,
) -> State:
    """Analyse every chunk of a manifest and write its detections.

    Args:
        manifest: Path of the manifest on the worker's machine, as `badc chunk` writes it.
        runner: The classifier: a saved one, or one filled in here.
        workers: The GPUs and CPU workers, or the Dask scheduler to join.
        chunks: Retries, and how chunks are handed out.
        places: Where the run's files are. Relative paths are below the worker's checkout.
    """
    values = forms.values_of(runner, workers, chunks, places)
    return _ended(lambda: infer_flow.fn(settings_from(InferSettings, {"manifest": manifest, **values})))


@flow(name="orchestrate", flow_run_name=lambda: f"orchestrate {_dataset_name()}", persist_result=False)
def orchestrate(
    dataset: forms.DatasetForm,
    runner: forms.RunnerForm,
    recordings: forms.RecordingsForm | None = None,
    workers: forms.WorkersForm | None = None,
    chunks: forms.ChunksForm | None = None,
    reports: forms.ReportsForm | None = None,
) -> State:
    """Analyse every recording of a dataset that is not complete, on one warm cluster.

    Args:
        dataset: Its folder on the worker's machine, or the block that names it.
        runner: The classifier: a saved one, or one filled in here.
        recordings: Which ones of the dataset, and how many at a time.
        workers: The GPUs and CPU workers, or the Dask scheduler to join.
        chunks: Retries, and how chunks are handed out.
        reports: What to make of the detections at the end.
    """
    values = forms.values_of(dataset, runner, recordings, workers, chunks, reports)
    return _ended(lambda: orchestrate_flow.fn(settings_from(OrchestrateSettings, {**values, "apply": True})))


@flow(name="pipeline", flow_run_name=lambda: f"pipeline {_dataset_name()}", persist_result=False)
def pipeline(
    dataset: forms.DatasetForm,
    runner: forms.RunnerForm,
    cutting: forms.CuttingForm | None = None,
    recordings: forms.PipelineRecordingsForm | None = None,
    workers: forms.WorkersForm | None = None,
    chunks: forms.ChunksForm | None = None,
    reports: forms.PipelineReportsForm | None = None,
) -> State:
    """Take a dataset from recordings to reports: chunk, analyse, aggregate, report.

    Args:
        dataset: Its folder on the worker's machine, or the block that names it.
        runner: The classifier: a saved one, or one filled in here.
        cutting: The length of the chunks, and their overlap.
        recordings: Which ones of the dataset, and how many at a time.
        workers: The GPUs and CPU workers, or the Dask scheduler to join.
        chunks: Retries, and how chunks are handed out.
        reports: What to make of the detections at the end.
    """
    values = forms.values_of(dataset, runner, cutting, recordings, workers, chunks, reports)
    return _ended(lambda: pipeline_flow.fn(settings_from(PipelineSettings, values)))


@flow(name="aggregate", flow_run_name=lambda: f"aggregate {_name_of('detections_dir')}", persist_result=False)
def aggregate(
    detections_dir: Path,
    tables: forms.TablesForm | None = None,
) -> State:
    """Make one table of all detections in a folder, and one of the analysed chunks.

    Args:
        detections_dir: The folder's path on the worker's machine.
        tables: Which tables to make, and where they go. Relative paths are below the worker's checkout.
    """

    def run() -> State:
        values = {"detections_dir": detections_dir, **forms.values_of(tables)}
        made = aggregate_flow.fn(settings_from(AggregateSettings, values))
        if made.bad:
            reasons = listed([f"{path}: {reason}" for path, reason in made.bad_files], made.bad)
            return Failed(message=f"{made.describe()}; {numbered(made.bad, 'file')} could not be used:\n{reasons}")
        return Completed(message=made.describe() if made.written else "No detections are in the folder.")

    return _ended(run)


@flow(name="report", flow_run_name=lambda: f"report {_name_of('parquet')}", persist_result=False)
def report(
    parquet: Path,
    contents: forms.BundleForm | None = None,
) -> State:
    """Make all reports of a table of detections: CSVs, a DuckDB database, and a page to send.

    Args:
        parquet: Path of the table on the worker's machine, as `badc infer aggregate --parquet` writes it.
        contents: What to make of it, and where it goes.
    """

    def run() -> State:
        made = report_flow.fn(settings_from(BundleSettings, {"parquet": parquet, **forms.values_of(contents)}))
        return Completed(message="\n".join([*made.notes, numbered(len(made.written), "file")]))

    return _ended(run)
