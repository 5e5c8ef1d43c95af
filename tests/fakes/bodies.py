"""Bodies of tasks, in a module without Prefect so that a worker need not import it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path


def where_am_i(number: int) -> tuple[int, bool, int]:
    """Return the process, whether it has imported Prefect, and the number."""
    return os.getpid(), "prefect" in sys.modules, number


def fail_until(path: str, times: int) -> int:
    """Fail the first `times` calls, counted in a file."""
    with Path(path).open("a") as log:
        log.write("x")
    tries = len(Path(path).read_text())
    if tries <= times:
        raise ValueError(f"try {tries}")
    return tries


def sleep(seconds: float) -> None:
    """Take a while."""
    time.sleep(seconds)


class Frozen:
    """A result whose worker freezes when it is to hand it over."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        import signal

        Path(self.path).write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGSTOP)
        return Frozen, (self.path,)


def frozen_result(path: str) -> Frozen:
    """Return what its worker cannot hand over."""
    return Frozen(path)
