"""A plan in other forms: job scripts for Slurm, and `datalad run` lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from badc.datasets.inference.of_all import require_own_tables_of_all, tables_of_all
from badc.datasets.inference.plan import OrchestrationPlan, require_runnable
from badc.datasets.inference.recording import RecordingToInfer
from badc.datasets.inference.settings import OrchestrateSettings
from badc.datasets.inference.speed import hours_left, hours_per_task, notes_on_time
from badc.datasets.slurm.array_script import write_array
from badc.datasets.slurm.dask_script import write_dask_script
from badc.datasets.slurm.rendering import WrittenScript, free_path
from badc.datasets.slurm.settings import SlurmSettings
from badc.datasets.slurm.tasks import TaskRow, longest_task_h, packed
from badc.inference.provenance import infer_run
from badc.recordings.dataset_file import keep_layout
from badc.reports.settings import PageSettings, RollupSettings
from badc.runners.registry import RUNNERS
from badc.settings.model import ARGUMENT
from badc.settings.redo import redoing
from badc.system.clock import now
from badc.system.paths import absolute, as_written

# Options that jobs do not pass on: they are for the command that writes them, which applies nothing.
_NOT_OF_THE_RUN = frozenset({*SlurmSettings.model_fields, "apply", "plan_csv", "plan_json", "scheduler"})
# A task's table says which recordings are its own. Many tasks cannot commit at once.
_OF_A_TASK: dict[str, object] = {
    "chunk_plan": None,
    "slurm_task": None,
    "pattern": (),
    "limit": None,
    "record_datalad": False,
    "bundle_rollup": False,
}


def datalad_lines(plan: OrchestrationPlan) -> list[str]:
    """Return one `datalad run` line for each recording to run, ready to paste into a shell; raises as `infer_run`."""
    return [infer_run(plan.infer_settings(recording)).line_among_others() for recording in plan.todo]


def write_slurm_scripts(plan: OrchestrationPlan) -> list[WrittenScript]:
    """Write the requested scripts and return them; raises as `require_runnable` and `write_array`."""
    settings = plan.settings
    if not settings.writes_jobs:
        return []
    require_runnable(plan)
    written: list[WrittenScript] = []
    if settings.slurm_script is not None and (wanted := [*plan.todo, *plan.to_report]):
        # Tasks see few recordings each, and stations follow a rule of all of them.
        words = _orchestrate_words(settings, {**_OF_A_TASK, "layout": plan.layout})
        keep_layout(settings.root, settings.layout)
        require_own_tables_of_all(settings)
        finish = _finish_commands(settings)
        rows = _task_rows(plan, wanted)
        notes = notes_on_time(plan, longest_task_h(rows))
        written.append(write_array(settings, rows, words, finish, settings.root, settings.grace_period_s, notes))
    if settings.slurm_dask is not None and (plan.todo or plan.to_report):
        words = _orchestrate_words(settings, {})
        cpu_workers, grace_s = settings.cpu_workers or 0, settings.grace_period_s
        written.append(write_dask_script(settings, words, settings.root, cpu_workers, grace_s))
    return written


def _task_rows(plan: OrchestrationPlan, recordings: Sequence[RecordingToInfer]) -> list[TaskRow]:
    root = plan.settings.root
    hours = [hours_left(recording) for recording in recordings]
    numbers = packed(hours, hours_per_task(plan))
    return [
        TaskRow(
            task=number,
            recording_id=r.recording_id,
            manifest_path=as_written(r.manifest, root),
            telemetry_log=as_written(r.log, root),
            chunks=r.chunks - (r.done if plan.settings.resume_completed else 0),
            audio_h=round(audio_h, 4),
        )
        for number, audio_h, r in zip(numbers, hours, recordings, strict=True)
    ]


def _finish_commands(settings: OrchestrateSettings) -> list[list[str]]:
    """Return the commands that follow when all tasks have ended, from the dataset's root."""
    tables = tables_of_all(settings)
    assert tables.parquet is not None
    page = PageSettings(
        parquet=tables.parquet,
        sites=settings.sites_path,
        no_plots=True,
        audio_root=settings.root,
        title=settings.place.title,
    )
    commands = [
        ["infer", "aggregate", *tables.to_arguments()],
        ["report", "page", *page.to_arguments()],
    ]
    if settings.bundle_rollup:
        rollup = RollupSettings(
            folder=settings.below(settings.bundle_aggregate_dir),
            limit=settings.bundle_rollup_limit,
            export_dir=settings.rollup_folder,
        )
        commands.append(["report", "aggregate-dir", *rollup.to_arguments()])
    commands.append(list(status_words(settings)[1:]))
    return commands


def status_words(settings: OrchestrateSettings) -> tuple[str, ...]:
    """Return the command that shows how far the array is that these settings will write."""
    assert settings.slurm_script is not None
    of_the_array = {
        "slurm_script": free_path(settings.slurm_script),
        "slurm_log_dir": None if settings.slurm_log_dir is None else absolute(settings.slurm_log_dir),
        "slurm_job_name": settings.slurm_job_name,
        "slurm_max_array": settings.slurm_max_array,
    }
    return (*_orchestrate_words(settings, {**_OF_A_TASK, "apply": False, **of_the_array}), "--slurm-status")


def _orchestrate_words(settings: OrchestrateSettings, others: Mapping[str, object]) -> tuple[str, ...]:
    """Return the command that jobs run: the same plan, applied, with absolute paths, and these other settings.

    What exists already is replaced once, and not again by each submission.
    """
    changes: dict[str, object] = {
        name: field.default
        for name, field in type(settings).model_fields.items()
        if name in _NOT_OF_THE_RUN and field.json_schema_extra != ARGUMENT
    }
    changes |= {"dataset": settings.root, "results": None, "apply": True, **redoing(settings, now())}
    for name in ("chunk_plan", "stage_dir"):
        if (path := getattr(settings, name)) is not None:
            changes[name] = absolute(path)
    for spec in RUNNERS:
        changes |= {name: spec.from_anywhere(name, getattr(settings, name)) for name in spec.options()}
    return ("badc", "infer", "orchestrate", *settings.model_copy(update={**changes, **others}).to_arguments())
