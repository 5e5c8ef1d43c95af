"""How far a long command is, on stderr: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from badc.inference.ledger import Progress

_LINE_INTERVAL_S = 10.0
_SHOW_AFTER_S = 2.0


class RunProgress:
    """The progress of an inference run. A context manager; its methods may be called from one thread only."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._next_line = time.monotonic() + _LINE_INTERVAL_S
        self._last_line = ""

    def __enter__(self) -> RunProgress:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                BarColumn(bar_width=None),
                TextColumn("{task.description}"),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def closed_before(self, report: Callable[[Any], object]) -> Callable[[Any], None]:
        """Return a function that takes the bar away and then reports an outcome, where there is one."""

        def by_force(outcome: Any) -> None:
            self.__exit__()
            if outcome is not None:
                report(outcome)

        return by_force

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def count(self, done: int, total: int) -> None:
        """Show how many recordings are chunked, where that is a step before the run."""
        if self._bar is None and time.monotonic() >= self._next_line and done < total:
            self._next_line = time.monotonic() + _LINE_INTERVAL_S
            print(f"{done}/{total} recordings chunked", file=sys.stderr, flush=True)
        elif self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task("", total=total)
            self._bar.update(self._task, completed=done, total=total, description=f"{done}/{total} recordings chunked")

    def update(self, progress: Progress) -> None:
        """Show how far the run is."""
        if self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task("", total=progress.total)
            completed = progress.done + progress.failed
            self._bar.update(self._task, completed=completed, total=progress.total, description=progress.describe())
            return
        if time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _LINE_INTERVAL_S
            line = progress.describe()
            if line != self._last_line:
                print(line, file=sys.stderr, flush=True)
            self._last_line = line


@contextmanager
def counting(what: str) -> Iterator[Any]:
    """Yield a function `show(done, total=None)` that tells, after two seconds, how far something is.

    Parameters
    ----------
    what
        What is counted, such as `audio files checked`.
    """
    begin = time.monotonic()
    shown_at = 0.0
    terminal = sys.stderr.isatty()

    def show(done: int, total: int | None = None) -> None:
        nonlocal shown_at
        now = time.monotonic()
        if now - begin < _SHOW_AFTER_S or now - shown_at < (0.2 if terminal else _LINE_INTERVAL_S):
            return
        shown_at = now
        line = f"{done:,}{f' of {total:,}' if total else ''} {what}"
        print(f"\r{line}" if terminal else line, end="" if terminal else "\n", file=sys.stderr, flush=True)

    yield show
    if shown_at and terminal:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
