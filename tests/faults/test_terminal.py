"""A terminal that is closed while a run is under way."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from badc.telemetry.events import EventStatus, read_events
from tests.conftest import ROOT
from tests.flows.conftest import read_summary, unended_starts
from tests.flows.test_infer_ends import successes, wait_until

pytestmark = pytest.mark.slow


def _started(tmp_path: Path, api: str, manifest: Path, fake: Any, *before: str) -> tuple[subprocess.Popen[bytes], int]:
    """Start a run in a terminal of its own, of which it is the first process; return it and the terminal."""
    mine, its = pty.openpty()
    command = [*before, sys.executable, "-m", "flows", "infer", "run", str(manifest), "--cpu-workers", "1"]
    command += ["--runner-cmd", fake("detector", "--seconds", 0.5), "--telemetry-log", "run.jsonl"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=os.environ | {"PREFECT_API_URL": api, "PYTHONPATH": str(ROOT)},
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
        preexec_fn=lambda: _take_terminal(its),
    )
    os.close(its)
    return process, mine


def _take_terminal(descriptor: int) -> None:
    import fcntl
    import termios

    fcntl.ioctl(descriptor, termios.TIOCSCTTY, 0)


def test_a_run_whose_terminal_is_closed_ends_as_after_ctrl_c(
    prefect_api, make_recording, make_manifest, fake, tmp_path
) -> None:
    process, terminal = _started(tmp_path, prefect_api, make_manifest(make_recording(seconds=40)), fake)
    log = tmp_path / "run.jsonl"
    wait_until(lambda: len(successes(log)) >= 2)
    children = psutil.Process(process.pid).children(recursive=True)
    os.close(terminal)  # the kernel sends SIGHUP
    assert process.wait(60) == 130
    assert read_summary(log)["state"] == "interrupted"
    assert unended_starts(log) == []
    assert EventStatus.FAILURE not in {event.status for event in read_events(log)}
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []


@pytest.mark.long
def test_under_nohup_it_goes_on(prefect_api, make_recording, make_manifest, fake, tmp_path) -> None:
    process, terminal = _started(tmp_path, prefect_api, make_manifest(make_recording(seconds=8)), fake, "nohup")
    log = tmp_path / "run.jsonl"
    wait_until(lambda: len(successes(log)) >= 2)
    os.close(terminal)
    os.kill(process.pid, signal.SIGHUP)
    assert process.wait(90) == 0
    assert read_summary(log)["state"] == "completed"
