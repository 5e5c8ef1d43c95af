"""Which worker takes the next chunk: the first one that is free, at the moment when it is."""

from __future__ import annotations

import threading
import time
from asyncio import CancelledError
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

_LOOK_INTERVAL_S = 2.0
_WAIT_S = 0.25


class WorkerSlots:
    """The workers, each of which does one task at a time, however many threads it has: it has one runner.

    Dask would deal out tasks in advance, and one that lies behind a slow worker's chunk would wait there although a
    fast worker has become free. So a task gets its worker only when that is free; what waits for the next waits here.

    Parameters
    ----------
    look
        Returns the addresses of the workers that there are now.
    """

    def __init__(self, look: Callable[[], Iterable[str]]) -> None:
        self._look = look
        self._condition = threading.Condition()
        self._workers: list[str] = []
        self._busy: set[str] = set()
        self._next_look = 0.0

    def count(self) -> int:
        """Return the number of workers, looked up every few seconds: they come and go."""
        with self._condition:
            self._refresh()
            return len(self._workers)

    @contextmanager
    def one(self, preferred: str | None, may_wait: Callable[[], bool]) -> Iterator[str]:
        """Hold a worker for the length of the block, and yield the worker's address.

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
                self._busy.discard(address)
                self._condition.notify_all()

    def _take(self, preferred: str | None, may_wait: Callable[[], bool]) -> str:
        with self._condition:
            while True:
                if not may_wait():
                    raise CancelledError
                self._refresh()
                for address in [preferred] if preferred in self._workers else self._workers:
                    if address is not None and address not in self._busy:
                        self._busy.add(address)
                        return address
                self._condition.wait(_WAIT_S)

    def _refresh(self) -> None:
        if time.monotonic() >= self._next_look:
            self._workers = list(self._look())
            self._next_look = time.monotonic() + _LOOK_INTERVAL_S
