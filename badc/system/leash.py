"""Kill child processes when the process that started them ends, however it ends.

A child survives a parent that was killed with SIGKILL. So each process that starts children also starts one small
watcher, which holds the read end of a pipe. When the parent is gone, the pipe closes, and the watcher kills every
process group that was not let off before. (`prctl(PR_SET_PDEATHSIG)` would reach the child, but not its children.)

A child of a child that left the group (`setsid`) is found by a variable in its environment, on Linux.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

# The signals that ask a process to stop: Ctrl-C, a system, a terminal that is closed. See `children_hear_no_signals`.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# In the environment of a child; its own children inherit it.
MARK = "BADC_STARTED_AS"
_OURS = os.urandom(12).hex()
_numbers = itertools.count()

_lock = threading.Lock()
_watcher: subprocess.Popen[bytes] | None = None
_held: set[int] = set()


def heeded_signals() -> list[signal.Signals]:
    """Return the signals that are to stop this process: not SIGHUP where `nohup` has it ignored."""
    return [one for one in STOP_SIGNALS if one != signal.SIGHUP or signal.getsignal(one) is not signal.SIG_IGN]


@contextlib.contextmanager
def children_hear_no_signals() -> Iterator[None]:
    """Start the block's processes and threads with these signals blocked, until they unblock them.

    A new process is in the terminal's foreground group until it leaves it or has its own handlers. A Ctrl-C in between
    would end it, and with it what its parent was about to do.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def hold(process: subprocess.Popen[bytes]) -> None:
    """Have a child's process group killed when this process dies.

    The child must be started with `start_new_session=True`, so that its pid is its process group's id.
    """
    with _lock:
        _held.add(process.pid)
        try:
            if not _told(f"+{process.pid}\n"):
                _start_watcher()
        except OSError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise


def new_mark() -> str:
    """Return a value of `MARK` for one child, by which `kill_marked` finds what it starts."""
    return f"{_OURS}.{next(_numbers)};"  # with an end: 1 begins 12, too


def kill_marked(mark: str) -> None:
    """Kill every process of this user whose `MARK` begins with `mark`."""
    wanted = f"\0{MARK}={mark}".encode()
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():  # noqa: PTH208, PTH112 - see `_start_watcher`
        with contextlib.suppress(OSError, ValueError):
            number = int(name)
            with open(f"/proc/{number}/environ", "rb") as environment:  # noqa: PTH123
                if wanted in b"\0" + environment.read():
                    os.kill(number, signal.SIGKILL)


def let_off(process: subprocess.Popen[bytes]) -> None:
    """Stop holding a process that has ended and was waited for."""
    with _lock:
        _held.discard(process.pid)
        _told(f"-{process.pid}\n")


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a child, started with `start_new_session=True`, and all of its children; wait for it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    let_off(process)


def how_it_ended(returncode: int) -> str:
    """Return the end of a sentence about a process that ended with this `subprocess` return code."""
    return f"was killed by signal {-returncode}" if returncode < 0 else f"ended with exit code {returncode}"


def _told(message: str) -> bool:
    """Send the watcher a line; return False if none is alive."""
    if _watcher is None:
        return False
    try:
        _write(_watcher, message)
    except BrokenPipeError:  # it was killed
        return False
    return True


def _start_watcher() -> None:
    global _watcher
    with children_hear_no_signals():
        # -I -S: it needs nothing but the standard library, and is up in some 15 ms.
        _watcher = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, _OURS], stdin=subprocess.PIPE, start_new_session=True
        )
    atexit.register(_stop, _watcher)
    _write(_watcher, "".join(f"+{group}\n" for group in sorted(_held)))


def _write(watcher: subprocess.Popen[bytes], message: str) -> None:
    assert watcher.stdin is not None
    watcher.stdin.write(message.encode())
    watcher.stdin.flush()


def _stop(watcher: subprocess.Popen[bytes]) -> None:
    global _watcher
    assert watcher.stdin is not None
    with _lock:
        if _watcher is watcher:
            _watcher = None  # children that end after this are let off without a watcher
        with contextlib.suppress(OSError):
            watcher.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        watcher.wait(timeout=5)


def _watch() -> None:
    """Run the watcher: read `+pgid` and `-pgid` lines until the pipe closes, then kill what is left."""
    groups: set[int] = set()
    for line in sys.stdin:
        if line.startswith("+"):
            groups.add(int(line[1:]))
        else:
            groups.discard(int(line[1:]))
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    kill_marked(sys.argv[1])


if __name__ == "__main__":
    _watch()
