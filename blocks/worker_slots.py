"""Which worker takes the next chunk: the first one that is free, at the moment when it is."""

from __future__ import annotations

import threading
import time
from asyncio import CancelledError
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

_LOOK_INTERVAL_S = 2.0
_WAIT_S = 0.25


class WorkerSlots:
    """The threads of the workers, each of which does one task at a time.

    Dask would deal out tasks in advance, and one that lies behind a slow worker's chunk would wait there although a
    fast worker has become free. So a task gets its worker only when that is free; what waits for the next waits here.

    Parameters
    ----------
    look
        Returns the number of threads of each worker by its address, as they are now.
    """

    def __init__(self, look: Callable[[], Mapping[str, int]]) -> None:
        self._look = look
        self._condition = threading.Condition()
        self._threads: dict[str, int] = {}
        self._busy: Counter[str] = Counter()
        self._next_look = 0.0

    def count(self) -> int:
        """Return the number of threads, looked up every few seconds: workers come and go."""
        with self._condition:
            self._refresh()
            return sum(self._threads.values())

    @contextmanager
    def one(self, preferred: str | None, may_wait: Callable[[], bool]) -> Iterator[str]:
        """Hold a worker's thread for the length of the block, and yield the worker's address.

        Parameters
        ----------
        preferred
            Take this worker, as long as it lives.
        may_wait
            Asked several times a second; when it says no, CancelledError is raised.
        """
        address = self._take(preferred, may_wait)
        try:
            yield address
        finally:
            with self._condition:
                self._busy[address] -= 1
                self._condition.notify_all()

    def _take(self, preferred: str | None, may_wait: Callable[[], bool]) -> str:
        with self._condition:
            while True:
                if not may_wait():
                    raise CancelledError
                self._refresh()
                candidates = [preferred] if preferred in self._threads else list(self._threads)
                for address in candidates:
                    if address is not None and self._busy[address] < self._threads[address]:
                        self._busy[address] += 1
                        return address
                self._condition.wait(_WAIT_S)

    def _refresh(self) -> None:
        if time.monotonic() >= self._next_look:
            self._threads = dict(self._look())
            self._next_look = time.monotonic() + _LOOK_INTERVAL_S
