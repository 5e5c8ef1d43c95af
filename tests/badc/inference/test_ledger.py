"""The books of a run: what workers report, in whatever order and however often, becomes telemetry and a summary."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from badc.detections.result import result_path
from badc.inference.attempt import Attempt
from badc.inference.ledger import WORKER_LOST, RunLedger
from badc.inference.plan import InferPlan, plan_inference
from badc.inference.settings import InferSettings
from badc.inference.worker import infer_chunks
from badc.system.clock import now
from badc.telemetry.summary import JobStatus, RunState, read_jobs, summary_path, workers_csv_path

pytestmark = pytest.mark.usefixtures("_fresh_runner")
Lines = Callable[[Path], list[dict[str, Any]]]
KEY = "REC_chunk_0_1000"
NEXT = "REC_chunk_1000_2000"


def begun(key: str = KEY, gpu: int | None = None) -> Attempt:
    return Attempt(key, gpu, None if gpu is None else f"GPU {gpu}", host=None if gpu is None else "node1")


def over(attempt: Attempt, error: str | None = None, runtime_s: float = 1.0) -> Attempt:
    details = {"output": f"out/{attempt.key}.json", "runner": "stub"} if error is None else {"error": error}
    return replace(attempt, finished_at=now(), ok=error is None, runtime_s=runtime_s, details=details)


def events(plan: InferPlan, lines_of: Lines) -> list[tuple[str, str, int | None]]:
    return [(line["chunk_id"], line["status"], line["details"].get("attempt")) for line in lines_of(plan.telemetry_log)]


def assert_every_start_has_one_end(lines: list[dict[str, Any]]) -> None:
    starts: Counter[tuple[str, int]] = Counter()
    ends: Counter[tuple[str, int]] = Counter()
    for line in lines:
        if line["status"] != "skipped":
            counter = starts if line["status"] == "start" else ends
            counter[line["chunk_id"], line["details"]["attempt"]] += 1
    assert starts == ends
    assert set(starts.values()) <= {1}


def test_a_run_from_start_to_end(plan: Callable[..., InferPlan], lines_of: Lines) -> None:
    made = plan(seconds=2)
    ledger = RunLedger(made)
    assert json.loads(summary_path(made.telemetry_log).read_bytes())["state"] == "running"
    for key, gpu in ((KEY, 1), (NEXT, None)):
        attempt = begun(key, gpu)
        label = "cpu-0" if gpu is None else f"gpu-{gpu}"
        ledger.started(attempt, label)
        assert ledger.progress().running == 1
        ledger.ended(over(attempt), label)
    ledger.finish(RunState.COMPLETED)

    lines = lines_of(made.telemetry_log)
    assert [line["status"] for line in lines] == ["start", "success"] * 2
    assert (lines[1]["worker"], lines[1]["gpu_index"], lines[1]["gpu_name"]) == ("gpu-1", 1, "GPU 1")
    assert (lines[2]["worker"], lines[2]["gpu_index"], lines[2]["gpu_name"]) == ("cpu-0", None, None)
    assert [line["host"] for line in lines] == ["node1", "node1", None, None]
    assert lines[1]["recording_id"] == "REC"
    assert (lines[0]["finished_at"], lines[0]["runtime_s"]) == (None, None)
    assert lines[1]["runtime_s"] == 1.0
    summary = json.loads(summary_path(made.telemetry_log).read_bytes())
    assert (summary["state"], summary["runner"]) == ("completed", "stub")
    assert summary["telemetry_log"] == str(made.telemetry_log)
    assert summary["manifest"] == str(made.manifest.path)
    assert summary["jobs"][KEY] == {
        "recording_id": "REC",
        "status": "success",
        "attempts": 1,
        "retries": 0,
        "output": f"out/{KEY}.json",
        "worker": "gpu-1",
        "last_backoff_s": None,
        "last_error": None,
    }
    assert workers_csv_path(made.telemetry_log).read_text() == (
        "worker,jobs,success,failure,retries,failed_retries,host\ncpu-0,1,1,0,0,0,\ngpu-1,1,1,0,0,0,node1\n"
    )


def test_news_of_workers_is_for_people_and_nothing_follows_from_it(
    plan: Callable[..., InferPlan], lines_of: Lines
) -> None:
    made = plan(seconds=2)
    ledger = RunLedger(made)
    attempt = begun(KEY, 0)
    ledger.started(attempt, "gpu-0")
    ledger.worker_is_silent("gpu-0", KEY, 31.04, 120.0)
    ledger.worker_is_retired("gpu-1", NEXT, "no kernel image")
    assert ledger.progress().troubles == ("gpu-0 silent for 31 s", "gpu-1 gets no more chunks")
    assert "; gpu-0 silent for 31 s" in ledger.progress().describe()
    assert "silent" not in ledger.progress().describe(ended=True)
    ledger.worker_is_heard("gpu-0", KEY, 40.0)
    assert ledger.progress().troubles == ("gpu-1 gets no more chunks",)
    assert ledger.named("gpu-0") == "gpu-0 on node1"
    assert ledger.named("gpu-1") == "gpu-1"
    ledger.ended(over(attempt), "gpu-0")
    ledger.finish(RunState.INTERRUPTED)
    news = [line for line in lines_of(made.telemetry_log) if line["status"].startswith("worker_")]
    assert [(line["status"], line["worker"], line["host"], line["chunk_id"], line["details"]) for line in news] == [
        ("worker_silent", "gpu-0", "node1", KEY, {"silent_s": 31.0, "limit_s": 120.0}),
        ("worker_retired", "gpu-1", None, NEXT, {"error": "no kernel image"}),
        ("worker_heard", "gpu-0", "node1", KEY, {"silent_s": 40.0}),
    ]
    jobs = read_jobs(made.telemetry_log)
    done = [jobs.find(chunk) for chunk in made.manifest.chunks]
    assert done[1] is None
    assert done[0] is not None
    assert (done[0].status, done[0].attempts) == (JobStatus.SUCCESS, 1)


def test_a_chunk_that_no_worker_reached_is_not_run(plan: Callable[..., InferPlan]) -> None:
    made = plan(seconds=2)
    ledger = RunLedger(made)
    ledger.ended(over(begun()), "cpu-0")
    ledger.finish(RunState.INTERRUPTED)
    summary = json.loads(summary_path(made.telemetry_log).read_bytes())
    assert summary["state"] == "interrupted"
    assert {key: job["status"] for key, job in summary["jobs"].items()} == {KEY: "success", NEXT: "not_run"}


def test_a_retry_is_counted_with_its_delay(plan: Callable[..., InferPlan], lines_of: Lines) -> None:
    made = plan(seconds=1)
    ledger = RunLedger(made)
    for backoff_s, error in ((2.0, "first"), (4.0, "second"), (None, None)):
        attempt = begun()
        ledger.expect([KEY], backoff_s)
        ledger.started(attempt, "cpu-0")
        ledger.ended(over(attempt, error), "cpu-0")
    lines = lines_of(made.telemetry_log)
    assert [line["details"]["attempt"] for line in lines] == [1, 1, 2, 2, 3, 3]
    assert [line["details"].get("backoff_s") for line in lines[1::2]] == [2.0, 4.0, None]
    job = ledger.summary.jobs[KEY]
    assert (job.status, job.attempts, job.retries, job.last_backoff_s) == (JobStatus.SUCCESS, 3, 2, 4.0)
    assert job.last_error is None
    count = ledger.summary.workers["cpu-0"]
    assert (count.success, count.failure, count.retries, count.failed_retries) == (1, 0, 1, 2)


def test_a_chunk_that_failed_for_good_keeps_its_reason(plan: Callable[..., InferPlan]) -> None:
    ledger = RunLedger(plan(seconds=2))
    ledger.ended(over(begun(), "no luck"), "cpu-0")
    ledger.ended(over(begun(NEXT)), "cpu-0")
    assert [planned.key for planned in ledger.undone(plan(seconds=2).todo)] == [KEY]
    ledger.failed_for_good([KEY, NEXT])
    assert ledger.summary.jobs[KEY].status is JobStatus.FAILURE
    assert ledger.summary.jobs[NEXT].status is JobStatus.SUCCESS
    assert ledger.errors_of([KEY, NEXT]) == [f"{KEY}: no luck"]
    assert ledger.summary.workers["cpu-0"].failure == 1
    assert (ledger.progress().done, ledger.progress().failed) == (1, 1)


def test_a_report_that_comes_twice_counts_once(plan: Callable[..., InferPlan], lines_of: Lines) -> None:
    made = plan(seconds=1)
    ledger = RunLedger(made)
    attempt = begun()
    for report in (ledger.started, ledger.started):
        report(attempt, "cpu-0")
    for _ in range(2):
        ledger.ended(over(attempt), "cpu-0")
    ledger.started(attempt, "cpu-0")
    assert events(made, lines_of) == [(KEY, "start", 1), (KEY, "success", 1)]
    assert (ledger.progress().done, ledger.progress().running) == (1, 0)


def test_an_end_without_a_start_writes_both(plan: Callable[..., InferPlan], lines_of: Lines) -> None:
    made = plan(seconds=1)
    RunLedger(made).ended(over(begun()), "cpu-0")
    assert events(made, lines_of) == [(KEY, "start", 1), (KEY, "success", 1)]


def test_the_attempt_of_a_lost_worker_ends_when_another_takes_the_chunk(
    plan: Callable[..., InferPlan], lines_of: Lines
) -> None:
    made = plan(seconds=1)
    ledger = RunLedger(made)
    lost, second = begun(), begun()
    ledger.started(lost, "gpu-0")
    ledger.started(second, "gpu-1")
    ledger.ended(over(lost), "gpu-0")  # it was only slow to be heard of
    ledger.ended(over(second), "gpu-1")
    lines = lines_of(made.telemetry_log)
    assert [line["status"] for line in lines] == ["start", "failure", "start", "success"]
    assert (lines[1]["worker"], lines[1]["details"]["error"]) == ("gpu-0", WORKER_LOST)
    assert lines[1]["details"]["failure_kind"] == "worker_lost"
    assert ledger.summary.workers["gpu-0"].failed_retries == 1
    assert ledger.summary.jobs[KEY].retries == 1
    assert_every_start_has_one_end(lines)


def test_a_chunk_that_ran_twice_is_done_once(plan: Callable[..., InferPlan], lines_of: Lines) -> None:
    """A worker can die after its chunk succeeded and before its result was fetched; then the chunk runs again."""
    made = plan(seconds=2)
    ledger = RunLedger(made)
    for label in ("gpu-0", "gpu-1"):
        attempt = begun()
        ledger.started(attempt, label)
        ledger.ended(over(attempt), label)
    progress = ledger.progress()
    assert (progress.done, progress.total, progress.audio_ms) == (1, 2, 1000)
    assert_every_start_has_one_end(lines_of(made.telemetry_log))


def test_a_start_that_is_heard_of_after_the_success_leaves_the_chunk_done(
    plan: Callable[..., InferPlan], lines_of: Lines
) -> None:
    made = plan(seconds=1)
    ledger = RunLedger(made)
    ledger.ended(over(begun()), "gpu-1")
    ledger.started(begun(), "gpu-0")
    ledger.finish(RunState.COMPLETED)
    assert ledger.summary.jobs[KEY].status is JobStatus.SUCCESS
    assert_every_start_has_one_end(lines_of(made.telemetry_log))
    job = read_jobs(made.telemetry_log).find(made.manifest.chunks[0])
    assert job is not None
    assert job.status is JobStatus.SUCCESS


def test_attempts_of_workers_that_never_report_again_are_ended(plan: Callable[..., InferPlan], lines_of: Lines) -> None:
    made = plan(seconds=3)
    ledger = RunLedger(made)
    ledger.started(begun(), "gpu-0")
    ledger.started(begun(NEXT), "gpu-1")
    ledger.close_open([KEY, "REC_chunk_2000_3000"], "the worker died")
    ledger.finish(RunState.INTERRUPTED)
    lines = lines_of(made.telemetry_log)
    assert_every_start_has_one_end(lines)
    assert lines[2]["details"]["error"] == "the worker died"
    assert "interrupted" in lines[3]["details"]["error"]


def test_unusable_audio_is_written_down_as_failed(
    make_audio: Callable[..., Path], csv_file: Callable[..., Path], lines_of: Lines
) -> None:
    make_audio("a.wav")
    path = csv_file([("A", "a", "a.wav", 0, 1000), ("B", "b", "none.wav", 0, 1000)])
    made = plan_inference(InferSettings(manifest=path, keep_going=True))
    ledger = RunLedger(made)
    assert events(made, lines_of) == [("b", "start", 1), ("b", "failure", 1)]
    assert "none.wav" in (ledger.summary.jobs["b"].last_error or "")
    assert (ledger.progress().total, ledger.progress().failed) == (2, 1)


def test_a_resumed_run_takes_over_what_was_done(
    plan: Callable[..., InferPlan], tmp_path: Path, lines_of: Lines
) -> None:
    first = plan(seconds=3)
    ledger = RunLedger(first)
    for attempt in infer_chunks(first.todo[:2], first.order, lambda attempt: None):
        ledger.ended(attempt, "cpu-0")
    ledger.finish(RunState.INTERRUPTED)

    for resumed_from in (summary_path(first.telemetry_log), first.telemetry_log):
        second = plan(seconds=3, resume_summary=resumed_from, telemetry_log=tmp_path / f"{resumed_from.name}.2.jsonl")
        assert [planned.key for planned in second.todo] == ["REC_chunk_2000_3000"]
        books = RunLedger(second)
        assert [line["status"] for line in lines_of(second.telemetry_log)] == ["skipped", "skipped"]
        assert books.progress().skipped == 2
        for attempt in infer_chunks(second.todo, second.order, lambda attempt: None):
            books.ended(attempt, "cpu-0")
        books.finish(RunState.COMPLETED)
        third = plan(seconds=3, resume_summary=second.telemetry_log)
        assert (len(third.done), len(third.todo)) == (3, 0), "the second run's log tells of all three"
        result_path(third.order.output_dir, third.manifest.chunks[2]).unlink()


def test_the_summary_keeps_jobs_that_are_in_another_manifest(plan: Callable[..., InferPlan], tmp_path: Path) -> None:
    jobs = {
        KEY: {"status": "success", "recording_id": "REC"},
        "OLD_chunk_0_1": {"status": "success", "recording_id": "OLD", "attempts": 3, "output": "out/OLD/x.json"},
    }
    (tmp_path / "s.json").write_text(json.dumps({"jobs": jobs}))
    made = plan(seconds=1, resume_summary=tmp_path / "s.json")
    old = RunLedger(made).summary.jobs["OLD_chunk_0_1"]
    assert (old.status, old.attempts, old.output) == (JobStatus.SUCCESS, 3, "out/OLD/x.json")


def test_two_recordings_with_one_chunk_id_keep_two_jobs(
    make_audio: Callable[..., Path], csv_file: Callable[..., Path]
) -> None:
    make_audio("a.wav")
    made = plan_inference(InferSettings(manifest=csv_file([(r, "c", "a.wav", 0, 1000) for r in "AB"])))
    ledger = RunLedger(made)
    ledger.ended(over(begun("A/c")), "cpu-0")
    ledger.ended(over(begun("B/c"), "no"), "cpu-0")
    ledger.finish(RunState.FAILED)
    chunks = made.manifest.chunks
    for source in (summary_path(made.telemetry_log), made.telemetry_log):
        found = [read_jobs(source).find(chunk) for chunk in chunks]
        assert [job.recording_id for job in found if job] == ["A", "B"]
        assert found[0] is not None
        assert found[0].status is JobStatus.SUCCESS
        assert found[1] is not None
        assert found[1].status is not JobStatus.SUCCESS


def test_the_summary_is_rewritten_seldom_unless_forced(plan: Callable[..., InferPlan]) -> None:
    made = plan(seconds=2)
    ledger = RunLedger(made)
    path = summary_path(made.telemetry_log)
    before = path.read_bytes()
    ledger.ended(over(begun()), "cpu-0")
    ledger.save()
    assert path.read_bytes() == before
    ledger.save(force=True)
    assert json.loads(path.read_bytes())["jobs"][KEY]["status"] == "success"


def test_the_slowest_chunks_come_first(plan: Callable[..., InferPlan]) -> None:
    made = plan(seconds=14)
    ledger = RunLedger(made)
    for number, planned in enumerate(made.todo):
        ledger.ended(over(begun(planned.key), runtime_s=float(number)), "cpu-0")
    assert [seconds for seconds, _ in ledger.slowest] == [float(n) for n in range(13, 3, -1)]


def test_progress_tells_the_pace(plan: Callable[..., InferPlan]) -> None:
    ledger = RunLedger(plan(seconds=4))
    assert ledger.progress().left_s is None
    ledger.ended(over(begun()), "cpu-0")
    progress = replace(ledger.progress(), elapsed_s=0.5)
    assert progress.times_real_time == 2.0
    assert progress.left_s == 1.5
