"""The worker's side of a task. It needs `badc` and Dask, but no Prefect, whose import alone takes seconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from distributed import get_worker

import badc.inference.worker
from badc.inference.attempt import Attempt
from badc.inference.plan import InferOrder, PlannedChunk

# Runs of which this worker begins no further chunk.
_stopping: set[str] = set()


def begin_no_more(run: str) -> None:
    """Let this worker begin no further chunk of a run, whose batches it may be in the middle of."""
    _stopping.add(run)


def infer_chunks(batch: Sequence[PlannedChunk], order: InferOrder, topic: str, run: str) -> list[dict[str, Any]]:
    """Analyse chunks on this Dask worker, and report each start and end at once to the `run`, which listens to `topic`.

    The reports of the ended attempts are also returned: events are not certain to arrive, results are.
    """
    worker = get_worker()

    def report_of(attempt: Attempt) -> dict[str, Any]:
        return {"run": run, "worker": worker.address, "name": worker.name, "attempt": attempt.to_message()}

    ended = badc.inference.worker.infer_chunks(
        batch, order, lambda attempt: worker.log_event(topic, report_of(attempt)), lambda: run not in _stopping
    )
    return [report_of(attempt) for attempt in ended]
