"""Several chunks at once in one host, on a simulated GPU: a stand-in for HawkEars, in the real cluster and flow."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

import pytest

from badc.telemetry.events import ChunkEvent, EventStatus, read_events
from tests.conftest import FAKES
from tests.flows.conftest import read_summary, unended_starts

pytestmark = pytest.mark.slow


@pytest.fixture
def at_once_run(badc, gpu_driver, make_recording, make_manifest, tmp_path):
    """Run the stand-in on a simulated GPU; return the ends of the attempts, what the run said, and its exit code."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={FAKES / "hawkears2"} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (tmp_path / "root" / "data" / "ckpt").mkdir(parents=True)

    def run(*words: object, chunks: int = 9, **environment: str) -> tuple[list[ChunkEvent], str, int]:
        given = ("--use-hawkears", "--hawkears-engine", "resident", "--hawkears-python", python)
        given += ("--hawkears-data", "root", "--telemetry-log", "run.jsonl", "--output-dir", "out")
        process = badc(
            *("infer", "run", make_manifest(make_recording(seconds=chunks)), *given, *words),
            **{**gpu_driver, "FAKE_NVML_GPUS": "1", "HAWKEARS2_LOADS": str(tmp_path / "loads"), **environment},
        )
        _, err = process.communicate(timeout=180)
        assert unended_starts(tmp_path / "run.jsonl") == []
        ends = [e for e in read_events(tmp_path / "run.jsonl") if e.status is not EventStatus.START]
        return ends, err, process.returncode

    return run


def most_at_once(ends: list[ChunkEvent]) -> int:
    """Return how many attempts at most were under way at the same time."""
    spans = [(datetime.fromisoformat(e.timestamp), datetime.fromisoformat(str(e.finished_at))) for e in ends]
    return max(sum(begin <= at < end for begin, end in spans) for at, _ in spans)


def hosts_and_loads(folder: Path) -> tuple[int, int]:
    """Return how many processes loaded models, and how many times."""
    lines = [line.split("\t") for line in (folder / "loads").read_text().splitlines()]
    loads = [pid for what, pid, _ in lines if what == "models"]
    return len(set(loads)), len(loads)


@pytest.mark.long
def test_hawkears_on_a_gpu_gets_three_chunks_at_once_in_one_host(at_once_run, tmp_path):
    ends, err, code = at_once_run(HAWKEARS2_NETWORK_S="0.5")
    assert code == 0, err
    assert most_at_once(ends) == 3
    assert hosts_and_loads(tmp_path) == (1, 3)
    assert {(event.worker, event.details["chunks_at_once"]) for event in ends} == {("gpu-0", 3)}
    assert all(event.details["gpu_metrics"]["peak"]["utilization"] == 50 for event in ends)
    summary = read_summary(tmp_path / "run.jsonl")
    assert (summary["state"], summary["workers"]["gpu-0"]["success"]) == ("completed", 9)


@pytest.mark.long
def test_a_number_and_a_worker_without_a_gpu(at_once_run, tmp_path):
    ends, err, code = at_once_run("--chunks-at-once", 2, "--max-gpus", 0, HAWKEARS2_NETWORK_S="0.5")
    assert code == 0, err
    assert most_at_once(ends) == 2
    assert hosts_and_loads(tmp_path) == (1, 2)


@pytest.mark.long
def test_a_chunk_that_crashes_the_host_fails_alone(at_once_run):
    crash = {"HAWKEARS2_NETWORK_S": "1.5", "HAWKEARS2_CRASH": "_chunk_4000_"}
    ends, err, code = at_once_run("--keep-going", **crash)
    assert code == 1
    failed = [event for event in ends if event.status is EventStatus.FAILURE]
    others = [event for event in failed if "_chunk_4000_" not in event.chunk_id]
    assert len(failed) - len(others) == 3, "the first attempt and two retries"
    assert 1 <= len(others) <= 2, "it took along what was in the host with it, but once only"
    assert all("the host process ended with exit code 9" in event.details["error"] for event in failed)
    assert len({event.chunk_id for event in ends if event.status is EventStatus.SUCCESS}) == 8, err


@pytest.mark.long
def test_gpu_memory_for_two_makes_it_two_at_once_which_is_said_once(at_once_run):
    ends, err, code = at_once_run(chunks=15, HAWKEARS2_NETWORK_S="0.4", HAWKEARS2_FITS="2")
    assert code == 0, err
    failed = [event for event in ends if event.status is EventStatus.FAILURE]
    assert {event.details["failure_kind"] for event in failed} == {"gpu_out_of_memory"}
    assert 1 <= len(failed) <= 2
    assert err.count("gpu-0: from now on 2 chunks at once") == 1
    assert ends[-1].details["chunks_at_once"] == 2
    after = [event for event in ends if event.timestamp > max(str(e.finished_at) for e in failed)]
    assert most_at_once(after) == 2


def test_a_runner_that_takes_one_chunk_refuses_more(badc, make_recording, make_manifest):
    process = badc("infer", "run", make_manifest(make_recording()), "--chunks-at-once", 2)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "--chunks-at-once 2" in err
    assert "one chunk at a time" in err
