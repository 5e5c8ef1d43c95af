"""The flows as deployments start them: the same flows, with the settings in groups that a person can fill in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect import State, flow
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from badc.datasets.inference.settings import OrchestrateSettings
from badc.datasets.pipeline_settings import PipelineSettings
from badc.detections.settings import AggregateSettings
from badc.errors import BadcError, listed
from badc.inference.settings import InferSettings
from badc.reports.settings import BundleSettings
from badc.settings.dataset import DatasetSettings
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

# Prefect shows what stands under Args in the form, which is why it stands there.


def _filled_in(group: str) -> dict[str, Any]:
    """Return what a group of the form says: Prefect gives it as it was sent, or as the object that was made of it."""
    form = flow_run.parameters.get(group) or {}
    return form.model_dump(mode="json") if isinstance(form, forms.Form) else dict(form)


class RunFailedError(BadcError):
    """A run failed; the text says why, as the state of its flow does."""


def _ended(run: Callable[[], State]) -> State:
    """Run a flow to its end, and return its state.

    Raises
    ------
    RunFailedError
        When it failed. Prefect tries a flow again that raises, where it is to be tried again; were the state returned,
        the flow run would be left waiting for its retry, and the worker would take it for crashed.
    """
    log_plainly()
    state = run()
    if state.is_failed():
        raise RunFailedError(state.message or "the run failed")
    return state


def _dataset_name() -> str:
    given = _filled_in("dataset")
    return (_root_of(given.get("root"), given.get("block")) or Path("without a dataset")).name


def _root_of(root: str | None, block: str | None) -> Path | None:
    """Return where a dataset is, for the name of its run; by the name of its block where that cannot be used."""
    if root or not block:
        return Path(root) if root else None
    try:
        return filled_from_blocks(DatasetSettings(dataset_block=block)).root
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
        places: Where the files of the run are. Relative paths are below the worker's checkout.
    """
    values = forms.values_of(runner, workers, chunks, places)
    return _ended(lambda: infer_flow.fn(settings_from(InferSettings, {"manifest": manifest, **values})))


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
    return _ended(lambda: orchestrate_flow.fn(settings_from(OrchestrateSettings, {**values, "apply": True})))


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
    return _ended(lambda: pipeline_flow.fn(settings_from(PipelineSettings, values)))


@flow(name="aggregate", flow_run_name=lambda: f"aggregate {_name_of('detections_dir')}", persist_result=False)
def aggregate(
    detections_dir: Path,
    tables: forms.TablesForm = forms.TablesForm(),  # noqa: B008
) -> State:
    """Make one table of all detections in a folder, and one of the chunks that were analysed.

    Args:
        detections_dir: The folder, by its path on the worker's machine.
        tables: Which tables are made, and where they go. Relative paths are below the worker's checkout.
    """

    def run() -> State:
        values = {"detections_dir": detections_dir, **forms.values_of(tables)}
        made = aggregate_flow.fn(settings_from(AggregateSettings, values))
        if made.bad:
            reasons = listed([f"{path}: {reason}" for path, reason in made.bad_files], made.bad)
            return Failed(message=f"{made.describe()}; {made.bad} files could not be used:\n{reasons}")
        return Completed(message=made.describe() if made.written else "No detections are in the folder.")

    return _ended(run)


@flow(name="report", flow_run_name=lambda: f"report {_name_of('parquet')}", persist_result=False)
def report(
    parquet: Path,
    contents: forms.BundleForm = forms.BundleForm(),  # noqa: B008
) -> State:
    """Make all reports of a table of detections: CSVs, a DuckDB database, and a page to send.

    Args:
        parquet: The table, as `badc infer aggregate --parquet` writes it, by its path on the worker's machine.
        contents: What is made of it, and where it goes.
    """

    def run() -> State:
        made = report_flow.fn(settings_from(BundleSettings, {"parquet": parquet, **forms.values_of(contents)}))
        return Completed(message="\n".join([f"{len(made.written)} files", *made.notes]))

    return _ended(run)
