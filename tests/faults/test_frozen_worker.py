"""A worker that is frozen: its chunk runs again on another, after a time that is stated."""

from __future__ import annotations

import time

import psutil
import pytest

from badc.telemetry.events import EventStatus, read_events
from tests.flows.conftest import read_summary, unended_starts
from tests.flows.test_infer_ends import successes, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.long]


def _detectors(run: int) -> list[psutil.Process]:
    return [p for p in psutil.Process(run).children(recursive=True) if "detector.py" in str(p.cmdline())]


def test_the_chunk_of_a_frozen_worker_runs_again_in_time(
    badc, frozen, make_recording, make_manifest, fake, tmp_path
) -> None:
    log = tmp_path / "run.jsonl"
    process = badc(
        *("infer", "run", make_manifest(make_recording(seconds=30)), "--output-dir", "out", "--telemetry-log", log),
        *("--runner-cmd", fake("detector", "--seconds", 1), "--cpu-workers", 2, "--worker-timeout", 10),
    )
    wait_until(lambda: len(successes(log)) >= 3)
    while not (detectors := _detectors(process.pid)):
        assert process.poll() is None
    victim = detectors[0].parent()
    assert victim is not None
    begin = time.monotonic()
    frozen(victim)
    _, err = process.communicate(timeout=120)

    assert process.returncode == 0, err
    assert time.monotonic() - begin < 60
    assert [job["status"] for job in read_summary(log)["jobs"].values()] == ["success"] * 30
    assert unended_starts(log) == []
    (lost,) = [event for event in read_events(log) if event.status is EventStatus.FAILURE]
    assert lost.details["failure_kind"] == "worker_lost"
    assert "Traceback" not in err
