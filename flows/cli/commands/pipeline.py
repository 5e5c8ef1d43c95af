"""`badc pipeline …`: a folder of recordings, or a dataset, from recordings to reports in one command."""

from __future__ import annotations

import shlex
import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from badc.datasets.pipeline_settings import PipelineSettings
from badc.errors import listed, numbered
from badc.telemetry.summary import RunState
from flows.cli.commands.orchestrate import MEND_FIRST, report_outcome
from flows.cli.console import RunProgress, counting, end, show_species, warn_of_stub
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
    """A folder of recordings, or a dataset, from recordings to reports in one command."""


@app.command()
@options_of(PipelineSettings)
def run(
    settings: PipelineSettings,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show Prefect's and Dask's own messages.")] = False,
) -> int:
    """Chunk, analyse and report every recording of a folder or a dataset, continuing from its present state.

    The steps are those of `badc chunk orchestrate`, `badc infer orchestrate`, `badc infer aggregate` and `badc report
    page`. A file sites.csv beside the recordings, or the results, is taken for --sites. Work already done is not
    repeated, so the same command resumes after an interruption. Exit codes: 0; 1 a recording failed; 2 the request is
    wrong; 130 interrupted.
    """
    from flows.server.local import quiet_defaults

    quiet_defaults(verbose)
    from badc.datasets.chunking.plan import require_places
    from badc.datasets.inference.of_all import require_own_tables_of_all
    from badc.datasets.inference.plan import require_ready
    from badc.datasets.pipeline_settings import orchestrate_settings, with_sites
    from badc.system.clock import now
    from flows.cli.launch import launch_pipeline
    from flows.run.sessions import PipelineOutcome

    began = now()
    asked = settings
    settings, found = with_sites(settings)
    inference = orchestrate_settings(settings)
    warn_of_stub(inference)
    if inference.runner_is_default:
        print(f"Runner: {inference.runner().title}, as no other is named", file=sys.stderr)
    if found is not None:
        print(found, file=sys.stderr)
    with counting("manifests looked at") as show:
        require_ready(inference, show)
    require_own_tables_of_all(inference)
    to_chunk, to_infer = _plans(settings, inference)
    if to_infer is not None and _is_finished(settings, to_infer):
        for note in (*to_chunk.places, *to_chunk.notes("--chunk-include-existing")):
            print(f"badc: {note}", file=sys.stderr)
        _report(asked, PipelineOutcome(RunState.COMPLETED, None, to_infer, None), began)
        return 0
    if to_chunk.todo:
        require_places(to_chunk)
    with RunProgress() as progress:
        by_force = progress.closed_before(lambda outcome: _report(asked, outcome, began))
        outcome, told = launch_pipeline(
            settings, to_chunk, to_infer, progress.count, progress.update, progress.say, by_force
        )
    _report(asked, outcome, began)
    code = outcome.state.exit_code
    return end(code, told)


def _plans(settings: PipelineSettings, inference: OrchestrateSettings) -> tuple[DatasetPlan, OrchestrationPlan | None]:
    """Return what there is to chunk and, if that is nothing, what there is to analyse."""
    from badc.datalad.environment import recording_wanted
    from badc.datasets.chunking.elsewhere import plan_with_manifests, require_room
    from badc.datasets.chunking.plan import require_recordings
    from badc.datasets.inference.elsewhere import plan_with_content
    from badc.datasets.pipeline_settings import chunk_settings

    wanted = chunk_settings(settings)
    recording, _ = recording_wanted(wanted.root, wanted.record_datalad)
    say = partial(print, file=sys.stderr)
    to_chunk = plan_with_manifests(wanted, recording, say)
    require_recordings(to_chunk)
    require_room(to_chunk, settings.disk_limit_bytes)
    if to_chunk.todo or to_chunk.not_possible or not to_chunk.recordings:
        return to_chunk, None
    return to_chunk, plan_with_content(inference, say)


def _is_finished(settings: PipelineSettings, plan: OrchestrationPlan) -> bool:
    """Whether every recording is analysed and has its reports."""
    from badc.datasets.inference.of_all import is_up_to_date

    if plan.todo or plan.refused or plan.to_report or (settings.report and not is_up_to_date(plan.settings)):
        return False
    if not plan.settings.bundle_rollup:
        return True
    from badc.datasets.inference.bundles import lacks_leaderboards  # not at the top: its libraries take long to import

    return not lacks_leaderboards(plan.settings)


def _is_stuck(outcome: PipelineOutcome) -> bool:
    """Whether resuming can do nothing until somebody puts right what the errors name."""
    chunked, inferred = outcome.chunked, outcome.inferred
    if outcome.state is not RunState.FAILED or outcome.plan is None or (chunked is not None and chunked.left):
        return False
    return inferred is None or inferred.needs_mending or not inferred.unfinished


def _report(settings: PipelineSettings, outcome: PipelineOutcome, began: str) -> None:
    from badc.datasets.pipeline_settings import going_on

    told: list[str] = []
    if outcome.chunked is not None:
        done, failed = outcome.chunked.done, outcome.chunked.failed
        print(f"chunked: {numbered(done, 'recording')}, {failed} failed, {outcome.chunked.left} left")
        for name, error in outcome.chunked.failures:
            print(f"badc: {name}: not analysed: {error}", file=sys.stderr)
            told.append(name)
    if outcome.plan is not None and (lines := outcome.plan.not_analysed(told)):
        print(f"badc: not analysed: {numbered(len(lines), 'recording')}\n{listed(lines)}", file=sys.stderr)
    if outcome.state is RunState.COMPLETED and outcome.plan is not None and not outcome.plan.todo:
        print("Nothing to analyse: every recording is complete.")
    if outcome.inferred is not None:
        report_outcome(outcome.inferred, only_unfinished=True)
    _report_of_all(settings, outcome)
    if outcome.state is not RunState.COMPLETED:
        chunked, inferred = outcome.chunked, outcome.inferred
        to_chunk = None if chunked is None else chunked.left + chunked.failed
        if _is_stuck(outcome):
            print(MEND_FIRST, file=sys.stderr)
        again = going_on(settings, began, to_chunk, None if inferred is None else inferred.unfinished)
        words = ["badc", "pipeline", "run", *again.to_arguments()]
        print(f"Resume with: {shlex.join(words)}", file=sys.stderr)


def _report_of_all(settings: PipelineSettings, outcome: PipelineOutcome) -> None:
    """Print the species, what was not analysed, and where to look further."""
    from badc.datasets.inference.of_all import page_of_all, species_of_all
    from badc.datasets.pipeline_settings import orchestrate_settings

    inference, reports = orchestrate_settings(settings), outcome.reports
    if reports is not None and (tables := reports.tables) is not None:
        for note in tables.notes:
            print(f"badc: {note}", file=sys.stderr)
        print()
        show_species(tables.species)
        if left := tables.not_analysed:
            print(f"Not analysed: {left}; which and why: {tables.written[1]}, columns status and notes")
            print(f"telemetry\t{inference.telemetry_folder}")
        print(f"tables\t{tables.written[0]}")
    elif settings.report and outcome.state is RunState.FAILED and (there := species_of_all(inference)) is not None:
        print()  # what was tried again has failed again, and the tables are those of the run before
        show_species(there)
    for reason in () if reports is None else reports.reasons():
        print(f"badc: {reason}", file=sys.stderr)
    page = page_of_all(inference)
    if page.exists() and (reports is None or reports.page is not None):
        print(f"Open {page}")
