"""Send a request to DataLad in a process of its own (see `badc.datalad.child`)."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import psutil

from badc.datalad.environment import DataladError, environment
from badc.system import leash

_SHOWN_CHARS = 2000
_IDLE_BYTES_PER_S = 1000  # idle programs wake up, and write some bytes to themselves


def ask(
    root: Path,
    request: dict[str, Any],
    *,
    on_progress: Callable[[int], None] = lambda done: None,
    may_be_killed: bool = False,
    idle_limit_s: float | None = None,
) -> dict[str, Any]:
    """Return DataLad's answer to a request of `badc.datalad.child`. Any number of threads may ask at the same time.

    `root` is absolute; `on_progress` gets the number of files done so far. With `may_be_killed` the process is killed
    at once when this one is interrupted or dies. Otherwise an interruption waits for it: half a commit is worse than a
    late end. After `idle_limit_s`, in which it and what it started have moved next to nothing, it is killed.

    Raises
    ------
    DataladError
        When it failed, with its message.
    """
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            # -P: files in the working directory must not be imported as modules.
            [sys.executable, "-P", "-m", "badc.datalad.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment(),
            cwd=root,
            start_new_session=True,  # the terminal's Ctrl-C is not for it
        )
        if may_be_killed:
            leash.hold(process)
        idle = _IdleWatch(process, idle_limit_s)
        try:
            with idle:
                answer = _talk(process, {"root": str(root), **request}, on_progress)
                process.wait()
        except BaseException:
            if may_be_killed:
                leash.kill_group(process)
            else:
                process.wait()
            raise
        if may_be_killed:
            leash.let_off(process)
        if idle.has_killed:
            raise DataladError(f"{root}: given up, as nothing came for {idle_limit_s:g} s")
        if answer is None:
            raise DataladError(f"{root}: DataLad {leash.how_it_ended(process.returncode)}: {_end_of(errors)}")
    if "error" in answer:
        raise DataladError(f"{root}: {answer['error']}")
    return answer


class _IdleWatch:
    """Kills a process, with those that it started, once they read and write no more for `limit_s`; None for no limit.

    Only where the system counts what processes read and write, as Linux does.
    """

    def __init__(self, process: subprocess.Popen[bytes], limit_s: float | None) -> None:
        self.has_killed = False
        self._process = process
        self._limit_s = limit_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="idle-watch", daemon=True)

    def __enter__(self) -> None:
        if self._limit_s is not None:
            self._thread.start()

    def __exit__(self, *raised: object) -> None:
        self._done.set()
        if self._limit_s is not None:
            self._thread.join()

    def _watch(self) -> None:
        assert self._limit_s is not None
        last, since = _moved(self._process.pid), time.monotonic()
        while last is not None and not self._done.wait(self._limit_s / 20):
            found = _moved(self._process.pid)
            if found is None or abs(found - last) > _IDLE_BYTES_PER_S * self._limit_s:
                last, since = found, time.monotonic()
            elif time.monotonic() - since > self._limit_s:
                self.has_killed = True
                leash.kill_group(self._process)
                return


def _moved(pid: int) -> int | None:
    """Return how many bytes a process and its descendants have read and written; None if that cannot be told."""
    total = 0
    try:
        top = psutil.Process(pid)
        for process in (top, *top.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                counters = process.io_counters()
                total += counters.read_chars + counters.write_chars
    except (psutil.Error, OSError, AttributeError):  # such as on macOS
        return None
    return total


def _talk(
    process: subprocess.Popen[bytes], request: dict[str, Any], on_progress: Callable[[int], None]
) -> dict[str, Any] | None:
    """Send the request and return the answer, the last line that came back; None when there is none."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):  # it died at once; its exit code and its messages say why
        process.stdin.write(json.dumps(request).encode())
        process.stdin.close()
    answer = None
    with process.stdout as lines:
        for line in lines:
            message = json.loads(line)
            if "done" in message:
                on_progress(message["done"])
            else:
                answer = message
    return answer


def _end_of(errors: IO[bytes]) -> str:
    errors.seek(0)
    return errors.read().decode(errors="replace").strip()[-_SHOWN_CHARS:] or "it said nothing"
