"""Whole runs of the flow: what works, what fails and what is tried again."""

from __future__ import annotations

import csv
import socket
from pathlib import Path

import orjson
import pytest

from badc.telemetry.events import EventStatus, read_events
from badc.telemetry.summary import RunState
from tests.flows.conftest import read_summary, unended_starts


def test_a_custom_command_gets_each_chunk_and_its_detections_are_kept(
    infer, make_recording, make_manifest, fake, tmp_path
):
    outcome = infer(make_manifest(make_recording()), runner_cmd=fake("detector"))

    assert outcome.state is RunState.COMPLETED
    files = sorted((tmp_path / "out" / "REC").glob("*.json"))
    assert len(files) == 4
    document = orjson.loads(files[0].read_bytes())
    assert document["status"] == "ok"
    assert document["runner"] == "custom"
    assert document["model_version"] == "detector 1"
    assert document["chunk"]["end_ms"] == 1000
    assert document["detections"][0]["end_ms"] == 1000
    assert document["detections"][0]["confidence"] > 0.01
    assert document["detections"][0]["gpus"] == "", "a CPU worker's command sees no GPU"


def test_telemetry_summary_and_workers_csv_tell_of_every_chunk(infer, make_recording, make_manifest, fake, tmp_path):
    infer(make_manifest(make_recording()), runner_cmd=fake("detector"))

    log = tmp_path / "run.jsonl"
    events = list(read_events(log))
    assert sorted(e.status for e in events) == [EventStatus.START] * 4 + [EventStatus.SUCCESS] * 4
    assert unended_starts(log) == []
    assert all(event.worker.startswith("cpu-") for event in events)
    ended = next(event for event in events if event.status is EventStatus.SUCCESS)
    assert ended.runtime_s > 0
    assert ended.finished_at > ended.timestamp
    assert ended.details["returncode"] == 0
    assert Path(ended.details["output"]).is_file()

    summary = read_summary(log)
    assert summary["state"] == "completed"
    assert summary["runner"] == "custom"
    assert {job["status"] for job in summary["jobs"].values()} == {"success"}
    with (tmp_path / "run.jsonl.summary.json.workers.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert sum(int(row["jobs"]) for row in rows) == 4
    assert {row["worker"] for row in rows} <= {"cpu-0", "cpu-1"}
    assert {row["host"] for row in rows} == {event.host for event in events} == {socket.gethostname()}


def test_a_flaky_command_is_tried_again_after_growing_delays(infer, make_recording, make_manifest, fake, tmp_path):
    command = fake("detector", "--fail-times", 2, "--only", "_chunk_0_", "--state", tmp_path / "state")
    outcome = infer(make_manifest(make_recording()), runner_cmd=command)

    assert outcome.state is RunState.COMPLETED
    job = read_summary(tmp_path / "run.jsonl")["jobs"]["REC_chunk_0_1000"]
    assert (job["status"], job["attempts"], job["retries"], job["last_backoff_s"]) == ("success", 3, 2, 4.0)
    failures = [e.details for e in read_events(tmp_path / "run.jsonl") if e.status is EventStatus.FAILURE]
    assert [details["backoff_s"] for details in failures] == [2.0, 4.0]
    assert [details["attempt"] for details in failures] == [1, 2]
    assert failures[0]["returncode"] == 3
    assert "attempt 1 at REC_chunk_0_1000 fails on purpose" in failures[0]["stderr"]
    assert sum(count.retries for count in outcome.workers.values()) == 1
    assert sum(count.failed_retries for count in outcome.workers.values()) == 2


def test_after_a_final_failure_no_new_chunk_starts_and_the_books_are_closed(
    infer, make_recording, make_manifest, fake, tmp_path
):
    manifest = make_manifest(make_recording(seconds=40))
    command = fake("detector", "--fail-times", 9, "--only", "_chunk_0_", "--state", tmp_path / "state")
    outcome = infer(manifest, runner_cmd=command, max_retries=0)

    assert outcome.state is RunState.FAILED
    assert outcome.progress.failed == 1
    assert outcome.left > 20, "the chunks that had not been started stay so"
    assert outcome.errors[0].startswith("REC_chunk_0_1000: the command ended with exit code 3")
    summary = read_summary(tmp_path / "run.jsonl")
    assert summary["state"] == "failed"
    statuses = [job["status"] for job in summary["jobs"].values()]
    assert statuses.count("failure") == 1
    assert statuses.count("success") == outcome.progress.done
    assert unended_starts(tmp_path / "run.jsonl") == []


def test_keep_going_finishes_the_others(infer, make_recording, make_manifest, fake, tmp_path):
    manifest = make_manifest(make_recording(seconds=8))
    command = fake("detector", "--fail-times", 9, "--only", "_chunk_0_", "--state", tmp_path / "state")
    outcome = infer(manifest, runner_cmd=command, max_retries=0, keep_going=True)

    assert outcome.state is RunState.FAILED
    assert (outcome.progress.done, outcome.progress.failed, outcome.left) == (7, 1, 0)


@pytest.mark.parametrize(
    ("misbehaviour", "reason"),
    [
        ("crash", "the command was killed by signal 11"),
        ("garbage", "the command wrote an invalid output: not JSON"),
        ("bytes", "the command ended with exit code 1"),
        pytest.param("hang", "the command was stopped after --chunk-timeout 10 s", marks=pytest.mark.long),
    ],
)
def test_a_misbehaving_command_fails_its_chunk_with_the_reason(
    infer, make_recording, make_manifest, fake, tmp_path, misbehaviour, reason
):
    command = fake("detector", "--then", misbehaviour, "--only", "_chunk_1000_")
    manifest = make_manifest(make_recording(seconds=2))
    outcome = infer(manifest, runner_cmd=command, max_retries=0, keep_going=True, chunk_timeout_s=10)

    assert outcome.state is RunState.FAILED
    assert outcome.progress.done == 1
    assert reason in outcome.errors[0]
    failure = next(e for e in read_events(tmp_path / "run.jsonl") if e.status is EventStatus.FAILURE)
    assert reason in failure.details["error"]
    assert not list((tmp_path / "out").rglob("*1000_2000*")), "no partial output remains"


def test_a_command_that_writes_nothing_is_no_output(infer, make_recording, make_manifest, fake, tmp_path):
    outcome = infer(make_manifest(make_recording(seconds=1)), runner_cmd=fake("detector", "--then", "nothing"))

    assert outcome.state is RunState.COMPLETED
    (path,) = (tmp_path / "out" / "REC").glob("*.json")
    result = orjson.loads(path.read_bytes())
    assert result["status"] == "no_output"
    assert (
        'it has to write JSON, such as {"detections": []}, to the file that follows --output'
        in result["chunk"]["notes"]
    )
    assert outcome.progress.describe(ended=True).startswith("1/1 chunks, 0 failed, 1 whose command wrote nothing, ")
    assert orjson.loads((tmp_path / "run.jsonl.summary.json").read_bytes())["no_output"] == 1


def test_an_absent_or_badly_quoted_command_fails_its_attempts(infer, make_recording, make_manifest, tmp_path):
    for command, reason in (("no-such-program -x", "cannot be started"), ("'unclosed", "cannot be split into words")):
        log = tmp_path / f"{len(reason)}.jsonl"
        outcome = infer(make_manifest(make_recording(seconds=1)), runner_cmd=command, max_retries=0, telemetry_log=log)
        assert outcome.state is RunState.FAILED
        assert reason in outcome.errors[0]


def test_unusable_audio_fails_those_chunks_and_the_rest_runs(infer, make_recording, tmp_path, fake):
    good = make_recording("GOOD.wav", seconds=2)
    manifest = tmp_path / "both.csv"
    manifest.write_text(
        "recording_id,chunk_id,source_path,start_ms,end_ms\n"
        f"GOOD,GOOD_chunk_0_1000,{good},0,1000\n"
        f"GONE,GONE_chunk_0_1000,{tmp_path}/audio/GONE.wav,0,1000\n"
    )
    outcome = infer(manifest, runner_cmd=fake("detector"), keep_going=True)

    assert outcome.state is RunState.FAILED
    assert (outcome.progress.done, outcome.progress.failed) == (1, 1)
    assert "no such audio file" in read_summary(tmp_path / "run.jsonl")["jobs"]["GONE_chunk_0_1000"]["last_error"]
    assert unended_starts(tmp_path / "run.jsonl") == []


def test_a_retry_redoes_only_the_chunks_of_its_task_that_failed(infer, make_recording, make_manifest, fake, tmp_path):
    state = tmp_path / "state"
    command = fake("detector", "--fail-times", 1, "--only", "_chunk_1000_", "--state", state)
    outcome = infer(make_manifest(make_recording()), runner_cmd=command, chunks_per_task=4)

    assert outcome.state is RunState.COMPLETED
    attempts = {path.name: len(path.read_text().splitlines()) for path in state.iterdir()}
    assert attempts == {
        "REC_chunk_0_1000": 1,
        "REC_chunk_1000_2000": 2,
        "REC_chunk_2000_3000": 1,
        "REC_chunk_3000_4000": 1,
    }
    assert len(list(read_events(tmp_path / "run.jsonl"))) == 10


def test_the_stub_says_in_every_file_that_it_detects_nothing(infer, make_recording, make_manifest, tmp_path):
    outcome = infer(make_manifest(make_recording(seconds=2)))

    assert outcome.state is RunState.COMPLETED
    documents = [orjson.loads(path.read_bytes()) for path in (tmp_path / "out").rglob("*.json")]
    assert [(d["status"], d["runner"], d["detections"]) for d in documents] == [("stub", "stub", [])] * 2


HOSTILE = ["with space", "comma,quote\"'", "[1]*?", "é中", "$(touch pwned)", "semi;colon", "-dash", "{brace}"]


def test_hostile_recording_names_work(infer, make_recording, make_manifest, fake, tmp_path):
    for name in HOSTILE:
        manifest = make_manifest(make_recording(f"{name}.wav", seconds=2))
        outcome = infer(manifest, runner_cmd=fake("detector"), telemetry_log=tmp_path / f"{name}.jsonl")
        assert outcome.state is RunState.COMPLETED, name
        assert len(list((tmp_path / "out" / name).iterdir())) == 2
        assert set(read_summary(tmp_path / f"{name}.jsonl")["jobs"]) == {
            f"{name}_chunk_0_1000",
            f"{name}_chunk_1000_2000",
        }
    assert not list(Path.cwd().glob("pwned"))
    assert not list(tmp_path.rglob("pwned"))


def test_two_recordings_may_use_the_same_chunk_id(infer, make_recording, fake, tmp_path):
    rows = [f"{rec},same,{make_recording(f'{rec}.wav', seconds=1)},0,1000" for rec in ("A", "B")]
    manifest = tmp_path / "both.csv"
    manifest.write_text("\n".join(["recording_id,chunk_id,source_path,start_ms,end_ms", *rows]) + "\n")
    outcome = infer(manifest, runner_cmd=fake("detector"))

    assert outcome.state is RunState.COMPLETED
    assert set(read_summary(tmp_path / "run.jsonl")["jobs"]) == {"A/same", "B/same"}
    assert (tmp_path / "out/A/same.json").is_file()
    assert (tmp_path / "out/B/same.json").is_file()


def test_a_second_run_on_the_same_outputs_refuses_and_names_the_first(
    infer, make_recording, make_manifest, fake, tmp_path
):
    from badc.errors import RequestError
    from badc.system.output_lock import output_lock

    manifest = make_manifest(make_recording(seconds=1))
    with (
        output_lock(tmp_path / "out", frozenset({"REC"}), tmp_path / "first.jsonl"),
        pytest.raises(RequestError, match=r"another run is writing the outputs of REC: process \d+ .*first\.jsonl"),
    ):
        infer(manifest, runner_cmd=fake("detector"))
    assert infer(manifest, runner_cmd=fake("detector")).state is RunState.COMPLETED


def test_a_disk_error_fails_the_chunk_and_leaves_no_partial_file(infer, make_recording, make_manifest, fake, tmp_path):
    manifest = make_manifest(make_recording(seconds=2))
    # A folder where the second chunk's file belongs: the rename over it fails as a full disk would.
    (tmp_path / "out" / "REC" / "REC_chunk_1000_2000.json" / "in the way").mkdir(parents=True)
    outcome = infer(manifest, runner_cmd=fake("detector"), max_retries=0, keep_going=True)

    assert (outcome.progress.done, outcome.progress.failed) == (1, 1)
    assert sorted(path.name for path in (tmp_path / "out" / "REC").iterdir()) == [
        "REC_chunk_0_1000.json",
        "REC_chunk_1000_2000.json",
    ]
