"""The runner of this worker process: made at its first chunk, and kept."""

from __future__ import annotations

import atexit
import threading
from dataclasses import dataclass

from badc.runners.interface import Runner, RunnerSpec, WorkerPlace
from badc.system.scratch import Scratch, sweep


@dataclass(frozen=True, slots=True)
class _Kept:
    spec: RunnerSpec
    environment: dict[str, str]
    runner: Runner
    scratch: Scratch


_lock = threading.Lock()
_kept: _Kept | None = None


def runner_for(spec: RunnerSpec, environment: dict[str, str]) -> Runner:
    """Return this process's runner for `spec`, after closing a kept one that differs.

    `environment` holds variables for its processes (see `WorkerPlace`). Its scratch folder exists, even if something
    cleared the temporary files since the last chunk.
    """
    global _kept
    with _lock:
        if _kept is not None and (_kept.spec, _kept.environment) == (spec, environment) and _kept.scratch.ensure():
            return _kept.runner
        _close()
        sweep()
        scratch = Scratch()
        _kept = _Kept(spec, environment, spec.open(WorkerPlace(scratch.path, environment)), scratch)
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
