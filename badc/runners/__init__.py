"""The runners: a stub, any command, HawkEars, BirdNET. One per worker process, made at its first chunk and kept."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import threading
from pathlib import Path

from badc.runners.base import BatchRunner, Runner, RunnerOutput, RunnerSpec, WorkerPlace

__all__ = ["BatchRunner", "Runner", "RunnerOutput", "RunnerSpec", "WorkerPlace", "close_runner", "runner_for"]

_lock = threading.Lock()
_current: tuple[RunnerSpec, dict[str, str], Runner, Path] | None = None


def runner_for(spec: RunnerSpec, environment: dict[str, str]) -> Runner:
    """Return this process's runner for `spec`; another one that was kept is closed first.

    Parameters
    ----------
    spec
        The runner's settings.
    environment
        Variables for its processes (see `WorkerPlace`).
    """
    global _current
    with _lock:
        if _current is not None and _current[:2] == (spec, environment):
            return _current[2]
        _close()
        _sweep()
        scratch = Path(tempfile.mkdtemp(prefix=f"badc-{os.getpid()}-"))
        runner = spec.open(WorkerPlace(scratch, environment))
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
        shutil.rmtree(_current[3], ignore_errors=True)
        _current = None


def _sweep() -> None:
    """Remove the scratch folders of workers that were killed."""
    for folder in Path(tempfile.gettempdir()).glob("badc-*-*"):
        pid = folder.name.split("-")[1]
        if pid.isdigit() and not Path("/proc", pid).exists():
            shutil.rmtree(folder, ignore_errors=True)


atexit.register(close_runner)
