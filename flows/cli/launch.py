"""Flow runs started from the shell: API, cluster and flow, with the slow starts side by side.

Each function returns how the run ended, and whether Prefect could be told. Nothing here imports Prefect before a local
server is starting.

The flow runs in a thread, and the main thread only waits: for its end, for a limited time for Prefect to note it, and
after a second Ctrl-C a few seconds for anything that hangs. Then it calls `by_force` with what is known of the outcome,
and ends the process.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import copy_context
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from badc.errors import BadcError, ExitCode
from flows.run.sessions import (
    CHUNKING_GRACE_PERIOD_S,
    ChunkRunOutcome,
    ChunkSession,
    InferOutcome,
    InferSession,
    OrchestrateOutcome,
    OrchestrateSession,
    PipelineOutcome,
    PipelineSession,
    Session,
    error_of,
    handing_over,
)
from flows.run.stopping import Stop, let_command_report
from flows.server.local import PrefectApi

if TYPE_CHECKING:
    from prefect import Flow, State

    from badc.datasets.chunking.plan import DatasetPlan
    from badc.datasets.inference.plan import OrchestrationPlan
    from badc.datasets.pipeline_settings import PipelineSettings
    from badc.inference.plan import InferPlan
    from badc.inference.progress import Progress
    from badc.inference.settings import InferOptions
    from badc.settings.model import Settings
    from tasks.workers.cluster import Cluster

Outcome = TypeVar("Outcome")
Say = Callable[[str], None]
ByForce = Callable[[Outcome | None], None]

_TICK_S = 0.25
_SAY_AFTER_S = 2.0
# Counted from the close of the run's own books; each of Prefect's calls may take as long.
_PREFECT_PATIENCE_S = 30.0
_HURRY_S = 3.0
_CLOSE_BOOKS_S = 3.0


def _no_report(outcome: object) -> None:
    """Report nothing of a run that is ended by force."""


def launch_inference(
    plan: InferPlan, on_progress: Callable[[Progress], None], say: Say, by_force: ByForce[InferOutcome] = _no_report
) -> tuple[InferOutcome, bool]:
    """Run the inference of one manifest as a flow run.

    Raises RequestError if another run writes the same outputs, or the configured Prefect API or Dask scheduler does not
    answer, and KeyboardInterrupt if a signal came before anything of the run was written.
    """
    stop = Stop(plan.settings.grace_period_s, say)
    with ExitStack() as stack:
        stack.enter_context(stop.heeding_signals())
        stack.enter_context(plan.locked(say))
        api, cluster = stack.enter_context(_api_and_cluster(plan.settings, len(plan.todo), "flows.infer", stop, say))
        from flows.infer import infer

        session = InferSession(plan=plan, cluster=cluster, stop=stop, on_progress=on_progress, say=say)
        return _run(infer, plan.settings, session, api, by_force)


def launch_orchestration(
    plan: OrchestrationPlan,
    recording: bool,
    on_progress: Callable[[Progress], None],
    say: Say,
    by_force: ByForce[OrchestrateOutcome] = _no_report,
) -> tuple[OrchestrateOutcome, bool]:
    """Run the inference of a dataset as a flow run; `plan` must be runnable (see `require_runnable`).

    Raises as `launch_inference` does, except that outputs which another run writes only fail their recording.
    """
    stop = Stop(plan.settings.grace_period_s, say)
    chunks = sum(recording.chunks for recording in plan.todo)
    with (
        stop.heeding_signals(),
        _api_and_cluster(plan.settings, chunks, "flows.orchestrate", stop, say) as (api, cluster),
    ):
        from flows.orchestrate import orchestrate

        session = OrchestrateSession(
            plan=plan, recording=recording, cluster=cluster, stop=stop, on_progress=on_progress, say=say
        )
        return _run(orchestrate, plan.settings, session, api, by_force)


def launch_chunking(
    plan: DatasetPlan,
    recording: bool,
    on_progress: Callable[[int, int], None],
    say: Say,
    by_force: ByForce[ChunkRunOutcome] = _no_report,
) -> tuple[ChunkRunOutcome, bool]:
    """Run the chunking of a dataset as a flow run.

    Raises as `badc.datasets.chunking.provenance.prepared` does, RequestError also when the configured Prefect API does
    not answer, and KeyboardInterrupt as `launch_inference`.
    """
    from badc.datasets.chunking.provenance import prepared

    stop = Stop(CHUNKING_GRACE_PERIOD_S, say)
    # Signals still end `prepared` at once: fetching may take hours.
    with prepared(plan, recording, say), stop.heeding_signals():
        api = _api("flows.chunk", stop, say)
        from flows.chunk import chunk

        session = ChunkSession(plan=plan, recording=recording, stop=stop, on_progress=on_progress, say=say)
        return _run(chunk, plan.settings, session, api, by_force)


def launch_pipeline(
    settings: PipelineSettings,
    to_chunk: DatasetPlan | None,
    to_infer: OrchestrationPlan | None,
    on_chunked: Callable[[int, int], None],
    on_progress: Callable[[Progress], None],
    say: Say,
    by_force: ByForce[PipelineOutcome] = _no_report,
) -> tuple[PipelineOutcome, bool]:
    """Run a pipeline as a flow run; `to_chunk` and `to_infer` are the plans of its steps, as far as they are made.

    Raises BadcError when the request cannot be carried out or the configured Prefect API does not answer, and
    KeyboardInterrupt as `launch_inference`.
    """
    stop = Stop(settings.grace_period_s, say)
    with stop.heeding_signals():
        api = _api("flows.pipeline", stop, say)
        from flows.pipeline import pipeline

        session = PipelineSession(
            stop=stop, on_chunked=on_chunked, on_progress=on_progress, say=say, to_chunk=to_chunk, to_infer=to_infer
        )
        return _run(pipeline, settings, session, api, by_force)


def _api(flow: str, stop: Stop, say: Say) -> PrefectApi:
    """Return an API that is up, having imported the flow's module meanwhile."""
    say("Starting: Prefect")
    api = PrefectApi.begin()
    import_module(flow)
    _wait(api, stop, say)
    return api


