"""What the Prefect API knows of a flow run that is under way in this process."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun


def cancellation_requested(run_id: str) -> Callable[[], bool]:
    """Return a function that asks whether this flow run is to be cancelled, however it was started."""

    def ask() -> bool:
        state = _ask(run_id).state
        return state is not None and (state.is_cancelling() or state.is_cancelled())

    return ask


def tried_before(run_id: str) -> bool:
    """Whether this flow run is tried again, by Prefect or by a person, so that what it did is not to be done again."""
    # Not prefect.runtime, which knows only how often it was begun when this process began it.
    return (_ask(run_id).run_count or 1) > 1


def _ask(run_id: str) -> FlowRun:
    with get_client(sync_client=True) as client:
        return client.read_flow_run(UUID(run_id))
