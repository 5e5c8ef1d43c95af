"""What the Prefect API knows of a flow run that is under way in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

from prefect import State
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import Pause
from prefect.states import Cancelled, Completed, Failed

from badc.telemetry.summary import RunState
from flows.run.stopping import Stop, StopReason

# Prefect's worker kills a run 30 s after it was cancelled, which may be seconds before the run hears of it, and to end
# truthfully takes some seconds too.
_LONGEST_GRACE_PERIOD_S = 10.0


def stop_wanted(run_id: str) -> Callable[[], StopReason | None]:
    """Return a function that asks whether this flow run is to stop, however it was started, and why."""

    def ask() -> StopReason | None:
        state = _ask(run_id).state
        if state is None:
            return None
        if state.is_cancelling() or state.is_cancelled():
            return StopReason.CANCELLED
        return StopReason.SUSPENDED if state.is_paused() else None

    return ask


def stop_of_own_run(grace_period_s: float, say: Callable[[str], None]) -> Stop:
    """Return the stop of a flow run that Prefect started, whose grace period is as long as Prefect lets it live."""
    if grace_period_s > _LONGEST_GRACE_PERIOD_S:
        say(
            f"Should this run be cancelled, running chunks get {_LONGEST_GRACE_PERIOD_S:g} s to finish, not "
            f"{grace_period_s:g} s: Prefect kills what it has cancelled after 30 s"
        )
    return Stop(min(grace_period_s, _LONGEST_GRACE_PERIOD_S), say)


def begun_before(run_id: str) -> str | None:
    """Return when this flow run first began (ISO 8601), if it is tried again or resumed; else None.

    What it did since is not to be done again.
    """
    # Not its run count: a run that is resumed has the same, and Prefect's runtime has that of the process's start.
    with get_client(sync_client=True) as client:
        states = client.read_flow_run_states(UUID(run_id))
    begun = sorted(state.timestamp for state in states if state.is_running())
    return begun[0].isoformat() if len(begun) > 1 else None


def leave_if_suspended(run_id: str, stop: Stop) -> None:
    """End a flow run that was suspended without a state of its own, so that it can be resumed in Prefect.

    A subflow of the run that was suspended is cancelled instead: when that goes on, it gets a new one.

    Raises
    ------
    Pause
        When it was suspended; Prefect's engine takes that for the end of this process's part.
    """
    if stop.reason is not StopReason.SUSPENDED:
        return
    run = _ask(run_id)
    if run.parent_task_run_id is None:
        raise Pause(state=run.state)
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, Cancelled(message="its run was suspended"), force=True)


def final_state(state: RunState, message: str, reasons: Sequence[str]) -> State:
    """Return the state that a flow run ends in, with a line for each thing that failed where it failed."""
    if state is RunState.COMPLETED:
        return Completed(message=message)
    if state is RunState.INTERRUPTED:
        return Cancelled(message=message)
    return Failed(message="\n".join([message, *reasons]))


def _ask(run_id: str) -> FlowRun:
    with get_client(sync_client=True) as client:
        return client.read_flow_run(UUID(run_id))
