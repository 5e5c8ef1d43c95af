"""How much of the host's memory a runner takes."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import psutil

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


GPU_OUT_OF_MEMORY = "gpu_out_of_memory"
ADVICE = (
    "the GPU's memory is too small for this chunk: cut shorter ones (`badc chunk probe` finds the longest that fits)"
)

_SIGNS = re.compile(
    "|".join(
        (
            r"CUDA out of memory",  # torch.OutOfMemoryError, older torch.cuda.OutOfMemoryError
            r"\bOutOfMemoryError\b",
            r"CUDA_ERROR_OUT_OF_MEMORY",  # the driver API
            r"cudaErrorMemoryAllocation",  # the runtime API
            r"CU(?:BLAS|DNN|FFT)_STATUS_ALLOC_FAILED",
            r"CUDA failure 2: out of memory",  # onnxruntime's CUDA provider
            r"Failed to allocate memory for requested buffer",  # onnxruntime's arena
            r"BFCArena::AllocateRawInternal",
            r"OOM when allocating tensor",  # TensorFlow
        )
    )
)


def is_gpu_out_of_memory(*texts: str) -> bool:
    """Whether any of the texts (an error, a process's output) is how a library says that the GPU's memory is full."""
    return any(_SIGNS.search(text) for text in texts)
