"""What the monitor counts, and that it reads each line of a log once, whatever happens to the file."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

from badc.errors import RequestError
from badc.inference.ledger import WORKER_LOST
from badc.telemetry.monitor import TREND_BUCKET_S, Monitor, chunk_ms
from badc.telemetry.summary import Job, JobStatus, RunState, RunSummary, summary_path, write_summary
from badc.telemetry.summary_scan import SummaryReader
from badc.telemetry.tail import LogChange, LogReader

BEGIN = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)


def at(second: float) -> str:
    return (BEGIN + timedelta(seconds=second)).isoformat(timespec="milliseconds")


def event(status: str, number: int, second: float = 0, worker: str | None = "gpu-0", **details: object) -> bytes:
    """One line of a log; chunk `number` is a minute long."""
    ended = status in ("success", "failure")
    line = {
        "chunk_id": f"REC_chunk_{number * 60_000}_{number * 60_000 + 60_000}",
        "recording_id": "REC",
        "status": status,
        "timestamp": at(second),
        "finished_at": at(second) if ended else None,
        "runtime_s": 2.0 if ended else None,
        "worker": worker,
        "details": {"attempt": 1} | details,
    }
    return orjson.dumps(line) + b"\n"


def gpu_metrics(before: int, after: int, peak: int, mean: int, used_mib: int) -> dict[str, object]:
    loads = {"before": before, "after": after, "peak": peak, "mean": mean}
    return {
        name: {"index": 0, "utilization": load, "memory_used_mb": used_mib, "memory_total_mb": 16384}
        for name, load in loads.items()
    }


def all_lines(reader: LogReader) -> list[bytes]:
    found = []
    while lines := reader.new_lines():
        found += lines
    return found


def older_lines(reader: LogReader) -> list[bytes]:
    found = []
    while lines := reader.older_lines():
        found += lines
    return found


def test_a_half_written_line_waits_for_its_end(tmp_path):
    log = tmp_path / "run.jsonl"
    log.write_bytes(b"one\ntw")
    reader = LogReader(log)
    assert all_lines(reader) == [b"one"]
    assert all_lines(reader) == []
    with log.open("ab") as stream:
        stream.write(b"o\nthree\n")
    assert reader.check() is LogChange.NONE
    assert all_lines(reader) == [b"two", b"three"]


def test_rotation_loses_no_line_and_reads_none_twice(tmp_path):
    log = tmp_path / "run.jsonl"
    log.write_bytes(b"1\n")
    reader = LogReader(log)
    assert all_lines(reader) == [b"1"]
    with log.open("ab") as stream:
        stream.write(b"2\n")  # written after the last look, then rotated away
    log.rename(tmp_path / "run.jsonl.1")
    assert reader.check() is LogChange.MISSING
    log.write_bytes(b"3\n")

    assert reader.check() is LogChange.NONE, "the old file has a line left"
    assert all_lines(reader) == [b"2"]
    assert reader.check() is LogChange.ROTATED
    assert all_lines(reader) == [b"3"]
    assert reader.check() is LogChange.NONE


@pytest.mark.parametrize("content", [b"", b"new\n", b"other than before and longer than it was\n"])
def test_truncation_starts_over_also_when_the_file_has_grown_again(content, tmp_path):
    log = tmp_path / "run.jsonl"
    log.write_bytes(b"old 1\nold 2\n")
    reader = LogReader(log)
    all_lines(reader)
    with log.open("r+b") as stream:  # the same inode
        stream.truncate(0)
        stream.write(content)

    assert reader.check() is LogChange.TRUNCATED
    assert all_lines(reader) == content.splitlines()
    assert reader.check() is LogChange.NONE


@pytest.mark.parametrize("tail_bytes", [1, 7, 100, 5_000, 10**6])
def test_tail_and_older_part_are_all_lines_once(tail_bytes, tmp_path):
    log = tmp_path / "run.jsonl"
    lines = [str(number).encode() * 5 for number in range(2_000)]
    log.write_bytes(b"\n".join(lines) + b"\n")
    reader = LogReader(log, tail_bytes)
    new = all_lines(reader)

    assert older_lines(reader) + new == lines
    assert reader.older_share == 1
    assert sum(map(len, new)) <= tail_bytes


def test_a_line_longer_than_a_block_is_passed_over_and_does_not_stop_the_reader(tmp_path):
    log = tmp_path / "run.jsonl"
    log.write_bytes(b"first\n" + b"x" * (1 << 20) + b"\nlast\n")
    lines = all_lines(LogReader(log))

    assert (lines[0], lines[-1]) == (b"first", b"last")


@pytest.mark.parametrize("name", ["none.jsonl", "."])
def test_a_log_that_cannot_be_read_is_a_request_error_that_names_it(name, tmp_path):
    with pytest.raises(RequestError, match=r"cannot be read.*--log takes"):
        Monitor(tmp_path / name, 5)


def test_what_the_run_says_of_a_worker(tmp_path):
    log = tmp_path / "run.jsonl"
    log.write_bytes(
        event("start", 0, 0)
        + event("start", 1, 0, worker="gpu-1")
        + event("worker_silent", 0, 31, silent_s=31.0, limit_s=120.0)
        + event("worker_retired", 1, 40, worker="gpu-1", error="no kernel image")
    )
    monitor = Monitor(log, 9)
    monitor.refresh()
    gpu, bad = monitor.state.workers["gpu-0"], monitor.state.workers["gpu-1"]
    now_s = (BEGIN + timedelta(seconds=50)).timestamp()
    assert gpu.trouble(now_s) == "silent for 50 s; its chunks run again within 70 s"
    assert bad.trouble(now_s) == "gets no more chunks"
    assert (gpu.events, gpu.failures, monitor.state.unreadable_lines) == (1, 0, 0)
    with log.open("ab") as stream:
        stream.write(event("worker_heard", 0, 60, silent_s=60.0))
    monitor.refresh()
    assert gpu.trouble(now_s) is None
    with log.open("ab") as stream:
        stream.write(event("worker_silent", 0, 90, silent_s="?", limit_s=None))
        stream.write(event("failure", 0, 150, error=WORKER_LOST, failure_kind="worker_lost"))
    monitor.refresh()
    assert gpu.trouble(now_s) is None, "its chunk runs again elsewhere"


def test_counts_per_worker(tmp_path):
    log = tmp_path / "run.jsonl"
    low, high = gpu_metrics(5, 40, 80, 60, 3000), gpu_metrics(10, 50, 97, 80, 9000)
    log.write_bytes(
        event("skipped", 9, worker=None)
        + event("start", 0)
        + event("failure", 0, 2, error="out of memory", backoff_s=1.0, gpu_metrics=low)
        + event("start", 0, 3, attempt=2)
        + event("success", 0, 5, attempt=2, gpu_metrics=high)
        + event("start", 1, 5)
        + event("failure", 1, 6, error=WORKER_LOST, failure_kind="worker_lost")
        + event("start", 1, 6, worker="cpu-0", attempt=2)
        + event("failure", 1, 8, worker="cpu-0", attempt=2, error="broken")
        + b'{"chunk_id": 5}\n[]\nnot json\n\n'
        + event("start", 2, 9)[:30]
    )
    monitor = Monitor(log, 3)
    monitor.refresh()
    gpu, cpu = monitor.state.workers["gpu-0"], monitor.state.workers["cpu-0"]

    assert (gpu.events, gpu.successes, gpu.failures, gpu.retry_attempts, gpu.failed_attempts) == (6, 1, 0, 1, 2)
    assert (cpu.events, cpu.successes, cpu.failures, cpu.retry_attempts, cpu.failed_attempts) == (2, 0, 1, 1, 1)
    assert gpu.mean_runtime_s == 2.0
    assert (gpu.utilization_min, gpu.utilization_mean, gpu.utilization_max) == (5, 70, 97)
    assert (gpu.vram_peak_mib, gpu.vram_total_mib) == (9000, 16384)
    assert cpu.utilization_mean is None
    assert gpu.last_chunk_id == "REC_chunk_60000_120000"
    assert [shown.status for shown in monitor.state.events] == ["failure", "start", "failure"]
    assert (monitor.done, monitor.state.skipped, monitor.state.unreadable_lines) == (2, 1, 3)
    assert monitor.state.audio_ms == 60_000


def test_what_was_before_the_tail_is_counted_and_changes_no_last_event(tmp_path):
    log = tmp_path / "run.jsonl"
    lines = [event("success", number, number, worker=f"gpu-{number % 2}") for number in range(40_000)]
    log.write_bytes(event("success", 0, worker="gpu-7") + b"".join(lines))
    monitor = Monitor(log, 5)
    monitor.refresh(0.0)
    assert monitor.reader.older_share < 1
    assert monitor.state.workers["gpu-0"].events < 20_000
    while monitor.reader.older_share < 1:
        monitor.refresh(0.0)
    monitor.refresh()

    assert monitor.state.successes == 40_001
    assert monitor.state.workers["gpu-0"].events == 20_000
    assert monitor.state.workers["gpu-1"].last_at == at(39_999)
    assert monitor.state.workers["gpu-7"].last_at == at(0), "it is only in the older part"


def test_trends_and_silence(tmp_path):
    log = tmp_path / "run.jsonl"
    begin_s = BEGIN.timestamp()
    log.write_bytes(
        event("start", 0, 1, attempt=2)
        + event("success", 0, 2, gpu_metrics=gpu_metrics(0, 0, 90, 50, 4000))
        + event("success", 1, TREND_BUCKET_S * 2, gpu_metrics=gpu_metrics(0, 0, 90, 70, 5000))
    )
    monitor = Monitor(log, 5)
    monitor.refresh()
    stats = monitor.state.workers["gpu-0"]
    first, nothing, last = stats.recent(begin_s + TREND_BUCKET_S * 2)[-3:]

    assert first is not None
    assert (first.utilization_mean, first.vram_mib, first.retries) == (50, 4000, 1)
    assert nothing is None
    assert last is not None
    assert (last.utilization_mean, last.retries) == (70, 0)
    assert not stats.is_silent(begin_s + TREND_BUCKET_S * 2 + 59)
    assert stats.is_silent(begin_s + TREND_BUCKET_S * 2 + 61)


def write_jobs(log: Path, success: int, failure: int, not_run: int, state: RunState, updated_s: float) -> None:
    statuses = [JobStatus.SUCCESS] * success + [JobStatus.FAILURE] * failure + [JobStatus.NOT_RUN] * not_run
    trap = 'said "status": "success" and "state": "failed"'
    jobs = {
        f"REC_chunk_{number}_{number + 1}": Job("REC", status, last_error=trap)
        for number, status in enumerate(statuses)
    }
    summary = RunSummary(str(log), "m.csv", "stub", at(0), at(updated_s), state=state, jobs=jobs)
    write_summary(summary_path(log), summary)


def test_progress_pace_and_time_left(tmp_path):
    log = tmp_path / "run.jsonl"
    log.write_bytes(event("start", 0) + b"".join(event("success", n, 6 * (n + 1)) for n in range(20)))  # 10 per minute
    write_jobs(log, success=10, failure=5, not_run=85, state=RunState.RUNNING, updated_s=60)
    monitor = Monitor(log, 5)
    monitor.refresh()
    now_s = BEGIN.timestamp() + 120
    pace = monitor.pace(now_s)

    assert monitor.summary.counts is not None
    assert (monitor.summary.counts.total, monitor.summary.counts.failure) == (100, 5)
    assert monitor.done == 20, "10 of the summary and 10 that succeeded after it was written"
    assert pace is not None
    assert pace.chunks_per_min == pytest.approx(10)
    assert pace.audio_h_per_h == pytest.approx(10)
    assert monitor.left_s(now_s) == pytest.approx(75 * 6)


def test_a_large_summary_is_counted_in_slices_and_not_read_again_within_half_a_minute(tmp_path):
    log = tmp_path / "run.jsonl"
    write_jobs(log, success=3000, failure=200, not_run=1800, state=RunState.COMPLETED, updated_s=1)
    reader = SummaryReader(summary_path(log))
    slices = 0
    while reader.counts is None:
        reader.step(time.monotonic())
        slices += 1
    write_jobs(log, success=1, failure=0, not_run=0, state=RunState.COMPLETED, updated_s=2)
    reader.step(float("inf"))

    assert slices > 3
    counts = reader.counts
    assert (counts.total, counts.success, counts.failure, counts.state) == (5000, 3000, 200, RunState.COMPLETED)


def test_truncation_of_the_log_counts_anew_and_rotation_goes_on(tmp_path):
    log = tmp_path / "run.jsonl"
    log.write_bytes(event("success", 0) + event("success", 1))
    monitor = Monitor(log, 5)
    monitor.refresh()
    log.replace(tmp_path / "old")
    monitor.refresh()
    assert monitor.is_missing
    log.write_bytes(event("success", 2))
    monitor.refresh()
    assert (monitor.state.successes, monitor.rotations, monitor.is_missing) == (3, 1, False)
    with log.open("r+b") as stream:
        stream.truncate(0)
    monitor.refresh()
    assert (monitor.state.successes, monitor.truncations) == (0, 1)


@pytest.mark.parametrize(
    ("chunk_id", "expected_ms"),
    [("REC_chunk_0_60000", 60_000), ("a_chunk_1_2_chunk_500_750", 250), ("song-17", 0), ("x_chunk_9_1", 0)],
)
def test_length_of_a_chunk_by_its_id(chunk_id, expected_ms):
    assert chunk_ms(chunk_id) == expected_ms


def end_run(log: Path, state: RunState | None) -> None:
    """Write the summary of a run that ended; without a state, as other programs write it."""
    job = {"status": "success", "attempts": 1, "retries": 0}
    told = {} if state is None else {"state": state.value}
    summary_path(log).write_bytes(orjson.dumps({"telemetry_log": str(log), "jobs": {"a": job}} | told))


@pytest.mark.parametrize("state", [RunState.COMPLETED, RunState.FAILED, RunState.INTERRUPTED, None])
def test_trends_of_a_run_that_has_ended_are_of_its_last_events(tmp_path, state):
    log = tmp_path / "run.jsonl"
    metrics = gpu_metrics(10, 90, 95, 50, 8000)
    log.write_bytes(b"".join(event("success", n, n * 20, gpu_metrics=metrics) for n in range(4)))
    end_run(log, state)
    watched = Monitor(log, 10)
    watched.refresh()
    assert watched.is_over
    for later_s in (61, 120, 86_400):
        end_s = watched.trends_end_s(BEGIN.timestamp() + later_s)
        assert end_s == BEGIN.timestamp() + 60
        buckets = watched.state.workers["gpu-0"].recent(end_s)
        assert [bucket is not None and bucket.utilization_mean for bucket in buckets][-3:] == [50, 50, 50]


def test_trends_of_a_run_under_way_are_of_the_clock_until_nothing_is_left_in_them(tmp_path):
    log = tmp_path / "run.jsonl"
    log.write_bytes(event("success", 0, 0))
    watched = Monitor(log, 10)
    watched.refresh()
    begin_s = BEGIN.timestamp()
    assert watched.trends_end_s(begin_s + 120) == begin_s + 120
    assert watched.trends_end_s(begin_s + 3600) == begin_s
