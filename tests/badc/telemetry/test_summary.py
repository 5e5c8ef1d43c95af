"""Summaries: what is written, and what a later run reads of a summary or a telemetry log."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from badc.chunks.manifest import Chunk
from badc.errors import RequestError
from badc.telemetry.summary import (
    Job,
    JobStatus,
    RunSummary,
    WorkerCount,
    read_jobs,
    summary_path,
    workers_csv_path,
    write_summary,
    write_workers_csv,
)

MakeChunk = Callable[..., Chunk]


def summary(path: Path, jobs: Any) -> Path:
    path.write_text(json.dumps({"jobs": jobs}))
    return path


def log(path: Path, *events: dict[str, Any], half: str = "") -> Path:
    lines = [json.dumps({"recording_id": "REC", "timestamp": "2024-05-01T00:00:00Z", **event}) for event in events]
    path.write_text("".join(line + "\n" for line in lines) + half)
    return path


def test_summary_and_workers_lie_beside_the_log() -> None:
    assert summary_path(Path("a/r.jsonl")) == Path("a/r.jsonl.summary.json")
    assert workers_csv_path(Path("a/r.jsonl")) == Path("a/r.jsonl.summary.json.workers.csv")


def test_what_is_written_is_read_back(tmp_path: Path, chunk: MakeChunk) -> None:
    job = Job("REC", JobStatus.FAILURE, 3, 2, "out/x.json", "gpu-0", 4.0, "no luck")
    written = RunSummary("r.jsonl", "m.csv", "stub", "t0", "t1", jobs={chunk().chunk_id: job})
    write_summary(tmp_path / "s.json", written)
    assert (tmp_path / "s.json").read_bytes().endswith(b"}\n")
    assert read_jobs(tmp_path / "s.json").find(chunk()) == job


def test_the_workers_table_is_sorted_and_counts_ended_chunks(tmp_path: Path) -> None:
    write_workers_csv(tmp_path / "w.csv", {"gpu-1": WorkerCount(1, 2, 3, 4, "node1"), "cpu-0": WorkerCount()})
    assert (tmp_path / "w.csv").read_text() == (
        "worker,jobs,success,failure,retries,failed_retries,host\ncpu-0,0,0,0,0,0,\ngpu-1,3,1,2,3,4,node1\n"
    )


def test_a_summary_of_another_tool_needs_only_a_status(tmp_path: Path, chunk: MakeChunk) -> None:
    path = summary(tmp_path / "s.json", {chunk().chunk_id: {"status": "success", "theirs": [1]}})
    job = read_jobs(path).find(chunk())
    assert job is not None
    assert job.status is JobStatus.SUCCESS
    assert read_jobs(path).find(chunk(start_ms=5000, end_ms=6000)) is None


def test_chunks_are_found_whatever_key_the_earlier_run_gave_them(tmp_path: Path, chunk: MakeChunk) -> None:
    jobs = {
        "A/c": {"status": "success", "recording_id": "A"},
        "c": {"status": "failure", "recording_id": "B"},
    }
    found = read_jobs(summary(tmp_path / "s.json", jobs))
    first, second = found.find(chunk("A", chunk_id="c")), found.find(chunk("B", chunk_id="c"))
    assert first is not None
    assert first.status is JobStatus.SUCCESS
    assert second is not None
    assert second.status is JobStatus.FAILURE
    assert found.find(chunk("C", chunk_id="c")) is None


@pytest.mark.parametrize(
    "jobs",
    [
        [],
        "text",
        None,
        {"c": None},
        {"c": []},
        {"c": {}},
        {"c": {"status": "finished"}},
        {"c": {"status": []}},
        {"c": {"status": "success", "recording_id": []}},
    ],
)
def test_jobs_that_are_none_are_refused_with_the_file(tmp_path: Path, jobs: Any) -> None:
    path = summary(tmp_path / "s.json", jobs)
    with pytest.raises(RequestError, match=r"s\.json"):
        read_jobs(path)


@pytest.mark.parametrize("data", [b"", b"[]", b"5", b'{"a": 1}', b"{", b"\xff\xfe", b'{"jobs": {"caf\xe9": {}}}'])
def test_a_file_that_is_no_summary_is_refused_with_what_to_give(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "s.json").write_bytes(data)
    with pytest.raises(RequestError, match=r"s\.json: .*--resume-summary takes"):
        read_jobs(tmp_path / "s.json")


def test_a_folder_is_no_run_to_resume(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="cannot be read"):
        read_jobs(tmp_path)


def test_a_log_tells_what_was_done_however_the_run_ended(tmp_path: Path, chunk: MakeChunk) -> None:
    path = log(
        tmp_path / "r.jsonl",
        {"chunk_id": "a", "status": "start", "worker": "gpu-0"},
        {"chunk_id": "a", "status": "failure", "details": {"error": "no", "backoff_s": 2.0}},
        {"chunk_id": "a", "status": "start", "worker": "gpu-1"},
        {"chunk_id": "a", "status": "success", "details": {"output": "out/a.json"}},
        {"chunk_id": "b", "status": "start"},
        {"chunk_id": "c", "status": "skipped", "details": {"output": "out/c.json"}},
        {"chunk_id": "d", "status": "start"},
        {"chunk_id": "d", "status": "failure", "details": {"error": "broken"}},
        half='{"chunk_id": "b", "recording_id": "REC", "status": "succ',
    )
    jobs = read_jobs(path)
    found = {chunk_id: jobs.find(chunk(chunk_id=chunk_id)) for chunk_id in "abcd"}
    assert {key: job.status for key, job in found.items() if job} == {
        "a": JobStatus.SUCCESS,
        "b": JobStatus.NOT_RUN,
        "c": JobStatus.SUCCESS,
        "d": JobStatus.FAILURE,
    }
    assert found["a"] == Job("REC", JobStatus.SUCCESS, 2, 1, "out/a.json", "gpu-1", 2.0)


def test_what_a_log_once_calls_done_stays_done(tmp_path: Path, chunk: MakeChunk) -> None:
    """A second attempt, by a worker that was thought lost, takes nothing back; files are checked anyway."""
    path = log(
        tmp_path / "r.jsonl",
        {"chunk_id": "a", "status": "success", "details": {"output": "out/a.json"}},
        {"chunk_id": "a", "status": "start"},
        {"chunk_id": "a", "status": "failure", "details": {"error": "interrupted"}},
    )
    job = read_jobs(path).find(chunk(chunk_id="a"))
    assert job is not None
    assert job.status is JobStatus.SUCCESS


@pytest.mark.parametrize(
    "line",
    [
        '{"chunk_id": "a", "recording_id": "REC", "status": "failure", "timestamp": "t", "details": "text"}',
        '{"chunk_id": ["a"], "recording_id": "REC", "status": "success", "timestamp": "t"}',
        '{"chunk_id": "a", "recording_id": {}, "status": "success", "timestamp": "t"}',
        '{"chunk_id": "a", "status": "finished", "timestamp": "t"}',
        "null",
        "5",
        "not json",
        "",
    ],
)
def test_lines_of_a_log_that_are_no_events_are_passed_over(tmp_path: Path, chunk: MakeChunk, line: str) -> None:
    path = log(tmp_path / "r.jsonl", {"chunk_id": "b", "status": "success", "details": {"output": "o"}})
    path.write_text(f"{line}\n{path.read_text()}")
    jobs = read_jobs(path)
    found = jobs.find(chunk(chunk_id="b"))
    assert found is not None
    assert found.status is JobStatus.SUCCESS


def test_a_log_without_any_event_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text("what is this\nno idea\n")
    with pytest.raises(RequestError, match="holds no telemetry events"):
        read_jobs(tmp_path / "r.jsonl")


def test_an_empty_log_is_a_run_that_did_nothing(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").touch()
    assert len(read_jobs(tmp_path / "r.jsonl")) == 0


def test_the_other_jobs_keep_keys_that_do_not_clash(tmp_path: Path, chunk: MakeChunk) -> None:
    jobs = {
        "A/c": {"status": "success", "recording_id": "A"},
        "B/c": {"status": "success", "recording_id": "B"},
        "d": {"status": "success", "recording_id": "B"},
    }
    others = read_jobs(summary(tmp_path / "s.json", jobs)).others([chunk("A", chunk_id="c")])
    assert sorted(others) == ["B/c", "d"]
