"""A scheduler of somebody else's that is gone for good, or hangs: the run ends by itself, and can be resumed."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from badc.telemetry.events import EventStatus
from tests.flows.conftest import read_summary, unended_starts
from tests.flows.test_infer_ends import wait_until
from tests.flows.test_infer_joined import events, worker_words

pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.mark.parametrize(
    ("number", "why"),
    [(signal.SIGKILL, "it has closed the connection"), (signal.SIGSTOP, "it has not answered for 15 s")],
)
def test_a_run_whose_scheduler_is_lost_ends_and_is_resumed(
    badc, dask, make_recording, make_manifest, fake, tmp_path, number, why
) -> None:
    scheduler_file, log = tmp_path / "scheduler.json", tmp_path / "run.jsonl"
    scheduler = dask(
        "scheduler", "--host", "127.0.0.1", "--port", 0, "--no-dashboard", "--scheduler-file", scheduler_file
    )
    wait_until(scheduler_file.exists)
    dask(*worker_words(scheduler_file))
    manifest, command = make_manifest(make_recording(seconds=20)), fake("detector", "--seconds", 0.5)
    process = badc(
        *("infer", "run", manifest, "--output-dir", "out", "--telemetry-log", log, "--runner-cmd", command),
        *("--scheduler", json.loads(scheduler_file.read_text())["address"], "--worker-timeout", 15),
    )
    wait_until(lambda: len(events(log, EventStatus.SUCCESS)) >= 2)
    begin = time.monotonic()
    os.kill(scheduler.pid, number)
    _, err = process.communicate(timeout=120)

    assert time.monotonic() - begin < 60
    assert process.returncode == 1, err
    assert f" is lost: {why}; resume the run with another one, or without" in err
    assert "Resume with: badc infer run" in err
    assert "Traceback" not in err
    summary = read_summary(log)
    assert summary["state"] == "failed"
    assert {job["status"] for job in summary["jobs"].values()} == {"success", "not_run"}
    assert unended_starts(log) == []
    again = badc(
        *("infer", "run", manifest, "--output-dir", "out", "--runner-cmd", command, "--cpu-workers", 2),
        *("--resume-summary", f"{log}.summary.json"),
    )
    out, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    assert "done before" in out