@contextmanager
def _api_and_cluster(
    settings: InferOptions, chunks: int, flow: str, stop: Stop, say: Say
) -> Iterator[tuple[PrefectApi, Cluster]]:
    """Yield an API and a cluster that are up, having imported the flow's module meanwhile."""
    say("Starting: Prefect and the workers")
    api = PrefectApi.begin()
    from flows.run.workers_ahead import WorkersAhead
    from tasks.workers.cluster import import_dask

    import_dask(settings)
    with WorkersAhead(settings, chunks) as workers:
        workers.start()
        import_module(flow)
        with _said_if_slow("Waiting for the workers to start", say):
            cluster = workers.ready()
        _wait(api, stop, say)
        say(f"Workers: {cluster.note}")
        yield api, cluster


@contextmanager
def _said_if_slow(what: str, say: Say) -> Iterator[None]:
    """Say what is waited for if the block takes long; nothing else is said meanwhile."""
    timer = threading.Timer(_SAY_AFTER_S, say, [what])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _wait(api: PrefectApi, stop: Stop, say: Say) -> None:
    with _said_if_slow("Waiting for the Prefect server to answer", say):
        api.ready(give_up=stop.requested.is_set)
    if stop.requested.is_set():
        raise KeyboardInterrupt


def _run(
    flow: Flow[..., State[Any]],
    settings: Settings,
    session: Session[Outcome],
    api: PrefectApi,
    by_force: ByForce[Outcome],
) -> tuple[Outcome, bool]:
    """Run a flow in a thread; return how it ended, and whether Prefect could be told."""
    errors: list[BadcError | None] = []
    ended = threading.Event()

    def run() -> None:
        try:
            with handing_over(session):
                errors.append(error_of(lambda: flow(settings, return_state=True)))
        finally:
            ended.set()

    threading.Thread(target=copy_context().run, args=(run,), daemon=True, name="flow").start()
    books_closed_s: float | None = None
    said = False
    while not ended.wait(_TICK_S):
        if session.outcome is None:
            if session.stop.is_stuck:
                _end_by_force(session, by_force)
            continue
        session.stop.books_are_closed()
        books_closed_s = books_closed_s or time.monotonic()
        waited_s = time.monotonic() - books_closed_s
        if waited_s > _SAY_AFTER_S and not said:
            said = True
            session.say(f"Waiting for Prefect to note how the run ended, at most {_PREFECT_PATIENCE_S:g} s")
        if waited_s > _PREFECT_PATIENCE_S or session.stop.is_stuck or session.stop.hurried_s > _HURRY_S:
            let_command_report()
            return session.outcome, False
    let_command_report()
    if session.outcome is None:
        raise errors[0] if errors and errors[0] else BadcError("the flow run ended without an outcome")
    return session.outcome, api.answers()


def _end_by_force(session: Session[Outcome], by_force: ByForce[Outcome]) -> NoReturn:
    """Close the books from outside, then kill this process and all that it started."""
    import psutil

    outcomes: list[Outcome | None] = []
    # In a thread: what holds up the run, such as a disk that does not answer, may hold up its books.
    closing = threading.Thread(target=lambda: outcomes.append(session.give_up()), daemon=True)
    closing.start()
    closing.join(_CLOSE_BOOKS_S)
    try:
        session.say("The run did not end by itself, and is ended by force")
        by_force(outcomes[0] if outcomes else None)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                child.kill()
        os._exit(ExitCode.INTERRUPTED)
