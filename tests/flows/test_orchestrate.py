"""A whole dataset: one cluster, a subflow for each recording, and each recording's failure its own."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from badc.telemetry.events import EventStatus, read_events
from badc.telemetry.summary import RunState
from tests.conftest import FAKES, shell_variables

STANDIN = FAKES / "hawkears2"


@pytest.fixture
def orchestrate(prefect_api, dask_scheduler):
    """Return a function that runs a dataset in this process, on the session's server and cluster."""
    from badc.datasets.inference.plan import plan_orchestration, require_runnable
    from badc.datasets.inference.settings import OrchestrateSettings
    from flows.cli.launch import launch_orchestration

    def run(root: Path, recording: bool = False, **settings):
        plan = plan_orchestration(OrchestrateSettings(dataset=root, **{"scheduler": dask_scheduler} | settings))
        require_runnable(plan)
        said: list[str] = []
        outcome, told = launch_orchestration(plan, recording, lambda progress: None, said.append)
        assert told
        return outcome

    return run


def test_recordings_that_another_run_of_the_dataset_has_are_refused(orchestrate, make_dataset, fake):
    from badc.errors import InUseError
    from badc.system.output_lock import planned_lock

    root = make_dataset("A", "B")
    other = planned_lock(root / "artifacts" / "infer", frozenset({"B"}), root / "telemetry")
    with other, pytest.raises(InUseError, match="another run is to write the outputs of B"):
        orchestrate(root, runner_cmd=fake("detector"))
    assert not outputs(root)


def outputs(root: Path) -> set[str]:
    return {path.stem for path in (root / "artifacts" / "infer").rglob("*.json")}


def log_of(root: Path, name: str) -> Path:
    return root / "artifacts" / "telemetry" / "infer" / f"{name}.jsonl"


def test_a_failed_recording_does_not_stop_the_others_and_is_resumed(orchestrate, make_dataset, fake):
    root = make_dataset("A", "B bad", "C")
    mended = root / "mended"
    command = fake("detector", "--only", "B bad_chunk_1000", "--then", "crash", "--until", mended)
    outcome = orchestrate(root, runner_cmd=command, max_retries=0)

    states = {r.recording_id: r.state for r in outcome.recordings}
    assert outcome.state is RunState.FAILED
    assert states == {"A": RunState.COMPLETED, "B bad": RunState.FAILED, "C": RunState.COMPLETED}
    (bad,) = (r for r in outcome.recordings if r.recording_id == "B bad")
    assert "B bad_chunk_1000_2000" in bad.error
    assert len([name for name in outputs(root) if name.startswith(("A", "C"))]) == 6

    mended.touch()
    again = orchestrate(root, runner_cmd=command, max_retries=0, resume_completed=True)
    assert again.state is RunState.COMPLETED
    assert [r.recording_id for r in again.recordings] == ["B bad"]
    assert len(outputs(root)) == 9
    starts = [e.chunk_id for e in read_events(log_of(root, "B bad")) if e.status is EventStatus.START]
    assert starts.count("B bad_chunk_0_1000") == 1, "what was done is not done again"


def test_what_is_deleted_of_a_recording_while_others_run_is_missed(orchestrate, make_dataset, fake):
    root = make_dataset("A", "B")
    gone = root / "artifacts" / "infer" / "A"
    # The last recording's command clears the disk of the first one's outputs.
    command = fake("detector", "--only", "B_chunk_2000", "--remove", gone)
    outcome = orchestrate(root, runner_cmd=command, max_retries=0, concurrent_recordings=1)
    assert outcome.state is RunState.FAILED
    (lost,) = (r for r in outcome.recordings if r.state is RunState.FAILED)
    assert lost.recording_id == "A"
    assert "3 outputs were deleted or emptied after being written, such as" in lost.error


def test_what_resuming_cannot_mend_is_said_with_its_reason(orchestrate, make_dataset, fake, capsys):
    from flows.cli.commands.orchestrate import report_outcome

    root = make_dataset("A", "B")
    (root / "audio" / "B.wav").write_bytes(b"")
    outcome = orchestrate(root, runner_cmd=fake("detector"), max_retries=0)
    assert (outcome.state, outcome.needs_mending, outcome.unfinished) == (RunState.FAILED, True, 1)
    report_outcome(outcome)
    (row,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("B\t"))
    assert "run the others: " in row
    assert "B.wav: " in row


def test_leaderboards_without_any_table_are_no_failure(orchestrate, make_dataset, fake):
    outcome = orchestrate(make_dataset("A"), runner_cmd=fake("detector"), bundle_rollup=True)
    assert (outcome.state, outcome.rollup, outcome.rollup_error) == (RunState.COMPLETED, None, None)


