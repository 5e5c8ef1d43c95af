"""How much host memory a runner uses, and its limit."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import ClassVar, Self

import psutil

_MIB, _GIB = 1 << 20, 1 << 30


class _Watch:
    """Looks at the resident memory of this process and its descendants in a thread, during a `with` block.

    Shared pages count once for each process. `interval_s` grows on a machine with so many processes that a look takes
    long: it means looking at every process of the machine, which must not cost a core.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        # Before the runner starts, so that an attempt that ends at once has a reading too.
        pause_s = self._look_and_time()
        self._thread = threading.Thread(target=self._go_on, args=(pause_s,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _go_on(self, pause_s: float) -> None:
        while not self._ended.wait(pause_s):
            pause_s = self._look_and_time()

    def _look_and_time(self) -> float:
        begin = time.perf_counter()
        with suppress(psutil.Error):
            this = psutil.Process()
            below = {process.pid: _resident_bytes(process) for process in this.children(recursive=True)}
            self._look(_resident_bytes(this), below)
        return max(self._interval_s, 9 * (time.perf_counter() - begin))

    def _look(self, own_bytes: int, below: Mapping[int, int]) -> None:
        raise NotImplementedError


class HostMemorySampler(_Watch):
    """Context manager that samples the memory of this process and its descendants, a runner's processes among them.

    `peak_mib` is the most resident memory of all of them together so far, in MiB; None if it cannot be read.
    """

    def __init__(self, interval_s: float) -> None:
        super().__init__(interval_s)
        self.peak_mib: int | None = None

    def _look(self, own_bytes: int, below: Mapping[int, int]) -> None:
        if used_bytes := own_bytes + sum(below.values()):
            self.peak_mib = max(self.peak_mib or 0, used_bytes // _MIB)


class MemoryLimit(_Watch):
    """Kills the runner if this process and its descendants together exceed a memory limit during a `with` block.

    A runner can exceed the limit until the next look, `interval_s` later or more. None means no limit. Several threads
    may be in such blocks at once: what one of them killed, all had lost.
    """

    # When this process last killed a runner, by the monotonic clock, and what it took in GiB.
    _last_kill: ClassVar[tuple[float, float]] = (-math.inf, 0.0)

    def __init__(self, limit_gib: float | None, interval_s: float = 1.0) -> None:
        super().__init__(interval_s)
        self._limit_gib = limit_gib
        self._began_s = math.inf

    def __enter__(self) -> Self:
        self._began_s = time.monotonic()
        return self if self._limit_gib is None else super().__enter__()

    @property
    def reason(self) -> str | None:
        """Why the runner was killed, or None."""
        at_s, total_gib = MemoryLimit._last_kill
        if self._limit_gib is None or at_s < self._began_s:
            return None
        return (
            f"the worker and its runner took {total_gib:.1f} GiB of memory, more than --worker-memory-gib "
            f"{self._limit_gib:g}; allow more, give shorter chunks, or start fewer workers"
        )

    def _look(self, own_bytes: int, below: Mapping[int, int]) -> None:
        total_gib = (own_bytes + sum(below.values())) / _GIB
        if self._limit_gib is not None and total_gib > self._limit_gib and below:
            MemoryLimit._last_kill = (time.monotonic(), total_gib)
            _kill_group_of(max(below, key=below.__getitem__))


def _resident_bytes(process: psutil.Process) -> int:
    try:
        size: int = process.memory_info().rss
    except psutil.Error:  # it has just ended
        return 0
    return size


def _kill_group_of(pid: int) -> None:
    with suppress(ProcessLookupError):
        group = os.getpgid(pid)
        if group != os.getpgrp():
            os.killpg(group, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)
