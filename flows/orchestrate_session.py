"""The inference of a dataset started from the shell: what its flow run is handed, and the start of that run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from badc.errors import BadcError
from badc.ledger import Progress
from badc.orchestration.plan import OrchestrationPlan
from badc.summary import RunState
from flows.handover import Handover, error_of
from flows.server import PrefectApi
from flows.stopping import Stop

if TYPE_CHECKING:  # importing them imports Dask or DuckDB, for which the server must not wait
    from badc.reports.rollup import Rollup
    from blocks.cluster import Cluster


@dataclass(frozen=True, slots=True)
class RecordingOutcome:
    """How one recording's run ended.

    Parameters
    ----------
    recording_id
        The recording.
    state
        As of its run; `failed` also where what follows the run failed.
    done, failed, left
        Chunks that are done (before or now), that failed, and that were not run.
    error
        The first thing that went wrong, or None.
    commit
        The record in the DataLad dataset, or None.
    """

    recording_id: str
    state: RunState
    done: int
    failed: int
    left: int
    error: str | None = None
    commit: str | None = None


@dataclass(frozen=True, slots=True)
class OrchestrateOutcome:
    """How the inference of a dataset ended.

    Parameters
    ----------
    state
        `completed`, `failed` or `interrupted`.
    recordings
        How each recording ended that was begun, in the order of their ends.
    not_begun
        Ids of the recordings that were not begun.
    rollup
        The leaderboards, where they were asked for and made.
    rollup_error
        Why they could not be made, or None.
    """

    state: RunState
    recordings: Sequence[RecordingOutcome]
    not_begun: Sequence[str]
    rollup: Rollup | None = None
    rollup_error: str | None = None


@dataclass(slots=True)
class OrchestrateSession:
    """A run that is under way in this process.

    Parameters
    ----------
    plan
        What it will do.
    recording
        Whether it is recorded in a DataLad dataset.
    cluster
        The one cluster of all its recordings.
    stop
        Whether it is to stop.
    on_progress
        Called now and then with how far all recordings together are; from several threads.
    say
        Called with a line for the user; from several threads.
    outcome
        How it ended, once it has.
    """

    plan: OrchestrationPlan
    recording: bool
    cluster: Cluster
    stop: Stop
    on_progress: Callable[[Progress], None] = field(default=lambda progress: None)
    say: Callable[[str], None] = field(default=lambda line: None)
    outcome: OrchestrateOutcome | None = None


_handover: Handover[OrchestrateSession] = Handover("orchestrate_session")
handing_over, current_session = _handover.giving, _handover.taken


def launch_orchestration(
    plan: OrchestrationPlan, recording: bool, on_progress: Callable[[Progress], None], say: Callable[[str], None]
) -> tuple[OrchestrateOutcome, bool]:
    """Run a plan as a flow run; return how it ended, and whether Prefect could be told.

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
    with ExitStack() as stack:
        stack.enter_context(stop.heeding_signals())
        say("Starting: Prefect and the workers")
        api = PrefectApi.begin()
        from blocks.cluster import open_cluster

        opening = open_cluster(plan.settings)
        with ThreadPoolExecutor(1) as pool:
            entering = pool.submit(opening.__enter__)
            from flows.orchestrate import orchestrate

            cluster = entering.result()
        stack.push(opening)
        api.ready(give_up=stop.requested.is_set)
        if stop.requested.is_set():
            raise KeyboardInterrupt
        say(f"Workers: {cluster.note}")
        session = OrchestrateSession(plan, recording, cluster, stop, on_progress, say)
        with handing_over(session):
            error = error_of(lambda: orchestrate(plan.settings, return_state=True))
        if session.outcome is None:
            raise error or BadcError("the flow run ended without an outcome")
        return session.outcome, api.answers()