@pytest.mark.long
def test_reports_that_are_missing_of_earlier_recordings_are_made_in_the_same_run(orchestrate, make_dataset, fake):
    root = make_dataset("A", "B")
    command = fake("detector")
    assert orchestrate(root, runner_cmd=command, pattern=("A",)).state is RunState.COMPLETED
    before = (root / "artifacts" / "infer" / "A" / "A_chunk_0_1000.json").stat().st_mtime_ns
    outcome = orchestrate(root, runner_cmd=command, bundle=True)
    assert {r.recording_id: r.state for r in outcome.recordings} == dict.fromkeys("AB", RunState.COMPLETED)
    assert all((root / "artifacts" / "aggregate" / f"{name}_report.html").is_file() for name in "AB")
    assert (root / "artifacts" / "infer" / "A" / "A_chunk_0_1000.json").stat().st_mtime_ns == before


def test_what_was_found_in_a_recording_with_a_failed_chunk_is_in_the_tables(orchestrate, make_dataset, fake):
    root = make_dataset("A")
    command = fake("detector", "--only", "A_chunk_1000_2000", "--then", "crash")
    outcome = orchestrate(root, runner_cmd=command, bundle=True, bundle_rollup=True, max_retries=0, keep_going=True)
    assert [(r.state, r.done, r.failed) for r in outcome.recordings] == [(RunState.FAILED, 2, 1)]
    with (root / "artifacts" / "aggregate" / "A_coverage.csv").open() as stream:
        assert [row["status"] for row in csv.DictReader(stream)] == ["ok", "missing", "ok"]
    assert (root / "artifacts" / "aggregate" / "A_report.html").is_file()
    assert outcome.rollup is not None
    assert outcome.rollup.detections == 2


def test_fail_fast_begins_no_further_recording(orchestrate, make_dataset, fake):
    root = make_dataset("A", "B", "C", "D")
    outcome = orchestrate(
        root,
        runner_cmd=fake("detector", "--only", "A_", "--then", "crash"),
        max_retries=0,
        concurrent_recordings=1,
        fail_fast=True,
    )
    assert outcome.state is RunState.FAILED
    assert [r.recording_id for r in outcome.recordings] == ["A"]
    assert list(outcome.not_begun) == ["B", "C", "D"]


def test_models_are_loaded_once_per_worker_for_the_whole_dataset(orchestrate, make_dataset, tmp_path):
    python = tmp_path / "python"
    loads = tmp_path / "loads"
    python.write_text(f'#!/bin/sh\nexport HAWKEARS2_LOADS={loads} PYTHONPATH={STANDIN}\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (tmp_path / "root" / "data" / "ckpt").mkdir(parents=True)
    root = make_dataset("A", "B", "C", "D", "E")
    outcome = orchestrate(
        root, use_hawkears=True, hawkears_python=python, hawkears_data=tmp_path / "root", hawkears_engine="resident"
    )
    assert outcome.state is RunState.COMPLETED, outcome.reasons()
    assert len(outputs(root)) == 15
    loaded = [line.split("\t") for line in loads.read_text().splitlines()]
    by_process = [pid for what, pid, _ in loaded if what == "models"]
    assert len(by_process) == len(set(by_process)) <= 2, "two workers, five recordings"


@pytest.mark.long
@pytest.mark.parametrize(
    ("seconds", "wanted"), [(3, ["infer {}/A … B"]), (60, ["infer {}/A", "infer {}/B"])], ids=["short", "long"]
)
def test_prefect_shows_a_subflow_for_a_hundred_chunks_or_so_and_one_table(
    orchestrate, make_dataset, prefect_api, seconds, wanted
):
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey, FlowRunFilter, FlowRunFilterId
    from prefect.client.schemas.sorting import FlowRunSort

    from tasks.show.artifacts import artifact_key

    root = make_dataset("A", "B", seconds=seconds)
    assert orchestrate(root, use_hawkears=False, pattern=("*.csv",)).state is RunState.COMPLETED
    with get_client(sync_client=True) as client:
        key = f"orchestrate-{artifact_key(root.name)}"
        (artifact,) = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))
        parent = client.read_flow_run(artifact.flow_run_id)
        names = {name.format(root.name) for name in wanted}
        children = [run for run in client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC) if run.name in names]
        of_parent = FlowRunFilter(id=FlowRunFilterId(any_=[parent.id]))
        tasks = {run.id for run in client.read_task_runs(flow_run_filter=of_parent)}
        mine = [run for run in children if run.parent_task_run_id in tasks]
        of_mine = FlowRunFilter(id=FlowRunFilterId(any_=[run.id for run in mine]))
        end = time.monotonic() + 30  # Prefect hears of task runs' ends a second or more later
        chunks = client.read_task_runs(flow_run_filter=of_mine)
        while {run.state_name for run in chunks} != {"Completed"}:
            assert time.monotonic() < end, chunks
            time.sleep(0.5)
            chunks = client.read_task_runs(flow_run_filter=of_mine)
    rows = json.loads(artifact.data)
    assert [(row["recording"], row["state"], row["done"]) for row in rows] == [
        ("A", "completed", seconds),
        ("B", "completed", seconds),
    ]
    assert parent.name == f"orchestrate {root.name}"
    assert set(parent.tags) == {f"dataset:{root.name}", "filter:*.csv"}
    assert {run.name for run in mine} == names
    assert all(re.fullmatch(r"[a-z]+-[0-9]+: [0-9.]+ s, 0 detections", run.state.message) for run in chunks)
    assert {tag for run in mine for tag in run.tags} >= {"recording:A", "recording:B", f"dataset:{root.name}"}
    assert len(chunks) == 2 * seconds


