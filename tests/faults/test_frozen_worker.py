"""A worker that is frozen: its chunk runs again on another, after a time that is stated."""

from __future__ import annotations

import re
import socket
import subprocess
import time

import psutil
import pytest

from badc.telemetry.events import EventStatus, read_events
from tests.flows.conftest import read_summary, unended_starts
from tests.flows.test_infer_ends import successes, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.long]


def _detectors(run: int) -> list[psutil.Process]:
    return [p for p in psutil.Process(run).children(recursive=True) if "detector.py" in str(p.cmdline())]


def _busy_worker(process: subprocess.Popen[str]) -> psutil.Process:
    """Wait for a worker of a run to have its command going, and return it."""
    while not (detectors := _detectors(process.pid)):
        assert process.poll() is None
    worker = detectors[0].parent()
    assert worker is not None
    return worker


def test_the_chunk_of_a_frozen_worker_runs_again_in_time(
    badc, frozen, make_recording, make_manifest, fake, tmp_path
) -> None:
    log = tmp_path / "run.jsonl"
    process = badc(
        *("infer", "run", make_manifest(make_recording(seconds=30)), "--output-dir", "out", "--telemetry-log", log),
        *("--runner-cmd", fake("detector", "--seconds", 1), "--cpu-workers", 2, "--worker-timeout", 40),
    )
    wait_until(lambda: len(successes(log)) >= 3)
    victim = _busy_worker(process)
    begin = time.monotonic()
    frozen(victim)
    _, err = process.communicate(timeout=120)

    assert process.returncode == 0, err
    assert time.monotonic() - begin < 90
    host = socket.gethostname()
    assert re.search(rf"cpu-\d on {host}: silent for 1\d s; its chunks run again within (2\d|30) s", err)
    assert re.search(rf"cpu-\d on {host}: given up after \d+ s; its chunks run again", err)
    (silent,) = [event for event in read_events(log) if event.status is EventStatus.WORKER_SILENT]
    assert silent.host == host
    assert silent.details["limit_s"] == 40
    assert [job["status"] for job in read_summary(log)["jobs"].values()] == ["success"] * 30
    assert unended_starts(log) == []
    (lost,) = [event for event in read_events(log) if event.status is EventStatus.FAILURE]
    assert lost.details["failure_kind"] == "worker_lost"
    assert "Traceback" not in err


def test_a_worker_that_wakes_up_in_time_is_said_to_and_nothing_is_lost(
    badc, frozen, make_recording, make_manifest, fake, tmp_path
) -> None:
    log = tmp_path / "run.jsonl"
    process = badc(
        *("infer", "run", make_manifest(make_recording(seconds=6)), "--output-dir", "out", "--telemetry-log", log),
        *("--runner-cmd", fake("detector", "--seconds", 2), "--cpu-workers", 1, "--worker-timeout", 120),
    )
    wait_until(lambda: len(successes(log)) >= 1)
    victim = _busy_worker(process)
    frozen(victim)
    wait_until(lambda: "worker_silent" in log.read_text(), 60)
    shown = badc("infer", "monitor", "--log", log).communicate(timeout=60)[0]
    assert "cpu-0 on " in shown
    assert "its chunks run again within" in shown
    victim.resume()
    _, err = process.communicate(timeout=120)

    assert process.returncode == 0, err
    assert "gives signs of life again" in err
    statuses = [event.status for event in read_events(log)]
    assert statuses.count(EventStatus.WORKER_SILENT) == statuses.count(EventStatus.WORKER_HEARD) == 1
    assert statuses.count(EventStatus.SUCCESS) == 6
    assert EventStatus.FAILURE not in statuses
