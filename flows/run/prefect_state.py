"""A flow run of this process as the Prefect API sees it: whether to stop, when it began, how it ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from uuid import UUID

from prefect import State
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import Pause
from prefect.settings import PREFECT_API_URL
from prefect.states import Cancelled, Completed, Failed

from badc.telemetry.summary import RunState
from flows.run.stopping import Stop, StopReason

# Prefect's worker kills a run 30 s after its cancellation; the run may hear of it seconds late, and takes some to end.
_LONGEST_GRACE_PERIOD_S = 10.0


def stop_wanted(run_id: str) -> Callable[[], StopReason | None]:
    """Return a function that asks whether and why this flow run should stop, however it was started."""

    def ask() -> StopReason | None:
        state = _ask(run_id).state
        if state is None:
            return None
        if state.is_cancelling() or state.is_cancelled():
            return StopReason.CANCELLED
        return StopReason.SUSPENDED if state.is_paused() else None

    return ask


def stop_of_own_run(grace_period_s: float, say: Callable[[str], None]) -> Stop:
    """Return the stop of a run that Prefect started, its grace period cut to what Prefect allows."""
    if grace_period_s > _LONGEST_GRACE_PERIOD_S:
        say(
            f"Should this run be cancelled, running chunks get {_LONGEST_GRACE_PERIOD_S:g} s to finish, not "
            f"{grace_period_s:g} s: Prefect kills what it has cancelled after 30 s"
        )
    return Stop(min(grace_period_s, _LONGEST_GRACE_PERIOD_S), say)


def begun_before(run_id: str) -> str | None:
    """Return when a retried or resumed flow run first began (ISO 8601), else None; work done since is not repeated."""
    # Not its run count: a resumed run has the same, and Prefect's runtime knows only that of the process's start.
    with get_client(sync_client=True) as client:
        states = client.read_flow_run_states(UUID(run_id))
    begun = sorted(state.timestamp for state in states if state.is_running())
    return begun[0].isoformat() if len(begun) > 1 else None


def leave_if_suspended(run_id: str, stop: Stop) -> None:
    """End a suspended flow run without a final state, so that it can be resumed in Prefect.

    Raises Pause, with which Prefect's engine ends this process's part of the run. A suspended subflow is cancelled
    instead: when its parent resumes, it starts a new one.
    """
    if stop.reason is not StopReason.SUSPENDED:
        return
    run = _ask(run_id)
    if run.parent_task_run_id is None:
        raise Pause(state=run.state)
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, Cancelled(message="its run was suspended"), force=True)


def final_state(state: RunState, message: str, reasons: Sequence[str]) -> State:
    """Return the state that a flow run ends in; a failure lists its reasons, one per line."""
    if state is RunState.COMPLETED:
        return Completed(message=message)
    if state is RunState.INTERRUPTED:
        return Cancelled(message=message)
    return Failed(message="\n".join([message, *reasons]))


def _ask(run_id: str) -> FlowRun:
    return _client_of(PREFECT_API_URL.value()).read_flow_run(UUID(run_id))


@cache
def _client_of(api_url: str | None) -> SyncPrefectClient:
    """Return a client that stays open: each run asks every two seconds, and a new client reads all certificates."""
    return get_client(sync_client=True).__enter__()