def test_tables_and_reports_follow_each_recording(orchestrate, make_dataset, birds_wav, capsys):
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    from flows.cli.commands.orchestrate import report_outcome
    from tasks.show.artifacts import artifact_key

    root = make_dataset("SITE_20230509_094500", seconds=9)
    shutil.copy(birds_wav, root / "audio" / "SITE_20230509_094500.wav")
    (root / "audio" / "OTHER_20230509_094500.wav").touch()
    (root / "sites.csv").write_text("station,latitude,longitude\nSITE,55.1,-115.2\n")
    tables = {"bundle": True, "sites": Path("sites.csv"), "bundle_rollup": True, "bundle_rollup_limit": 1}
    outcome = orchestrate(root, use_birdnet=True, **tables)
    assert outcome.state is RunState.COMPLETED, outcome.recordings
    made = {path.name for path in (root / "artifacts" / "aggregate").iterdir()}
    stem = "SITE_20230509_094500"
    assert made >= {
        *(f"{stem}{end}" for end in (".csv", ".parquet", "_coverage.parquet", ".duckdb", "_report.html")),
        *(f"{stem}{end}" for end in ("_quicklook", "_parquet_report", "_duckdb_exports")),
        "aggregate_summary",
    }
    table = pq.read_table(root / "artifacts" / "aggregate" / f"{stem}.parquet", columns=["occurrence"])
    assert table["occurrence"].null_count == 0
    assert outcome.rollup is not None
    assert outcome.rollup.labels.total > 1, "the limit has something to leave out"
    board = (root / "artifacts" / "aggregate" / "aggregate_summary" / "recording_summary.csv").read_text()
    assert "OTHER_20230509_094500,OTHER,0,,,0,0.0,,0\n" in board
    report_outcome(outcome)
    told = capsys.readouterr()
    unheard = "not analysed: 1 recording without chunks: OTHER_20230509_094500 (never chunked)"
    assert unheard in told.err
    lines = told.out.splitlines()
    (best,) = (row["label"] for row in outcome.rollup.labels.as_dicts())
    at = next(number for number, line in enumerate(lines) if line.startswith("label\t"))
    assert lines[at + 1].startswith(f"{best}\t")
    assert lines[at + 2] == ""
    key = f"orchestrate-reports-{artifact_key(root.name)}"
    with get_client(sync_client=True) as client:
        (artifact,) = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))
    assert "not analysed: 1 recording without chunks: OTHER" in str(artifact.data)
    shown = str(artifact.data).partition("## Labels")[2].partition("## ")[0]
    assert best in shown
    assert len([line for line in shown.splitlines() if line.startswith("|")]) == 3, "heading, rule, one row"


