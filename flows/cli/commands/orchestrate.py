"""`badc infer orchestrate`: plan the inference of a whole dataset, run it, or write job scripts for it."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from badc.datasets.inference.settings import OrchestrateSettings
from badc.errors import ExitCode, RequestError, in_a_line, listed, numbered
from badc.telemetry.summary import RunState
from flows.cli.console import (
    RunProgress,
    counting,
    end,
    print_json,
    print_table,
    show_rankings,
    tell_if_not_saved,
    warn_of_stub,
)
from flows.cli.options import options_of

if TYPE_CHECKING:
    from badc.datasets.inference.plan import OrchestrationPlan
    from badc.datasets.inference.recording import RecordingToInfer
    from badc.datasets.slurm.rendering import WrittenScript
    from flows.run.sessions import OrchestrateOutcome

_MOST_SHOWN = 50
_MOST_BESIDE_SCRIPTS = 20  # whose lines are what one looks for
# A task of an array takes about as long to start as it takes for so many chunks.
_FEW_CHUNKS = 20
MEND_FIRST = "Put right what is named above first, or move it elsewhere: resuming only tries it again"


@options_of(OrchestrateSettings)
def orchestrate(
    settings: OrchestrateSettings,
    print_datalad_run: Annotated[
        bool,
        typer.Option(
            "--print-datalad-run",
            help="Print one `datalad run` line for each recording to run, and run nothing. Plans and job scripts that "
            "are asked for are written.",
        ),
    ] = False,
    slurm_status: Annotated[
        bool,
        typer.Option(
            "--slurm-status",
            help="Show how far the array of --slurm-script is: what waits, runs, is done, and failed and why, and the "
            "line that submits again what failed.",
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the plan alone, as JSON, one object for each recording.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show Prefect's and Dask's own messages.")] = False,
) -> int:
    """Plan the inference of every recording of a dataset, and with --apply run it on one warm cluster.

    Recordings whose chunks are all done are skipped; incompletely chunked ones are refused. With --slurm-script or
    --slurm-dask, job scripts are written. `python -m flows.orchestrate` is the same with --apply. Exit codes: 0; 1 a
    recording failed; 2 the request is wrong, nothing was started; 130 interrupted.
    """
    from flows.server.local import quiet_defaults

    quiet_defaults(verbose)
    from badc.datasets.inference.elsewhere import plan_with_content
    from badc.datasets.inference.plan import plan_orchestration
    from badc.system.clock import now

    if slurm_status:
        from flows.cli.commands.slurm_status import show_status

        return show_status(settings, as_json)
    if as_json and (settings.apply or print_datalad_run or settings.writes_jobs):
        raise RequestError("--json prints the plan alone; leave out --apply, --print-datalad-run and job scripts")
    if print_datalad_run and settings.apply:
        raise RequestError("--apply runs the plan, --print-datalad-run prints how to: give one of them")

    began = now()
    with counting("manifests looked at") as show:
        if settings.apply:
            plan = plan_with_content(settings, partial(print, file=sys.stderr), show)
        else:
            plan = plan_orchestration(settings, show)
    _tell_of_runner(plan)
    if print_datalad_run:
        return _print_datalad_lines(plan)
    _show_plan(plan, as_json)
    if plan.todo:
        warn_of_stub(plan.settings)
    _write_plan(plan, sys.stderr if as_json else sys.stdout)
    if as_json:
        return 0
    return _apply(plan, began) if settings.apply else _write_scripts(plan)


def _tell_of_runner(plan: OrchestrationPlan) -> None:
    """Say on stderr which runner it is if none was named, and what is missing to run it."""
    if plan.settings.runner_is_default:
        print(f"Runner: {plan.settings.runner().title}, as no other is named", file=sys.stderr)
    if plan.not_installed is not None:
        print(f"WARNING: {plan.not_installed}", file=sys.stderr)


def _print_datalad_lines(plan: OrchestrationPlan) -> int:
    """Print the lines alone on stdout, to be pasted; everything else goes to stderr."""
    from badc.datasets.inference.scripts import datalad_lines, write_slurm_scripts
    from badc.system.paths import find_dataset_root

    lines = datalad_lines(plan)
    if plan.todo:
        warn_of_stub(plan.settings)
    _write_plan(plan, sys.stderr)
    for script in write_slurm_scripts(plan):
        _tell_of_script(script, sys.stderr)
    planned = {recording.recording_id for recording in plan.todo}
    others = [r for r in plan.recordings if r.recording_id not in planned]
    left_out = [f"{r.recording_id}: {r.decision}: {r.reason}" for r in others]
    if left_out:
        print(f"badc: {numbered(len(left_out), 'recording')} left out:\n{listed(left_out)}", file=sys.stderr)
    for line in lines:
        print(line)
    tell_if_not_saved(find_dataset_root(plan.settings.root))
    return 0


def _show_plan(plan: OrchestrationPlan, as_json: bool) -> None:
    from badc.datasets.inference.elsewhere import content_notes

    rows = [
        {
            "recording": r.recording_id,
            "chunks": r.chunks,
            "done": r.done,
            "failed": r.failed,
            "missing": r.missing,
            "chunk status": r.chunk_status,
            "decision": r.decision.value,
            "reason": in_a_line(r.reason),
        }
        for r in plan.recordings
    ]
    if as_json:
        print_json(rows)
        return
    most = _MOST_SHOWN if sys.stdout.isatty() else len(rows)
    shown = rows[: _MOST_BESIDE_SCRIPTS if plan.settings.writes_jobs else most]
    print_table(shown, "Recordings")
    if len(shown) < len(rows):
        ways = "--plan-csv writes those to run" + ("" if plan.settings.writes_jobs else ", a pipe shows all")
        print(f"… and {len(rows) - len(shown):,} more; {ways}", file=sys.stderr)
    counts = ", ".join(f"{number} {decision.value}" for decision, number in plan.counts().items())
    print(f"{numbered(len(rows), 'recording')}: {counts or 'none'}", file=sys.stderr)
    # A run says by itself where its audio is.
    audio_notes = () if plan.settings.apply else plan.audio_notes
    for note in (*plan.places, *audio_notes, *content_notes(plan)) if rows else ():
        print(f"badc: {note}", file=sys.stderr)


def _write_plan(plan: OrchestrationPlan, out: TextIO) -> None:
    from badc.datasets.inference.saved_plan import InferPlanRow
    from badc.system.row_files import write_plan_csv, write_plan_json

    settings = plan.settings
    if settings.plan_csv is not None:
        write_plan_csv(settings.plan_csv, InferPlanRow, plan.rows())
        print(f"plan\t{settings.plan_csv}", file=out)
    if settings.plan_json is not None:
        write_plan_json(settings.plan_json, plan.rows())
        print(f"plan\t{settings.plan_json}", file=out)


def _tell_of_short_recordings(plan: OrchestrationPlan) -> None:
    chunks_of_each = sum(recording.chunks for recording in plan.todo) / max(1, len(plan.todo))
    if len(plan.todo) > 1 and chunks_of_each < _FEW_CHUNKS and plan.settings.slurm_hours_per_task is None:
        chunks = "chunk" if chunks_of_each == 1 else "chunks on average"
        print(
            f"badc: each of the {len(plan.todo)} tasks starts BADC and loads the model for {chunks_of_each:.3g} "
            f"{chunks}; --slurm-hours-per-task auto gives each so many recordings that it is worth it",
            file=sys.stderr,
        )


def _write_scripts(plan: OrchestrationPlan) -> int:
    from badc.datasets.inference.scripts import write_slurm_scripts

    written = write_slurm_scripts(plan)
    for script in written:
        _tell_of_script(script, sys.stdout)
    if not written:
        _tell_of_apply(plan)
    elif plan.settings.slurm_script is not None:
        _tell_of_short_recordings(plan)
    return 0


def _tell_of_script(script: WrittenScript, out: TextIO) -> None:
    """Print what was written, and alone on `out` the line that submits it."""
    from badc.datasets.slurm.array_script import WrittenArray

    print(f"script\t{script.path}", file=out)
    if isinstance(script, WrittenArray):
        print(f"tasks\t{script.tasks_path}", file=out)
    print(f"logs\t{script.log_dir}", file=out)
    if not isinstance(script, WrittenArray):
        print("Submit with:", file=sys.stderr)
        print(script.submit_line, file=out)
        return
    for note in script.notes:
        print(f"badc: {note}", file=sys.stderr)
    arrays = "" if script.arrays == 1 else f" in {script.arrays} arrays"
    print(
        f"Submit {numbered(script.tasks, 'task')}{arrays}, and a job for when they have ended, with:", file=sys.stderr
    )
    print(script.submit_all, file=out)
    if script.arrays == 1:
        print("or the tasks alone with:", file=sys.stderr)
        print(script.submit_line, file=out)
    watch = shlex.join(["--slurm-script", str(script.path), "--slurm-status"])
    print(f"How far it is, the same command says with {watch}", file=sys.stderr)


def _tell_of_apply(plan: OrchestrationPlan) -> None:
    try:
        plan.require_complete()
    except RequestError as error:
        print(f"badc: nothing was run, and --apply would refuse this plan: {error}", file=sys.stderr)
    else:
        if plan.todo or plan.to_report:
            print("Nothing was run; --apply runs the plan", file=sys.stderr)


def _apply(plan: OrchestrationPlan, began: str) -> int:
    refused: list[RecordingToInfer] = []
    if plan.settings.slurm_task is not None:  # one recording of a task does not keep the others from being run
        for line in plan.not_analysed():
            print(f"badc: {line}", file=sys.stderr)
        plan, refused = plan.without_refused(), plan.refused
    return _run(plan, began) or _code_of(refused)


def _code_of(refused: Sequence[RecordingToInfer]) -> ExitCode:
    """Return the exit code of a task whose other recordings are done."""
    from badc.chunks.status import ChunkState

    if not refused:
        return ExitCode.OK
    unchunked = all(r.chunks and r.chunk_status != ChunkState.COMPLETED for r in refused)
    return ExitCode.CHUNKS_NOT_COMPLETED if unchunked else ExitCode.WRONG_REQUEST


def _run(plan: OrchestrationPlan, began: str) -> int:
    from badc.datalad.environment import recording_wanted
    from badc.datasets.inference.plan import require_installed, require_runnable
    from badc.datasets.inference.provenance import require_recordable
    from badc.datasets.inference.streaming import require_streamable

    require_runnable(plan)
    require_installed(plan)
    require_streamable(plan)
    recording, problem = recording_wanted(plan.settings.root, plan.settings.record_datalad)
    if problem is not None:
        print(f"badc: the runs are not recorded in the dataset: {problem}", file=sys.stderr)
    if not plan.todo:
        return _make_missing_reports(plan, began)
    if recording:
        require_recordable(plan)
    from flows.cli.launch import launch_orchestration

    with RunProgress() as progress:
        by_force = progress.closed_before(lambda outcome: _report(plan, outcome, began))
        outcome, told = launch_orchestration(plan, recording, progress.update, progress.say, by_force)
    _report(plan, outcome, began)
    return end(outcome.state.exit_code, told)


def _make_missing_reports(plan: OrchestrationPlan, began: str) -> int:
    from flows.run.reports import missing_reports

    print(f"Nothing to run: {plan.why_nothing}.")
    outcome = missing_reports(plan, partial(print, file=sys.stderr, flush=True))
    if outcome is None:
        return 0
    _report(plan, outcome, began)
    return outcome.state.exit_code


def _report(plan: OrchestrationPlan, outcome: OrchestrateOutcome, began: str) -> None:
    from badc.datasets.inference.tables import has_older_tables

    report_outcome(outcome)
    settings = plan.settings
    print(f"detections\t{settings.below(settings.output_dir)}")
    tables = settings.below(settings.bundle_aggregate_dir)
    if settings.bundle:
        print(f"tables\t{tables}")
    elif has_older_tables(settings, (recording.recording_id for recording in outcome.recordings)):
        print(f"badc: the tables in {tables} are older than these results; --bundle makes them again", file=sys.stderr)
    if outcome.state is not RunState.COMPLETED:
        if outcome.needs_mending:
            print(MEND_FIRST, file=sys.stderr)
        words = ["badc", "infer", "orchestrate", *settings.going_on(began, outcome.unfinished).to_arguments()]
        # A job is submitted again; its folder, and the address of its scheduler, mean nothing in another shell.
        print(f"Resume with: {os.environ.get('BADC_RESUME_WITH') or shlex.join(words)}", file=sys.stderr)


def report_outcome(outcome: OrchestrateOutcome, only_unfinished: bool = False) -> None:
    """Print how the inference of a dataset ended: a table of its recordings, and the leaderboards' files.

    With `only_unfinished`, those that are complete are only counted.
    """
    rows = [
        {
            "recording": r.recording_id,
            "state": r.state.value,
            "done": r.done,
            "failed": r.failed,
            "not run": r.left,
            "record": (r.commit or "")[:12],
            "error": in_a_line(r.error or ""),
        }
        for r in sorted(outcome.recordings, key=lambda r: r.recording_id)
        if not (only_unfinished and r.state is RunState.COMPLETED)
    ]
    if only_unfinished:
        print(f"analysed: {numbered(len(outcome.recordings) - len(rows), 'recording')}, {len(rows)} not complete")
    print_table(rows, f"{outcome.state.value}: recordings")
    if outcome.not_begun:
        print(f"{numbered(len(outcome.not_begun), 'recording was', 'recordings were')} not begun", file=sys.stderr)
    if outcome.rollup is not None:
        print()
        for note in outcome.rollup.notes:
            print(f"badc: {note}", file=sys.stderr)
        show_rankings(outcome.rollup.rankings)
        for path in outcome.rollup.written:
            print(path)
    if outcome.rollup_error is not None:
        print(f"badc: the leaderboards could not be made: {outcome.rollup_error}", file=sys.stderr)
