"""Whether a flow run is to be cancelled, as Prefect knows it."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from prefect.client.orchestration import get_client


def cancellation_requested(run_id: str) -> Callable[[], bool]:
    """Return a function that asks Prefect whether this flow run is to be cancelled, however it was started."""

    def ask() -> bool:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(UUID(run_id)).state
        return state is not None and (state.is_cancelling() or state.is_cancelled())

    return ask
