"""Runs that join a Dask scheduler whose workers were started by hand, as on several machines."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest

from badc.telemetry.events import EventStatus, read_events
from tests.flows.conftest import unended_starts

pytestmark = pytest.mark.slow


def worker_words(scheduler_file: Path, kind: str = "worker", nanny: bool = False) -> list[object]:
    cuda = kind == "cuda"
    words: list[object] = ["cuda", "worker"] if cuda else ["worker"]
    words += ["--scheduler-file", scheduler_file, "--dashboard-address", "127.0.0.1:0", "--no-dashboard"]
    return words + ([] if cuda else ["--nthreads", 1, "--memory-limit", 0, "--nanny" if nanny else "--no-nanny"])


def wait_for(condition, timeout_s: float = 60.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def events(log: Path, status: EventStatus) -> list:
    return [event for event in read_events(log) if event.status is status] if log.exists() else []


@pytest.mark.long
def test_workers_may_join_and_leave_in_mid_run(badc, dask, make_recording, make_manifest, fake, tmp_path):
    import json

    scheduler_file = tmp_path / "scheduler.json"
    dask("scheduler", "--host", "127.0.0.1", "--port", 0, "--no-dashboard", "--scheduler-file", scheduler_file)
    wait_for(scheduler_file.exists)
    first = dask(*worker_words(scheduler_file))
    log = tmp_path / "run.jsonl"
    process = badc(
        *("infer", "run", make_manifest(make_recording(seconds=24)), "--output-dir", "out", "--telemetry-log", log),
        *("--runner-cmd", fake("detector", "--seconds", 1), "--max-retries", 0),
        *("--scheduler", json.loads(scheduler_file.read_text())["address"]),
    )
    wait_for(lambda: len(events(log, EventStatus.SUCCESS)) >= 2)
    dask(*worker_words(scheduler_file))
    wait_for(lambda: len({event.worker for event in events(log, EventStatus.SUCCESS)}) == 2)
    first.kill()
    _, err = process.communicate(timeout=120)

    assert process.returncode == 0, err
    assert len({event.chunk_id for event in events(log, EventStatus.SUCCESS)}) == 24
    assert {event.worker for event in read_events(log)} == {"cpu-0", "cpu-1"}
    assert unended_starts(log) == []


@pytest.mark.long
def test_a_machine_that_hangs_is_given_up_when_the_scheduler_says(
    badc, dask, frozen, make_recording, make_manifest, fake, tmp_path
):
    import json

    scheduler_file = tmp_path / "scheduler.json"
    dask(
        *("scheduler", "--host", "127.0.0.1", "--port", 0, "--no-dashboard", "--scheduler-file", scheduler_file),
        DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL="5s",
    )
    wait_for(scheduler_file.exists)
    machines = [dask(*worker_words(scheduler_file, nanny=True)) for _ in range(2)]
    log = tmp_path / "run.jsonl"
    process = badc(
        *("infer", "run", make_manifest(make_recording(seconds=10)), "--output-dir", "out", "--telemetry-log", log),
        *("--runner-cmd", fake("detector", "--seconds", 1), "--max-retries", 0),
        *("--scheduler", json.loads(scheduler_file.read_text())["address"]),
    )
    wait_for(lambda: len({event.worker for event in events(log, EventStatus.START)}) == 2)
    nanny = psutil.Process(machines[0].pid)
    for each in (nanny, *nanny.children(recursive=True)):
        frozen(each)
    _, err = process.communicate(timeout=120)

    assert process.returncode == 0, err
    assert len({event.chunk_id for event in events(log, EventStatus.SUCCESS)}) == 10
    assert unended_starts(log) == []


@pytest.mark.long
def test_workers_of_dask_cuda_are_known_by_their_gpu(
    infer, dask, gpu_driver, make_recording, make_manifest, fake, tmp_path
):
    import json

    scheduler_file = tmp_path / "scheduler.json"
    dask("scheduler", "--host", "127.0.0.1", "--port", 0, "--no-dashboard", "--scheduler-file", scheduler_file)
    wait_for(scheduler_file.exists)
    dask(*worker_words(scheduler_file, "cuda"), **gpu_driver)
    infer(
        make_manifest(make_recording(seconds=6)),
        runner_cmd=fake("detector", "--seconds", 0.5),
        scheduler=json.loads(scheduler_file.read_text())["address"],
    )
    done = events(tmp_path / "run.jsonl", EventStatus.SUCCESS)
    assert len(done) == 6
    assert {event.worker for event in done} <= {"gpu-0", "gpu-1"}
    assert {event.gpu_index for event in done} <= {0, 1}
    assert done[0].details["gpu_metrics"]["peak"]["memory_total_mb"] == 16384
