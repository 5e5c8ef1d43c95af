"""Runs that are killed again and again, at random moments, and resumed each time from what the log says."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from tests.flows.conftest import read_summary
from tests.flows.test_infer_ends import wait_until


@pytest.mark.long
def test_runs_killed_at_any_moment_leave_the_outputs_of_one_that_was_not(
    badc, make_recording, make_manifest, fake, tmp_path
):
    chance = random.Random()
    manifest = make_manifest(make_recording(seconds=20))
    words = ["infer", "run", manifest, "--cpu-workers", 2, "--runner-cmd", fake("detector", "--seconds", 0.3)]
    straight = badc(*words, "--output-dir", "straight", "--telemetry-log", tmp_path / "straight.jsonl")
    assert straight.wait(120) == 0
    resume: list[object] = []
    for number in range(6):
        log = tmp_path / f"{number}.jsonl"
        process = badc(*words, "--output-dir", "halting", "--telemetry-log", log, *resume)
        if number < 5:
            wait_until(lambda log=log: log.exists())
            time.sleep(chance.uniform(0, 6))
            os.killpg(process.pid, signal.SIGKILL)
        _, err = process.communicate(timeout=120)
        resume = ["--resume-summary", log]
    assert process.returncode == 0, err
    straight_files, halting_files = (
        {path.name: path.read_bytes() for path in (tmp_path / name / "REC").glob("*.json")}
        for name in ("straight", "halting")
    )
    assert len(straight_files) == 20
    assert halting_files == straight_files
    jobs = [read_summary(tmp_path / f"{name}.jsonl")["jobs"] for name in ("straight", "5")]
    status = [{key: (job["status"], job["recording_id"], job["last_error"]) for key, job in of.items()} for of in jobs]
    assert status[0] == status[1]
