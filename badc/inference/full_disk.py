"""A disk that takes no telemetry for a while: the run goes on and keeps it in memory, but not for long."""

from __future__ import annotations

import time
from collections.abc import Callable

from badc.inference.ledger import RunLedger

PATIENCE_S = 60.0
_TICK_S = 0.25


class FullDisk:
    """Tells when the telemetry of a run cannot be written, and when that has lasted too long."""

    def __init__(self, ledger: RunLedger, say: Callable[[str], None], patience_s: float = PATIENCE_S) -> None:
        self._ledger = ledger
        self._say = say
        self._patience_s = patience_s
        self._since: float | None = None
        self._gave_up: OSError | None = None

    def is_final(self) -> bool:
        """Whether the disk has taken nothing for too long; says once when that begins, and when it ends."""
        error = self._ledger.unwritten
        if error is None:
            if self._since is not None:
                self._say("The telemetry can be written again")
            self._since = None
            return False
        if self._since is None:
            self._since = time.monotonic()
            self._say(
                f"{error.filename}: the telemetry cannot be written ({error.strerror}); unless that ends within "
                f"{self._patience_s:g} s, the run stops"
            )
        if time.monotonic() - self._since >= self._patience_s:
            self._gave_up = error
        return self._gave_up is not None

    def wait(self, hurried: Callable[[], bool]) -> None:
        """Write the books of a run at its end as soon as the disk takes them, unless that takes too long."""
        self._ledger.save(force=True)
        while not self.is_final() and self._ledger.unwritten is not None and not hurried():
            time.sleep(_TICK_S)
            self._ledger.save()

    @property
    def errors(self) -> list[str]:
        """What the disk did to an ended run, in a line, or nothing."""
        error = self._ledger.unwritten or self._gave_up
        return [f"{error.filename}: the telemetry could not be written ({error.strerror})"] if error else []
