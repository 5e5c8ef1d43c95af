"""One subflow of a run starts at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class OneStart:
    """Lets one subflow start at a time.

    Prefect numbers the subflows of a run without a lock: two that start at the same moment may get the same number, and
    the server takes the second for the first.
    """

    def __init__(self) -> None:
        self._starting = threading.Lock()

    @contextmanager
    def turn(self) -> Iterator[Callable[[], None]]:
        """Wait for this subflow's turn; yield a function to call once it has started."""
        self._starting.acquire()
        held = [True]

        def begun() -> None:
            if held:
                held.pop()
                self._starting.release()

        try:
            yield begun
        finally:
            begun()
