"""Workers that do not report, give no sign of life or get no more chunks: said at once, and emitted as Prefect events.

An automation can send a message on these.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from prefect.events import emit_event
from prefect.runtime import flow_run

from badc.inference.ledger import RunLedger

SILENT, HEARD, RETIRED = "badc.worker.silent", "badc.worker.heard", "badc.worker.retired"
# A chunk may take long, but five times as long as the slowest so far, and over ten minutes, is not normal.
LEAST_SILENCE_S = 600.0
SLOWEST_FACTOR = 5.0
_LOOK_INTERVAL_S = 2.0
# Workers give a sign of life every few seconds. Its absence is said after this part of the time that it may last.
_SAID_AFTER = 0.25
_LEAST_SAID_AFTER_S = 10.0


class SilentWorkers:
    """Says and emits `badc.worker.silent` once something is wrong with a busy worker, and `badc.worker.heard` after.

    That is when it has not reported the end of its chunk for too long, or gives no sign of life: `silence_s` returns
    for how long a worker, by its label, has given none, or None if it is not there. It is given up after `timeout_s`,
    which is None if that is up to a scheduler that is not ours.
    """

    def __init__(
        self,
        ledger: RunLedger,
        say: Callable[[str], None],
        silence_s: Callable[[str], float | None],
        timeout_s: float | None,
        least_silence_s: float = LEAST_SILENCE_S,
    ) -> None:
        self._ledger = ledger
        self._say = say
        self._silence_s = silence_s
        self._timeout_s = timeout_s
        self._least_silence_s = least_silence_s
        self._begun_s: dict[tuple[str, str, str], float] = {}  # attempts, as the ledger has them; when they were seen
        self._slow: set[tuple[str, str]] = set()  # worker and chunk
        self._lifeless: dict[str, tuple[str, float]] = {}  # worker -> its chunk, and for how long
        self._next_look_s = 0.0

    def look(self) -> None:
        """Check who is silent, but only every few seconds, however often it is called."""
        if time.monotonic() < self._next_look_s:
            return
        self._next_look_s = time.monotonic() + min(_LOOK_INTERVAL_S, self._least_silence_s)
        running = self._ledger.running()
        self._look_for_slow(running)
        self._look_for_lifeless({worker: key for worker, key, _ in running})

    def _look_for_slow(self, running: list[tuple[str, str, str]]) -> None:
        slowest = self._ledger.slowest
        limit_s = max(self._least_silence_s, SLOWEST_FACTOR * (slowest[0][0] if slowest else 0.0))
        # Not by the time at which they started, which is by the clock of the worker's machine.
        now_s = time.monotonic()
        self._begun_s = {attempt: self._begun_s.get(attempt, now_s) for attempt in running}
        for (worker, key, _), begun_s in self._begun_s.items():
            silence_s = now_s - begun_s
            if silence_s > limit_s and (worker, key) not in self._slow:
                self._slow.add((worker, key))
                self._say(f"{self._ledger.named(worker)}: no report for {silence_s:.0f} s, since it began {key}")
                tell_of_worker(SILENT, worker, key)
        for worker, key in self._slow - {(worker, key) for worker, key, _ in running}:
            self._slow.discard((worker, key))
            tell_of_worker(HEARD, worker, key)

    def _look_for_lifeless(self, chunks: dict[str, str]) -> None:
        said_after_s = max(_LEAST_SAID_AFTER_S, _SAID_AFTER * (self._timeout_s or 0.0))
        for worker, key in chunks.items():
            silence_s = self._silence_s(worker)
            if silence_s is None or silence_s < said_after_s:
                continue
            if worker not in self._lifeless:
                self._say(
                    f"{self._ledger.named(worker)}: silent for {silence_s:.0f} s; {self._what_follows(silence_s)}"
                )
                self._ledger.worker_is_silent(worker, key, silence_s, self._timeout_s)
                tell_of_worker(SILENT, worker, key)
            self._lifeless[worker] = key, silence_s
        for worker, (key, silence_s) in list(self._lifeless.items()):
            now_s = self._silence_s(worker)
            if now_s is None:
                del self._lifeless[worker]
                self._say(f"{self._ledger.named(worker)}: given up after {silence_s:.0f} s; its chunks run again")
                self._ledger.worker_is_gone(worker)
            elif now_s < said_after_s:
                del self._lifeless[worker]
                self._say(f"{self._ledger.named(worker)}: gives signs of life again, after {silence_s:.0f} s")
                self._ledger.worker_is_heard(worker, key, silence_s)
                tell_of_worker(HEARD, worker, key)

    def _what_follows(self, silence_s: float) -> str:
        if self._timeout_s is None:
            return "its chunks run again when its scheduler gives it up"
        return f"its chunks run again within {max(0.0, self._timeout_s - silence_s):.0f} s"


def tell_of_worker(event: str, worker: str, key: str) -> None:
    """Emit an event about a worker of this flow run, with the chunk that it was last known to do."""
    emit_event(
        event,
        resource={"prefect.resource.id": f"badc.worker.{worker}", "prefect.resource.name": worker},
        related=[{"prefect.resource.id": f"prefect.flow-run.{flow_run.id}", "prefect.resource.role": "flow-run"}],
        payload={"chunk": key, "flow_run": flow_run.name},
    )
