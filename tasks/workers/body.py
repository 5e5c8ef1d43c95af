"""The worker's side of a task. It needs `badc` and Dask, but no Prefect, whose import alone takes seconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from distributed import get_worker

import badc.inference.worker
from badc.inference.attempt import Attempt
from badc.inference.plan import InferOrder, PlannedChunk


def infer_chunks(batch: Sequence[PlannedChunk], order: InferOrder, topic: str) -> list[dict[str, Any]]:
    """Analyse chunks on this Dask worker, and report each start and end at once to the flow, which listens to `topic`.

    The reports of the ended attempts are also returned: events are not certain to arrive, results are.
    """
    worker = get_worker()

    def report_of(attempt: Attempt) -> dict[str, Any]:
        return {"worker": worker.address, "name": worker.name, "attempt": attempt.to_message()}

    ended = badc.inference.worker.infer_chunks(
        batch, order, lambda attempt: worker.log_event(topic, report_of(attempt))
    )
    return [report_of(attempt) for attempt in ended]
