"""Why and how a run stops early: a failure, Ctrl-C, SIGTERM, a closed terminal, or a request in Prefect."""

from __future__ import annotations

import os
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from types import FrameType
from weakref import WeakSet

from badc.errors import ExitCode
from badc.system.leash import heeded_signals

_POLL_S = 2.0
# How long a run may take to end after a second signal.
_FORCED_END_S = 3.0

_command_only_reports = threading.Event()


def interrupt_command(number: int, frame: FrameType | None) -> None:
    """Handle a signal in a command: interrupt it, unless its run has ended and only the report is left."""
    _leave_terminal(number)
    if not _command_only_reports.is_set():
        raise KeyboardInterrupt


def _leave_terminal(number: int) -> None:
    """After SIGHUP, send what this process still says nowhere: each line to a closed terminal would be an error."""
    if number != signal.SIGHUP:
        return
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        with suppress(OSError):
            if stat.S_ISCHR(os.fstat(stream).st_mode):
                os.dup2(nowhere, stream)
    os.close(nowhere)


def let_command_report() -> None:
    """From now on, let no signal keep the command from reporting how its run ended, or from its exit code."""
    _command_only_reports.set()


class StopReason(StrEnum):
    """Why no new chunk starts."""

    FAILED = "a chunk failed"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled in Prefect"
    SUSPENDED = "suspended in Prefect"
    SCHEDULER_LOST = "the Dask scheduler is lost"


class Stop:
    """Whether a run should stop; if interrupted or cancelled, its running chunks get `grace_period_s` to finish.

    Without a scheduler they get none.
    """

    def __init__(self, grace_period_s: float, say: Callable[[str], None]) -> None:
        self.requested = threading.Event()
        self.reason: StopReason | None = None
        self.why: str | None = None  # what went wrong, where the reason does not say it
        self._grace_period_s = grace_period_s
        self._deadline: float | None = None
        self._say = say
        self._running = False
        self._over = False
        self._forced_s: float | None = None
        self._hurried_s: float | None = None
        self._parts: WeakSet[Stop] = WeakSet()

    def request(self, reason: StopReason, why: str | None = None) -> None:
        """Let no new chunk start; an interruption replaces an earlier failure as the reason."""
        if self.reason is None or self.reason is StopReason.FAILED:
            self.reason, self.why = reason, why
            if reason is not StopReason.FAILED:
                grace_s = 0.0 if reason is StopReason.SCHEDULER_LOST else self._grace_period_s
                self._deadline = time.monotonic() + grace_s
        self.requested.set()
        if self.broken_off:
            for part in list(self._parts):
                part.request(reason, why)

    def part(self) -> Stop:
        """Return the stop of a part of the run, which is interrupted with the whole but fails alone."""
        part = Stop(self._grace_period_s, self._say)
        self._parts.add(part)
        if self.broken_off and self.reason is not None:
            part.request(self.reason, self.why)
        return part

    def lose_patience(self) -> None:
        """End the grace period now."""
        for stop in (self, *self._parts):
            stop._deadline = stop._forced_s = time.monotonic()

    def books_are_closed(self) -> None:
        """Note that a signal can stop nothing any more but the wait for Prefect."""
        self._over = True

    @property
    def is_stuck(self) -> bool:
        """Whether a second signal did not end the run in time: it waits for something that does not answer."""
        return self._forced_s is not None and time.monotonic() - self._forced_s > _FORCED_END_S

    @property
    def hurried_s(self) -> float:
        """Seconds since the first signal after the run's own end; 0 without one."""
        return 0.0 if self._hurried_s is None else time.monotonic() - self._hurried_s

    @property
    def interrupted(self) -> bool:
        """Whether a person or a system wants the run to end."""
        return self.broken_off and self.reason is not StopReason.SCHEDULER_LOST

    @property
    def broken_off(self) -> bool:
        """Whether chunks are left that had attempts left: it says nothing about them that they did not succeed."""
        return self.reason not in (None, StopReason.FAILED)

    @property
    def out_of_patience(self) -> bool:
        """Whether the grace period of running chunks is over."""
        return self._deadline is not None and time.monotonic() >= self._deadline

    @contextmanager
    def heeding_signals(self) -> Iterator[None]:
        """Note SIGINT, SIGTERM and SIGHUP while the block runs, instead of raising an exception wherever the code is.

        An exception in the middle of an import would leave another thread waiting for the import's lock forever. A
        second signal ends the grace period; before any chunk runs, it ends the process. Only the main thread receives
        signals: in another one (a subflow's) this leaves them to their owner.
        """
        before = {}
        if threading.current_thread() is threading.main_thread():
            before = {number: signal.signal(number, self._on_signal) for number in heeded_signals()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def while_running(self, wanted: Callable[[], StopReason | None]) -> Iterator[None]:
        """While chunks run, heed signals and, every few seconds, what `wanted` says."""
        ended = threading.Event()
        outermost = not self._running
        threading.Thread(target=self._poll, args=(wanted, ended), daemon=True).start()
        self._running = True
        try:
            # Again: Prefect has replaced our SIGTERM handler with its own.
            with self.heeding_signals():
                yield
        finally:
            self._over = outermost
            ended.set()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        _leave_terminal(number)
        if self._over:
            self._hurried_s = self._hurried_s or time.monotonic()
            return
        name = signal.Signals(number).name
        if self.interrupted and not self._running:
            # Nothing of the run exists yet; its server and workers end with their parent.
            os._exit(ExitCode.INTERRUPTED)
        if self.interrupted:
            # Prefect's worker sends SIGTERM to a cancelled run, which may know already.
            if not (self.reason is StopReason.CANCELLED and number == signal.SIGTERM):
                self.lose_patience()
            return
        self.request(StopReason.INTERRUPTED)
        if self._running:
            self._say(
                f"{name}: no new chunks; running ones get {self._grace_period_s:g} s to finish "
                "(Ctrl-C again to stop them now)"
            )
        else:
            self._say(f"{name}: stopping before the first chunk (Ctrl-C again to stop at once)")

    def _poll(self, wanted: Callable[[], StopReason | None], ended: threading.Event) -> None:
        while not ended.wait(_POLL_S):
            with suppress(Exception):  # an API that does not answer requests nothing
                if not self.interrupted and (reason := wanted()) is not None:
                    self._say(f"{reason}: no new chunks")
                    self.request(reason)
