"""The runner of this worker process: made at its first chunk, and kept."""

from __future__ import annotations

import atexit
import threading
from dataclasses import dataclass

from badc.runners.interface import Runner, RunnerSpec, WorkerPlace
from badc.system.scratch import Scratch, sweep


@dataclass(frozen=True, slots=True)
class _Kept:
    asked: tuple[RunnerSpec, dict[str, str], int, bool]
    runner: Runner
    scratch: Scratch


_lock = threading.Lock()
_kept: _Kept | None = None


def runner_for(spec: RunnerSpec, environment: dict[str, str], at_once: int = 1, embeds: bool = False) -> Runner:
    """Return this process's runner for `spec`, after closing a kept one that differs.

    For the other parameters see `WorkerPlace`. Its scratch folder exists, even if something cleared the temporary files
    since the last chunk.
    """
    global _kept
    with _lock:
        asked = (spec, environment, at_once, embeds)
        if _kept is not None and _kept.asked == asked and _kept.scratch.ensure():
            return _kept.runner
        _close()
        sweep()
        scratch = Scratch()
        place = WorkerPlace(scratch.path, environment, at_once, embeds)
        _kept = _Kept(asked, spec.open(place), scratch)
        return _kept.runner


def close_runner() -> None:
    """Close this process's runner, if it has one, and remove its scratch folder."""
    with _lock:
        _close()


def _close() -> None:
    global _kept
    if _kept is not None:
        _kept.runner.close()
        _kept.scratch.close()
        _kept = None


atexit.register(close_runner)
