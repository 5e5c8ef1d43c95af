"""Prefect events about workers that do not report or get no more chunks, on which an automation can send a message."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from prefect.events import emit_event
from prefect.runtime import flow_run

from badc.inference.ledger import RunLedger

SILENT, HEARD, RETIRED = "badc.worker.silent", "badc.worker.heard", "badc.worker.retired"
# A chunk may take long, but five times as long as the slowest so far, and over ten minutes, is not normal.
LEAST_SILENCE_S = 600.0
SLOWEST_FACTOR = 5.0
_LOOK_INTERVAL_S = 10.0


class SilentWorkers:
    """Emits `badc.worker.silent` once a busy worker has not reported for too long, and `badc.worker.heard` after."""

    def __init__(self, ledger: RunLedger, say: Callable[[str], None], least_silence_s: float = LEAST_SILENCE_S) -> None:
        self._ledger = ledger
        self._say = say
        self._least_silence_s = least_silence_s
        self._silent: set[tuple[str, str]] = set()  # worker and chunk
        self._next_look_s = 0.0

    def look(self) -> None:
        """Check who is silent, but only every few seconds, however often it is called."""
        if time.monotonic() < self._next_look_s:
            return
        self._next_look_s = time.monotonic() + min(_LOOK_INTERVAL_S, self._least_silence_s)
        slowest = self._ledger.slowest
        limit_s = max(self._least_silence_s, SLOWEST_FACTOR * (slowest[0][0] if slowest else 0.0))
        now = datetime.now(UTC)
        running = self._ledger.running()
        for worker, key, started_at in running:
            silence_s = (now - datetime.fromisoformat(started_at)).total_seconds()
            if silence_s > limit_s and (worker, key) not in self._silent:
                self._silent.add((worker, key))
                self._say(f"{worker}: no report for {silence_s:.0f} s, since it began {key}")
                tell_of_worker(SILENT, worker, key)
        for worker, key in self._silent - {(worker, key) for worker, key, _ in running}:
            self._silent.discard((worker, key))
            tell_of_worker(HEARD, worker, key)


def tell_of_worker(event: str, worker: str, key: str) -> None:
    """Emit an event about a worker of this flow run, with the chunk that it was last known to do."""
    emit_event(
        event,
        resource={"prefect.resource.id": f"badc.worker.{worker}", "prefect.resource.name": worker},
        related=[{"prefect.resource.id": f"prefect.flow-run.{flow_run.id}", "prefect.resource.role": "flow-run"}],
        payload={"chunk": key, "flow_run": flow_run.name},
    )
