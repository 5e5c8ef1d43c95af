"""How many tasks the workers get at a time: one each, so that the next goes to whichever is free first."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager

_LOOK_INTERVAL_S = 2.0
_WAIT_S = 0.25


@contextmanager
def slots_of(address: str) -> Iterator[WorkerSlots]:
    """Give the slots of the workers at a Dask scheduler, for several runs at once."""
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        yield WorkerSlots(lambda: len(client.nthreads()))


class WorkerSlots:
    """As many slots as there are workers; a worker does one task at a time, however many threads it has.

    Dask would deal out tasks in advance, and one that lies behind a slow worker's chunk would wait there although a
    fast worker has become free. With no more tasks in Dask than workers, each goes to one that is idle; what waits for
    the next waits here.

    Parameters
    ----------
    look
        Returns the number of workers that there are now.
    """

    def __init__(self, look: Callable[[], int]) -> None:
        self._look = look
        self._condition = threading.Condition()
        self._workers = 0
        self._taken = 0
        self._next_look = 0.0

    def count(self) -> int:
        """Return the number of workers, looked up every few seconds: they come and go."""
        with self._condition:
            if time.monotonic() >= self._next_look:
                self._workers = self._look()
                self._next_look = time.monotonic() + _LOOK_INTERVAL_S
            return self._workers

    @contextmanager
    def one(self, may_wait: Callable[[], bool]) -> Iterator[None]:
        """Hold a slot for the length of the block.

        Parameters
        ----------
        may_wait
            Asked several times a second; when it says no, CancelledError is raised.
        """
        with self._condition:
            while True:
                if not may_wait():
                    raise CancelledError
                if self._taken < self.count():
                    break
                self._condition.wait(_WAIT_S)
            self._taken += 1
        try:
            yield
        finally:
            with self._condition:
                self._taken -= 1
                self._condition.notify_all()
