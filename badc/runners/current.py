"""The runners: a stub, any command, HawkEars, BirdNET. One per worker process, made at its first chunk and kept."""

from __future__ import annotations

import atexit
import threading

from badc.runners.interface import Runner, RunnerSpec, WorkerPlace
from badc.system.scratch import Scratch, sweep

_lock = threading.Lock()
_current: tuple[RunnerSpec, dict[str, str], Runner, Scratch] | None = None


def runner_for(spec: RunnerSpec, environment: dict[str, str]) -> Runner:
    """Return this process's runner for `spec`; another one that was kept is closed first.

    Its scratch folder is there, even if something cleared the temporary files since the last chunk.

    Parameters
    ----------
    spec
        The runner's settings.
    environment
        Variables for its processes (see `WorkerPlace`).
    """
    global _current
    with _lock:
        if _current is not None and _current[:2] == (spec, environment) and _current[3].ensure():
            return _current[2]
        _close()
        sweep()
        scratch = Scratch()
        runner = spec.open(WorkerPlace(scratch.path, environment))
        _current = (spec, environment, runner, scratch)
        return runner


def close_runner() -> None:
    """Close this process's runner, if it has one, and remove its scratch folder."""
    with _lock:
        _close()


def _close() -> None:
    global _current
    if _current is not None:
        _current[2].close()
        _current[3].close()
        _current = None


atexit.register(close_runner)
