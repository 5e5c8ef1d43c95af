"""A plan in other forms: job scripts for Slurm, and `datalad run` lines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from badc.datasets.inference.plan import OrchestrationPlan, require_runnable
from badc.datasets.inference.recording import RecordingToInfer
from badc.datasets.slurm.array_script import ArrayTask, write_array_scripts
from badc.datasets.slurm.dask_script import write_dask_script
from badc.datasets.slurm.rendering import WrittenScript
from badc.datasets.slurm.settings import SlurmSettings
from badc.inference.provenance import infer_run
from badc.inference.settings import InferSettings
from badc.runners.registry import RUNNERS
from badc.settings.model import ARGUMENT
from badc.system.paths import as_written, find_dataset_root

# Options that a job over several nodes does not pass on: it is the job itself, and it applies the plan.
_NOT_OF_THE_RUN = frozenset({*SlurmSettings.model_fields, "apply", "plan_csv", "plan_json", "scheduler"})


def datalad_lines(plan: OrchestrationPlan) -> list[str]:
    """Return one `datalad run` line for each recording to run, ready to paste into a shell; raises as `infer_run`."""
    return [infer_run(plan.infer_settings(recording)).line() for recording in plan.todo]


def write_slurm_scripts(plan: OrchestrationPlan) -> list[WrittenScript]:
    """Write the requested scripts and return them; raises as `require_runnable` and `write_array_scripts`."""
    settings = plan.settings
    written: list[WrittenScript] = []
    if settings.slurm_script is None and settings.slurm_dask is None:
        return written
    require_runnable(plan)
    if settings.slurm_script is not None and plan.todo:
        tasks = [_array_task(plan, recording) for recording in plan.todo]
        sites = None if settings.sites is None else _relative(settings.below(settings.sites), settings.root)
        written += write_array_scripts(settings, tasks, settings.root, settings.grace_period_s, plan.layout, sites)
    if settings.slurm_dask is not None and plan.todo:
        words = _orchestrate_words(plan)
        cpu_workers, grace_s = settings.cpu_workers or 0, settings.grace_period_s
        written.append(write_dask_script(settings, words, settings.root, cpu_workers, grace_s))
    return written


def _array_task(plan: OrchestrationPlan, recording: RecordingToInfer) -> ArrayTask:
    settings, root = plan.settings, plan.settings.root
    log = recording.log
    run = _from_root(settings.infer_settings(recording.manifest, log, resume=None), root)
    status = None if settings.allow_partial_chunks else _relative(plan.chunk_status_path(recording), root)
    return ArrayTask(
        recording_id=recording.recording_id,
        manifest=run.manifest,
        infer_words=("badc", "infer", "run", *run.to_arguments()),
        telemetry_log=_relative(log, root),
        chunk_status_path=status,
        recording_output_dir=_relative(settings.below(settings.output_dir), root) / recording.recording_id,
    )


def _from_root(run: InferSettings, root: Path) -> InferSettings:
    """Return the settings with paths from the dataset's root, where the task runs."""
    changes: dict[str, Path | None] = {name: _relative(value, root) for name, value in run if isinstance(value, Path)}
    # Outside DataLad nothing marks the root.
    changes["dataset_root"] = None if find_dataset_root(root) == root else Path()
    return run.model_copy(update=changes)


def _relative(path: Path, root: Path) -> Path:
    return Path(as_written(path, root))


def _orchestrate_words(plan: OrchestrationPlan) -> tuple[str, ...]:
    """Return the command that the job runs: the same plan, applied, with absolute paths."""
    settings = plan.settings
    absolute: Callable[[Path], Path] = settings.below
    changes: dict[str, object] = {
        name: field.default
        for name, field in type(settings).model_fields.items()
        if name in _NOT_OF_THE_RUN and field.json_schema_extra != ARGUMENT
    }
    changes |= {"dataset": settings.root, "apply": True}
    if settings.slurm_resume_completed:
        changes["resume_completed"] = True
    if settings.slurm_bundle:
        changes |= {"bundle": True, "bundle_bucket_minutes": settings.slurm_bundle_bucket_minutes}
        if settings.slurm_bundle_aggregate_dir is not None:
            changes["bundle_aggregate_dir"] = settings.slurm_bundle_aggregate_dir
    for name in ("chunk_plan", *(name for spec in RUNNERS for name in spec.options())):
        if isinstance(value := getattr(settings, name), Path):
            changes[name] = absolute(Path.cwd() / value)
    return ("badc", "infer", "orchestrate", *settings.model_copy(update=changes).to_arguments())
