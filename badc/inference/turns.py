"""How many chunks a worker process analyses at once, with its one runner."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from badc.runners.current import close_runner


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn at the runner, which takes up to `at_once` chunks at a time now.

    `why_fewer` says why that is less than was asked for; None if it is not.
    """

    at_once: int
    why_fewer: str | None


class Turns:
    """Lets so many threads at the runner of a process as it takes; a process has one runner.

    A worker with several threads may get chunks of two runs, or a chunk that has failed before. Two runners take turns,
    and a chunk that is to be `alone` shares the runner with no other: one that crashes it cannot take others along
    again. Nobody overtakes a thread that waits for that.
    """

    def __init__(self) -> None:
        self._entry = threading.Lock()
        self._changed = threading.Condition()
        self._active = 0
        self._alone = False
        self._current: tuple[Hashable, int] | None = None
        self._renew = False
        self._fewer: dict[Hashable, Turn] = {}

    @contextmanager
    def one(self, runner: Hashable, at_once: int, alone: bool = False) -> Iterator[Turn]:
        """Hold a turn at a runner, one of up to `at_once`, during the block."""
        with self._entry, self._changed:
            self._changed.wait_for(
                lambda: (
                    self._active == 0
                    or (
                        self._current == (runner, at_once)
                        and not (alone or self._alone or self._renew)
                        and self._active < self._turn(runner, at_once).at_once
                    )
                )
            )
            self._active, self._current, self._alone = self._active + 1, (runner, at_once), alone
            turn = self._turn(runner, at_once)
        try:
            yield turn
        finally:
            with self._changed:
                self._active -= 1
                self._renew_if_empty()
                self._changed.notify_all()

    def renew(self) -> None:
        """Have the runner closed, once no chunk is in it, so that the next one gets another."""
        with self._changed:
            self._renew = True
            self._renew_if_empty()

    def lower(self, runner: Hashable, at_once: int, reason: str) -> None:
        """Let at most `at_once` chunks at a runner at a time from now on, for `reason`; it is renewed for that."""
        with self._changed:
            known = self._fewer.get(runner)
            if known is None or at_once < known.at_once:
                self._fewer[runner] = Turn(at_once, reason)
                self._renew = True
                self._renew_if_empty()

    def now(self, runner: Hashable, at_once: int) -> Turn:
        """Return what a turn would be now, if `at_once` are asked for."""
        with self._changed:
            return self._turn(runner, at_once)

    def _renew_if_empty(self) -> None:
        if self._renew and self._active == 0:
            close_runner()
            self._renew = False

    def _turn(self, runner: Hashable, at_once: int) -> Turn:
        fewer = self._fewer.get(runner)
        return fewer if fewer is not None and fewer.at_once < at_once else Turn(at_once, None)
