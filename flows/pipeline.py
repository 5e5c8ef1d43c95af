"""The flow that takes a dataset through chunking, analysis and reports, each step a subflow."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":  # become `badc pipeline run`, as flows.infer does
    os.execv(sys.executable, [sys.executable, "-m", "flows", "pipeline", "run", *sys.argv[1:]])

from prefect import State, flow
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from badc.datalad.environment import recording_wanted
from badc.datasets.chunking.elsewhere import plan_with_manifests, require_room
from badc.datasets.chunking.plan import require_recordings
from badc.datasets.chunking.provenance import prepared
from badc.datasets.inference import provenance
from badc.datasets.inference.elsewhere import plan_with_content
from badc.datasets.inference.of_all import is_up_to_date, require_own_tables_of_all, tables_of_all
from badc.datasets.inference.plan import (
    OrchestrationPlan,
    require_installed,
    require_ready,
    require_runnable,
)
from badc.datasets.inference.streaming import require_streamable
from badc.datasets.pipeline_settings import (
    PipelineSettings,
    chunk_settings,
    going_on,
    orchestrate_settings,
    with_sites,
)
from badc.errors import MOST_LISTED, BadcError, numbered
from badc.telemetry.summary import RunState
from blocks.loading import filled_from_blocks
from flows.aggregate import aggregate
from flows.chunk import chunk
from flows.orchestrate import orchestrate
from flows.run.prefect_state import begun_before, final_state, leave_if_suspended, stop_of_own_run, stop_wanted
from flows.run.reports import missing_reports
from flows.run.sessions import (
    ChunkRunOutcome,
    ChunkSession,
    OrchestrateOutcome,
    OrchestrateSession,
    PipelineOutcome,
    PipelineSession,
    ReportsOfAll,
    current_session,
    error_of,
    handing_over,
)
from flows.run.workers_ahead import WorkersAhead
from tasks.report import make_page_of_all
from tasks.show.dataset import tag_dataset_run

# Recordings whose chunking takes some seconds: workers that start meanwhile do not hold a GPU for long.
_SOON_CHUNKED = 100


def _name_of_run() -> str:
    return f"pipeline {PipelineSettings.model_validate(flow_run.parameters['settings']).title}"


@flow(name="pipeline", flow_run_name=_name_of_run, persist_result=False, retries=0)
def pipeline(settings: PipelineSettings) -> State:
    """Take a dataset from recordings to reports, without repeating what is done.

    The flow run ends Completed, Failed (a recording failed) or Cancelled.
    """
    session = current_session(PipelineSession)
    if session is None:
        say = get_run_logger().info
        settings = filled_from_blocks(settings)
        if begun := begun_before(flow_run.id):
            settings = going_on(settings, begun)
        settings, found = with_sites(settings)
        if found is not None:
            say(found)
        require_ready(orchestrate_settings(settings))
        require_own_tables_of_all(orchestrate_settings(settings))
        session = PipelineSession(stop=stop_of_own_run(settings.grace_period_s, say), say=say)
    tag_dataset_run(settings.title, [*settings.chunk_pattern, *settings.infer_pattern])
    plan, inferred = None, None
    session.give_up = lambda: _given_up(session)
    with session.stop.while_running(stop_wanted(flow_run.id)), WorkersAhead(orchestrate_settings(settings)) as workers:
        chunked = _chunk(settings, session, workers)
        if not session.stop.interrupted:
            plan, inferred = _infer(settings, session, workers)
        reports = None if session.stop.interrupted else _report(settings, session)
    state = _state(session, chunked, plan, inferred, reports)
    session.outcome = PipelineOutcome(state, chunked, plan, inferred, reports)
    leave_if_suspended(flow_run.id, session.stop)
    parts = [part.describe() for part in (chunked, inferred) if part is not None]
    message = "; ".join(parts) or "every recording is complete"
    reasons = [reason for part in (chunked, inferred, reports) if part is not None for reason in part.reasons()]
    if plan is not None:
        reasons += plan.not_analysed([] if chunked is None else [path for path, _ in chunked.failures])
    return final_state(session.outcome.state, message, reasons[:MOST_LISTED])


def _chunk(settings: PipelineSettings, session: PipelineSession, workers: WorkersAhead) -> ChunkRunOutcome | None:
    """Chunk the recordings that need it; return None if none do."""
    wanted = chunk_settings(settings)
    recording, problem = recording_wanted(wanted.root, wanted.record_datalad)
    if problem is not None:
        session.say(f"the runs are not recorded in the dataset: {problem}")
    plan = session.to_chunk or plan_with_manifests(wanted, recording, session.say)
    require_recordings(plan)
    require_room(plan, settings.disk_limit_bytes)
    for note in (*plan.places, *plan.notes("--chunk-include-existing")):
        session.say(note)
    session.not_possible = len(plan.not_possible)
    if not plan.todo:
        return None
    session.say(f"Chunking {numbered(len(plan.todo), 'recording')}")
    if len(plan.todo) <= _SOON_CHUNKED:
        workers.start()
    handed = session.chunking = ChunkSession(
        plan=plan, recording=recording, stop=session.stop, on_progress=session.on_chunked, say=session.say
    )
    with prepared(plan, recording, session.say), handing_over(handed):
        chunk(wanted, return_state=True)
    return handed.outcome


def _infer(
    settings: PipelineSettings, session: PipelineSession, workers: WorkersAhead
) -> tuple[OrchestrationPlan, OrchestrateOutcome | None]:
    """Analyse the completely chunked recordings; the plan lists the others as refused."""
    wanted = orchestrate_settings(settings)
    plan = session.to_infer or plan_with_content(wanted, session.say)
    # A recording that could not be chunked has failed; the others do not wait for it.
    runnable = plan.without_refused()
    require_runnable(runnable)
    require_installed(runnable)
    require_streamable(runnable)
    if not runnable.todo:
        return plan, missing_reports(runnable, session.say, session.stop.requested.is_set)
    recording, _ = recording_wanted(wanted.root, wanted.record_datalad)
    if recording:
        provenance.require_recordable(runnable)
    cluster = workers.ready()
    session.say(f"Workers: {cluster.note}")
    handed = session.inferring = OrchestrateSession(
        plan=runnable,
        recording=recording,
        cluster=cluster,
        stop=session.stop,
        on_progress=session.on_progress,
        say=session.say,
    )
    with handing_over(handed):
        error = error_of(lambda: orchestrate(wanted, return_state=True))
    if handed.outcome is None and error is not None:
        raise error
    return plan, handed.outcome


def _report(settings: PipelineSettings, session: PipelineSession) -> ReportsOfAll | None:
    """Make the tables and the page of all recordings, unless they are there and nothing has changed since."""
    wanted = orchestrate_settings(settings)
    if not settings.report or is_up_to_date(wanted):
        return None
    session.say("Making the tables and the page of all recordings")
    tables = None
    try:
        tables = aggregate(tables_of_all(wanted))
        return ReportsOfAll(tables, make_page_of_all(wanted))
    except (BadcError, OSError) as error:
        return ReportsOfAll(tables, None, str(error))


def _given_up(session: PipelineSession) -> PipelineOutcome:
    """Close the books of the step under way."""
    chunking, inferring = session.chunking, session.inferring
    return PipelineOutcome(
        RunState.INTERRUPTED,
        None if chunking is None else chunking.outcome or chunking.give_up(),
        None if inferring is None else inferring.plan,
        None if inferring is None else inferring.outcome or inferring.give_up(),
    )


def _state(
    session: PipelineSession,
    chunked: ChunkRunOutcome | None,
    plan: OrchestrationPlan | None,
    inferred: OrchestrateOutcome | None,
    reports: ReportsOfAll | None,
) -> RunState:
    states = {outcome.state for outcome in (chunked, inferred, reports) if outcome is not None}
    # An interruption after the last chunk has prevented nothing.
    if RunState.INTERRUPTED in states or (session.stop.interrupted and plan is None):
        return RunState.INTERRUPTED
    if RunState.FAILED in states or plan is None or plan.refused or session.not_possible:
        return RunState.FAILED
    return RunState.COMPLETED
