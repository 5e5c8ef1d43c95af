"""What a scheduler says of its workers: which there are, when it last heard of each, and whether it answers at all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

# No step between two questions counts for more: this process may itself have been stopped in the meantime.
_LONGEST_STEP_S = 5.0
GONE = "it has closed the connection"


class SignsOfLife:
    """Asks the scheduler of a client, and remembers when it learnt of a new sign of life of each worker.

    That is by this machine's clock: the scheduler's may differ. Workers send one every few seconds, busy or not. A
    scheduler on another machine is lost if it does not answer for `patience_s`, and any if it closes the connection.
    """

    def __init__(self, client: Callable[[], Any], patience_s: float | None = None) -> None:
        self._client = client
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._last_seen: dict[str, float] = {}  # by the scheduler's clock
        self._heard_s: dict[str, float] = {}
        self._answered_s = time.monotonic()
        self._is_gone = False
        self._waited_s = 0.0
        self._asked_s = time.monotonic()

    def threads(self) -> dict[str, int]:
        """Ask which workers there are; return their threads by their addresses; raise OSError if nobody answers."""
        client = self._client()
        # A lost connection has cancelled whatever the workers were asked for, even if Dask finds another in time.
        self._is_gone = self._is_gone or client.status != "running"
        if self._is_gone:
            raise ConnectionError(GONE)
        # Not `scheduler_info`: that returns what the client knows last, which may be an answer without workers.
        workers = client.sync(client.scheduler.identity, n_workers=-1)["workers"]
        with self._lock:
            self._answered_s, self._waited_s = time.monotonic(), 0.0
            self._heard_s = {
                address: self._heard_s[address]
                if self._last_seen.get(address) == worker["last_seen"]
                else self._answered_s
                for address, worker in workers.items()
            }
            self._last_seen = {address: worker["last_seen"] for address, worker in workers.items()}
        return {address: worker["nthreads"] for address, worker in workers.items()}

    def silence_s(self, worker: str) -> float | None:
        """Return for how long a worker had given no sign of life when the scheduler last answered; None if it left."""
        with self._lock:
            heard_s = self._heard_s.get(worker)
            return None if heard_s is None else self._answered_s - heard_s

    def why_lost(self) -> str | None:
        """Return why nothing can be expected of the scheduler any more, or None. To be asked several times a second."""
        if self._is_gone:
            return GONE
        with self._lock:
            now_s = time.monotonic()
            self._waited_s += min(now_s - max(self._asked_s, self._answered_s), _LONGEST_STEP_S)
            self._asked_s = now_s
            if self._patience_s is None or self._waited_s < self._patience_s:
                return None
        return f"it has not answered for {self._patience_s:g} s"
