"""A limit on the memory of a worker with its runner: what takes more is killed, before the machine runs out."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

import psutil

_GIB = 2**30


class MemoryLimit:
    """Watches this process and those it started while a `with` block runs, and kills the runner over the limit.

    The resident memory of all of them is added up; pages that they share count for each. It is looked at every
    `interval_s`, so a runner can go over the limit for that long.

    Parameters
    ----------
    limit_gib
        The limit in GiB; None for none.
    interval_s
        Seconds between two looks.
    """

    def __init__(self, limit_gib: float | None, interval_s: float = 1.0) -> None:
        self._limit_gib = limit_gib
        self._interval_s = interval_s
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self.exceeded_by_gib: float | None = None

    def __enter__(self) -> Self:
        if self._limit_gib is not None:
            self._thread = threading.Thread(target=self._watch, args=(self._limit_gib,), daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    @property
    def reason(self) -> str | None:
        """Why the runner was killed, or None."""
        if self.exceeded_by_gib is None or self._limit_gib is None:
            return None
        total = self._limit_gib + self.exceeded_by_gib
        return (
            f"the worker and its runner took {total:.1f} GiB of memory, more than --worker-memory-gib "
            f"{self._limit_gib:g}; allow more, give shorter chunks, or start fewer workers"
        )

    def _watch(self, limit_gib: float) -> None:
        me = psutil.Process()
        while not self._ended.wait(self._interval_s):
            sizes = {process.pid: _resident_bytes(process) for process in me.children(recursive=True)}
            total_gib = (_resident_bytes(me) + sum(sizes.values())) / _GIB
            if total_gib > limit_gib and sizes:
                self.exceeded_by_gib = total_gib - limit_gib
                _kill_group_of(max(sizes, key=sizes.__getitem__))


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
