"""How much of the host's memory a runner takes."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

_MIB = 1 << 20


class HostMemorySampler:
    """Samples the memory of this process and all below it, where a runner's processes are. A context manager.

    Parameters
    ----------
    interval_s
        Seconds between two samples; more on a machine with so many processes that a sample takes long.

    Attributes
    ----------
    peak_mib
        The most resident memory of them all together, in MiB, so far; None where it cannot be read. Pages that
        processes share count once for each.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self.peak_mib: int | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> HostMemorySampler:
        import psutil

        # Before the runner starts, so that an attempt that ends at once has a sample too.
        pause_s = self._sample(psutil)
        self._thread = threading.Thread(target=self._go_on, args=(psutil, pause_s), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _go_on(self, psutil: Any, pause_s: float) -> None:
        while not self._stop.wait(pause_s):
            pause_s = self._sample(psutil)

    def _sample(self, psutil: Any) -> float:
        """Take a sample; return how long to wait for the next, in seconds."""
        begin = time.perf_counter()
        used_bytes = 0
        with contextlib.suppress(psutil.Error):
            this = psutil.Process()
            for process in (this, *this.children(recursive=True)):
                with contextlib.suppress(psutil.Error):  # it has ended meanwhile
                    used_bytes += process.memory_info().rss
        if used_bytes:
            self.peak_mib = max(self.peak_mib or 0, used_bytes // _MIB)
        # Finding the children means looking at every process of the machine; that must not cost a core.
        return max(self._interval_s, 9 * (time.perf_counter() - begin))