@pytest.mark.datalad
def test_each_recordings_run_is_recorded_in_its_dataset(orchestrate, datalad_dataset, fake):
    import subprocess

    from badc.chunks.cutting import plan_chunks, write_virtual_manifest
    from badc.chunks.status import ChunkState, ChunkStatus, status_path, write_chunk_status

    root = datalad_dataset
    names = ("REC", "o'brien")
    shutil.copy(root / "audio" / "REC.wav", root / "audio" / "o'brien.wav")
    plan = plan_chunks(root / "audio" / "o'brien.wav", 1.0)
    write_virtual_manifest(plan, root / "manifests" / "o'brien.csv", hash_chunks=False)
    for name in names:
        path = status_path(root / "artifacts" / "chunks", name)
        write_chunk_status(path, ChunkStatus(name, None, None, ChunkState.COMPLETED))

    def git(*words: str) -> str:
        words = ("git", "-C", str(root), *words)
        return subprocess.run(words, env=shell_variables(), check=True, capture_output=True, text=True).stdout

    subprocess.run(
        ["datalad", "-C", root, "save", "-m", "more"], env=shell_variables(), check=True, capture_output=True
    )
    mended = root.parent / "mended"
    command = fake("detector", "--only", "REC_chunk_1000", "--then", "crash", "--until", mended)
    outcome = orchestrate(root, recording=True, runner_cmd=command, max_retries=0)
    commits = {r.recording_id: r.commit for r in outcome.recordings}
    assert commits["REC"] is None, "a run that failed is not recorded"
    assert git("log", "-1", "--format=%H").strip() == commits["o'brien"]

    mended.touch()
    again = orchestrate(root, recording=True, runner_cmd=command, max_retries=0, resume_completed=True)
    (done,) = again.recordings
    assert (done.recording_id, done.state) == ("REC", RunState.COMPLETED)
    message = git("log", "-1", "--format=%B")
    assert message.startswith("[DATALAD RUNCMD] Infer REC")
    assert "badc infer run manifests/REC.csv" in message
    assert "--resume-summary" not in message
    assert {line.partition("/")[0] for line in git("show", "--format=", "--name-only").splitlines()} == {"artifacts"}
    assert [line for line in git("status", "--porcelain").splitlines() if ".badc-lock" not in line] == []


@pytest.mark.long
@pytest.mark.slow
def test_ctrl_c_stops_cleanly_and_the_same_command_finishes_the_rest(badc, make_dataset, fake):
    root = make_dataset("A", "B", "C", seconds=4)
    words = ("infer", "orchestrate", root, "--runner-cmd", fake("detector", "--seconds", 0.7), "--apply")
    options = ("--max-gpus", 0, "--concurrent-recordings", 2, "--resume-completed")
    process = badc(*words, *options)
    deadline = time.monotonic() + 180
    while len(outputs(root)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=90)
    assert process.returncode == 130, err
    assert f"Telemetry: {log_of(root, 'A').parent}, a log for each recording\n" in err
    assert "Resume with: badc infer orchestrate" in err
    done = outputs(root)
    assert 2 <= len(done) < 12
    for name in ("A", "B"):
        assert json.loads(Path(f"{log_of(root, name)}.summary.json").read_text())["state"] == "interrupted"

    process = badc(*words, *options)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert len(outputs(root)) == 12
    starts = [e.chunk_id for n in "ABC" for e in read_events(log_of(root, n)) if e.status is EventStatus.START]
    assert {chunk for chunk in starts if starts.count(chunk) > 1} & done == set()


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("command", [("infer", "orchestrate"), ("pipeline", "run")])
def test_cancelling_in_prefect_stops_a_dataset_that_was_started_from_the_shell(
    badc, prefect_api, make_dataset, fake, command
):
    from prefect.client.orchestration import get_client
    from prefect.states import Cancelling

    root = make_dataset("A", "B", seconds=4)
    apply = ("--apply",) if command[0] == "infer" else ()
    runner = ("--runner-cmd", fake("detector", "--seconds", 120))
    process = badc(*command, root, *runner, "--max-gpus", 0, "--cpu-workers", 2, *apply)
    logs = root / "artifacts" / "telemetry" / "infer"
    deadline = time.monotonic() + 90
    while not any(b'"start"' in log.read_bytes() for log in logs.glob("*.jsonl")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    children = psutil.Process(process.pid).children(recursive=True)
    with get_client(sync_client=True) as client:
        mine = f"{'orchestrate' if apply else 'pipeline'} {root.name}"
        (run,) = [run for run in client.read_flow_runs(sort="START_TIME_DESC") if run.name == mine]
        client.set_flow_run_state(run.id, Cancelling())
        begin = time.monotonic()
        _, err = process.communicate(timeout=60)
        psutil.wait_procs(children, timeout=10)
        took_s = time.monotonic() - begin
        assert client.read_flow_run(run.id).state.is_cancelled()
    assert process.returncode == 130, err
    assert not any(child.is_running() for child in children), "no orphans"
    assert took_s < 20
    for log in logs.glob("*.jsonl"):
        assert json.loads(Path(f"{log}.summary.json").read_text())["state"] == "interrupted"
