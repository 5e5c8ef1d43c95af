"""Flow runs started from the shell: API, cluster and flow, with the slow starts side by side.

Each function returns how the run ended, and whether Prefect could be told. Nothing here imports Prefect before a local
server is under way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar

from badc.errors import BadcError
from badc.output_lock import output_lock
from flows.handover import error_of
from flows.server import PrefectApi
from flows.stopping import Stop, let_command_report

if TYPE_CHECKING:
    from badc.dataset_chunking import DatasetPlan
    from badc.infer import InferPlan
    from badc.ledger import Progress
    from badc.orchestration.pipeline_settings import PipelineSettings
    from badc.orchestration.plan import OrchestrationPlan
    from badc.settings import InferOptions
    from blocks.cluster import Cluster
    from flows.chunk_session import ChunkRunOutcome
    from flows.infer_session import InferOutcome
    from flows.orchestrate_session import OrchestrateOutcome
    from flows.pipeline_session import PipelineOutcome

    Say = Callable[[str], None]

Outcome = TypeVar("Outcome")


def launch_inference(plan: InferPlan, on_progress: Callable[[Progress], None], say: Say) -> tuple[InferOutcome, bool]:
    """Run a plan of inference as a flow run.

    Parameters
    ----------
    plan
        What to do.
    on_progress
        Called several times a second with how far the run is.
    say
        Called with a line for the user.

    Raises
    ------
    RequestError
        When another run writes the same outputs, or the configured Prefect API or Dask scheduler does not answer.
    KeyboardInterrupt
        When a signal asked to stop before anything of the run was written.
    """
    stop = Stop(plan.settings.grace_period_s, say)
    with ExitStack() as stack:
        stack.enter_context(stop.heeding_signals())
        stack.enter_context(output_lock(plan.order.output_dir, plan.recordings, plan.telemetry_log))
        api, cluster = stack.enter_context(_api_and_cluster(plan.settings, "flows.infer", stop, say))
        from flows.infer import infer
        from flows.infer_session import InferSession, handing_over

        session = InferSession(plan, cluster, stop, on_progress, say)
        with handing_over(session):
            error = error_of(lambda: infer(plan.settings, return_state=True))
        return _outcome(session.outcome, error), api.answers()


def launch_orchestration(
    plan: OrchestrationPlan, recording: bool, on_progress: Callable[[Progress], None], say: Say
) -> tuple[OrchestrateOutcome, bool]:
    """Run a plan of a dataset's inference as a flow run.

    Parameters
    ----------
    plan
        What to do; it may be run (see `require_runnable`).
    recording
        Whether it is recorded in a DataLad dataset.
    on_progress, say
        See `OrchestrateSession`.

    Raises
    ------
    RequestError
        When the configured Prefect API or Dask scheduler does not answer.
    KeyboardInterrupt
        When a signal asked to stop before anything of the run was written.
    """
    stop = Stop(plan.settings.grace_period_s, say)
    with (
        stop.heeding_signals(),
        _api_and_cluster(plan.settings, "flows.orchestrate", stop, say) as (api, cluster),
    ):
        from flows.orchestrate import orchestrate
        from flows.orchestrate_session import OrchestrateSession, handing_over

        session = OrchestrateSession(plan, recording, cluster, stop, on_progress, say)
        with handing_over(session):
            error = error_of(lambda: orchestrate(plan.settings, return_state=True))
        return _outcome(session.outcome, error), api.answers()


def launch_chunking(
    plan: DatasetPlan, recording: bool, on_progress: Callable[[int, int], None], say: Say
) -> tuple[ChunkRunOutcome, bool]:
    """Run a plan of a dataset's chunking as a flow run.

    Parameters
    ----------
    plan
        What to do.
    recording
        Whether it is recorded in a DataLad dataset.
    on_progress
        Called with the number of recordings that have ended, and of all.
    say
        Called with a line for the user.

    Raises
    ------
    RequestError
        See `flows.chunk_session.prepared`; also when the configured Prefect API does not answer.
    KeyboardInterrupt
        When a signal asked to stop before anything of the run was written.
    """
    from flows.chunk_session import GRACE_PERIOD_S, ChunkSession, handing_over, prepared

    stop = Stop(GRACE_PERIOD_S, say)
    # Signals still end `prepared` at once: fetching may take hours.
    with prepared(plan, recording, say), stop.heeding_signals():
        api = _api("flows.chunk", stop, say)
        from flows.chunk import chunk

        session = ChunkSession(plan, recording, stop, on_progress, say)
        with handing_over(session):
            error = error_of(lambda: chunk(plan.settings, return_state=True))
        return _outcome(session.outcome, error), api.answers()


def launch_pipeline(
    settings: PipelineSettings,
    on_chunked: Callable[[int, int], None],
    on_progress: Callable[[Progress], None],
    say: Say,
) -> tuple[PipelineOutcome, bool]:
    """Run a pipeline as a flow run.

    Parameters
    ----------
    settings
        What to do.
    on_chunked, on_progress, say
        See `PipelineSession`.

    Raises
    ------
    BadcError
        When the request cannot be carried out, or the configured Prefect API does not answer.
    KeyboardInterrupt
        When a signal asked to stop before anything of the run was written.
    """
    stop = Stop(settings.grace_period_s, say)
    with stop.heeding_signals():
        api = _api("flows.pipeline", stop, say)
        from flows.pipeline import pipeline
        from flows.pipeline_session import PipelineSession, handing_over

        session = PipelineSession(stop, on_chunked, on_progress, say)
        with handing_over(session):
            error = error_of(lambda: pipeline(settings, return_state=True))
        return _outcome(session.outcome, error), api.answers()


def _api(flow: str, stop: Stop, say: Say) -> PrefectApi:
    """Return an API that is up; the module of the flow is imported meanwhile."""
    say("Starting: Prefect")
    api = PrefectApi.begin()
    import_module(flow)
    _wait(api, stop)
    return api


@contextmanager
def _api_and_cluster(settings: InferOptions, flow: str, stop: Stop, say: Say) -> Iterator[tuple[PrefectApi, Cluster]]:
    """Give an API and a cluster that are up; the module of the flow is imported meanwhile."""
    say("Starting: Prefect and the workers")
    api = PrefectApi.begin()
    from blocks.cluster import import_dask, open_cluster

    import_dask(settings)
    with ExitStack() as stack:
        with ThreadPoolExecutor(1) as pool:
            opening = pool.submit(stack.enter_context, open_cluster(settings))
            import_module(flow)
            cluster = opening.result()
        _wait(api, stop)
        say(f"Workers: {cluster.note}")
        yield api, cluster


def _wait(api: PrefectApi, stop: Stop) -> None:
    api.ready(give_up=stop.requested.is_set)
    if stop.requested.is_set():
        raise KeyboardInterrupt


def _outcome(outcome: Outcome | None, error: BadcError | None) -> Outcome:
    let_command_report()
    if outcome is None:
        raise error or BadcError("the flow run ended without an outcome")
    return outcome
