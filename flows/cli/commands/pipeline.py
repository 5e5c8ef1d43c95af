"""`badc pipeline …`: a dataset from recordings to reports in one command."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from badc.datasets.pipeline_settings import PipelineSettings
from badc.errors import listed, numbered
from badc.telemetry.summary import RunState
from flows.cli.commands.orchestrate import MEND_FIRST, report_outcome
from flows.cli.console import RunProgress, counting, end, warn_of_stub
from flows.cli.help import App
from flows.cli.options import options_of

if TYPE_CHECKING:
    from badc.datasets.chunking.plan import DatasetPlan
    from badc.datasets.inference.plan import OrchestrationPlan
    from badc.datasets.inference.settings import OrchestrateSettings
    from flows.run.sessions import PipelineOutcome

app = App(no_args_is_help=True)


@app.callback()
def _pipeline() -> None:
    """A dataset from recordings to reports in one command."""


@app.command()
@options_of(PipelineSettings)
def run(
    settings: PipelineSettings,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show Prefect's and Dask's own messages.")] = False,
) -> int:
    """Chunk, analyse and report every recording of a dataset, continuing from its present state.

    The steps are those of `badc chunk orchestrate`, `badc infer orchestrate --bundle` and its rollup. Work already done
    is not repeated, so the same command resumes after an interruption. Exit codes: 0; 1 a recording failed; 2 the
    request is wrong; 130 interrupted.
    """
    from flows.server.local import quiet_defaults

    quiet_defaults(verbose)
    from badc.datasets.inference.plan import require_ready
    from badc.datasets.pipeline_settings import orchestrate_settings
    from badc.system.clock import now
    from flows.cli.launch import launch_pipeline
    from flows.run.sessions import PipelineOutcome

    began = now()
    inference = orchestrate_settings(settings)
    warn_of_stub(inference)
    if inference.runner_is_default:
        print(f"Runner: {inference.runner().title}, as no other is named", file=sys.stderr)
    with counting("manifests looked at") as show:
        require_ready(inference, show)
    to_chunk, to_infer = _plans(settings, inference)
    if to_infer is not None and _is_finished(to_infer):
        for note in (*to_chunk.places, *to_chunk.notes("--chunk-include-existing")):
            print(f"badc: {note}", file=sys.stderr)
        _report(settings, PipelineOutcome(RunState.COMPLETED, None, to_infer, None), began)
        return 0
    with RunProgress() as progress:
        by_force = progress.closed_before(lambda outcome: _report(settings, outcome, began))
        outcome, told = launch_pipeline(
            settings, to_chunk, to_infer, progress.count, progress.update, progress.say, by_force
        )
    _report(settings, outcome, began)
    code = outcome.state.exit_code
    return end(code, told)


def _plans(settings: PipelineSettings, inference: OrchestrateSettings) -> tuple[DatasetPlan, OrchestrationPlan | None]:
    """Return what there is to chunk and, if that is nothing, what there is to analyse."""
    from badc.datalad.environment import recording_wanted
    from badc.datasets.chunking.plan import plan_dataset
    from badc.datasets.inference.plan import plan_orchestration
    from badc.datasets.pipeline_settings import chunk_settings

    wanted = chunk_settings(settings)
    recording, _ = recording_wanted(wanted.root, wanted.record_datalad)
    to_chunk = plan_dataset(wanted, recording)
    if to_chunk.todo or to_chunk.not_possible or not to_chunk.recordings:
        return to_chunk, None
    return to_chunk, plan_orchestration(inference)


def _is_finished(plan: OrchestrationPlan) -> bool:
    """Whether every recording is analysed and has its reports."""
    from badc.datasets.inference.bundles import lacks_leaderboards

    return not (plan.todo or plan.refused or plan.to_report or lacks_leaderboards(plan.settings))


def _is_stuck(outcome: PipelineOutcome) -> bool:
    """Whether resuming can do nothing until somebody puts right what the errors name."""
    chunked, inferred = outcome.chunked, outcome.inferred
    if outcome.state is not RunState.FAILED or outcome.plan is None or (chunked is not None and chunked.left):
        return False
    return inferred is None or inferred.needs_mending or not inferred.unfinished


def _report(settings: PipelineSettings, outcome: PipelineOutcome, began: str) -> None:
    from badc.datasets.pipeline_settings import going_on

    if outcome.chunked is not None:
        done, failed = outcome.chunked.done, outcome.chunked.failed
        print(f"chunked: {numbered(done, 'recording')}, {failed} failed, {outcome.chunked.left} left")
        for name, error in outcome.chunked.failures:
            print(f"badc: {name}: {error}", file=sys.stderr)
    if outcome.plan is not None and (lines := outcome.plan.not_analysed):
        print(f"badc: not analysed: {numbered(len(lines), 'recording')}\n{listed(lines)}", file=sys.stderr)
    if outcome.state is RunState.COMPLETED and outcome.plan is not None and not outcome.plan.todo:
        print("Nothing to analyse: every recording is complete.")
    if outcome.inferred is not None:
        report_outcome(outcome.inferred)
    if outcome.state is not RunState.COMPLETED:
        chunked, inferred = outcome.chunked, outcome.inferred
        to_chunk = None if chunked is None else chunked.left + chunked.failed
        if _is_stuck(outcome):
            print(MEND_FIRST, file=sys.stderr)
        again = going_on(settings, began, to_chunk, None if inferred is None else inferred.unfinished)
        words = ["badc", "pipeline", "run", *again.to_arguments()]
        print(f"Resume with: {shlex.join(words)}", file=sys.stderr)
