"""Planning a dataset's inference: what is complete is skipped, what is not chunked is refused, and each says why."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from badc.chunks.manifest import read_manifest
from badc.chunks.status import ChunkState, ChunkStatus, status_path, write_chunk_status
from badc.datasets.inference.plan import plan_orchestration, require_ready, require_runnable
from badc.datasets.inference.recording import InferDecision
from badc.datasets.inference.saved_plan import InferPlanRow
from badc.datasets.inference.settings import OrchestrateSettings
from badc.datasets.pipeline_settings import PipelineSettings, chunk_settings, going_on, orchestrate_settings
from badc.errors import RequestError
from badc.settings.model import settings_from
from badc.system.output_lock import output_lock
from badc.system.row_files import read_plan, write_plan_csv, write_plan_json
from badc.telemetry.summary import Job, JobStatus, RunSummary, resumable, summary_path, write_summary
from tests.badc.datasets.inference.conftest import plan, write_outputs


def test_each_recording_has_its_counts_its_decision_and_the_reason(dataset: Callable[..., Path]) -> None:
    root = dataset("new", "partial", "whole", "other runner")
    write_outputs(root, "partial", 2)
    write_outputs(root, "whole", 3)
    write_outputs(root, "other runner", 3, "birdnet")
    found = {r.recording_id: r for r in plan(root).recordings}

    assert {name: (r.chunks, r.done, r.missing, r.decision) for name, r in found.items()} == {
        "new": (3, 0, 3, InferDecision.RUN),
        "partial": (3, 2, 1, InferDecision.RUN),
        "whole": (3, 3, 0, InferDecision.SKIP),
        "other runner": (3, 0, 3, InferDecision.REFUSE),
    }
    assert "every chunk has a valid output" in found["whole"].reason
    assert "--resume-completed" in found["partial"].reason
    assert "3 results of other settings: runner birdnet, asked for stub" in found["other runner"].reason
    assert plan(root, include_existing=True).counts() == {InferDecision.RUN: 3, InferDecision.REFUSE: 1}
    resumed = {r.recording_id: r.decision for r in plan(root, resume_completed=True).todo}
    assert resumed == {"new": InferDecision.RUN, "partial": InferDecision.RESUME}


def test_a_run_of_everything_again_is_gone_on_with(dataset: Callable[..., Path]) -> None:
    root = dataset("A", "B", "C")
    for name in "ABC":
        write_outputs(root, name, 3)
        for path in (root / "artifacts" / "infer" / name).iterdir():
            os.utime(path, (1e9, 1e9))
    everything = OrchestrateSettings(dataset=root, use_hawkears=False, include_existing=True)
    assert plan_orchestration(everything).counts() == {InferDecision.RUN: 3}
    rest = everything.going_on("2026-05-09T20:00:00+00:00")
    assert "--include-existing" not in rest.to_arguments()
    # Since it began, A was done, and B in part.
    write_outputs(root, "A", 3)
    write_outputs(root, "B", 1)
    found = {r.recording_id: (r.done, r.decision) for r in plan_orchestration(rest).recordings}
    assert found == {"A": (3, InferDecision.SKIP), "B": (1, InferDecision.RESUME), "C": (0, InferDecision.RUN)}
    assert plan_orchestration(rest).infer_settings(plan_orchestration(rest).todo[0]).redo_before == rest.redo_before
    assert not everything.model_copy(update={"include_existing": False}).going_on("2026-05-09").redo_before


def test_a_pipeline_of_everything_again_is_gone_on_with_step_by_step(tmp_path: Path) -> None:
    settings = PipelineSettings(dataset=tmp_path, infer_include_existing=True)
    rest = going_on(settings, "2026-05-09T20:00:00Z")
    assert rest.to_arguments() == [str(tmp_path), "--infer-redo-before", "2026-05-09T20:00:00Z", "--use-hawkears"]
    assert (chunk_settings(rest).redo_before, chunk_settings(rest).include_existing) == (None, False)
    assert orchestrate_settings(rest).redo_before == "2026-05-09T20:00:00Z"


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", ""])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match=r"^--redo-before: .*write it as 2026-05-09T20:00:00Z"):
        settings_from(OrchestrateSettings, {"dataset": Path("ds"), "redo_before": text})


def test_a_broken_output_does_not_count(dataset: Callable[..., Path]) -> None:
    root = dataset("REC")
    write_outputs(root, "REC", 3)
    next((root / "artifacts" / "infer" / "REC").iterdir()).write_text("{")
    (recording,) = plan(root).recordings
    assert (recording.done, recording.decision) == (2, InferDecision.RUN)


def test_chunks_that_failed_in_the_last_run_are_counted(dataset: Callable[..., Path]) -> None:
    root = dataset("REC")
    write_outputs(root, "REC", 1)
    log = root / "artifacts" / "telemetry" / "infer" / "REC.jsonl"
    jobs = {
        chunk.chunk_id: Job("REC", JobStatus.FAILURE if number == 1 else JobStatus.NOT_RUN)
        for number, chunk in enumerate(read_manifest(root / "manifests" / "REC.csv").chunks)
    }
    write_summary(summary_path(log), RunSummary(str(log), "m", "stub", "t", "t", jobs=jobs))
    (recording,) = plan(root).recordings
    assert (recording.done, recording.failed, recording.missing) == (1, 1, 1)


def test_a_channel_that_is_not_there_is_refused_before_anything_runs(dataset: Callable[..., Path]) -> None:
    root = dataset("A", "whole")
    write_outputs(root, "whole", 3)
    assert plan(root, channel="1").refused == []
    made = plan(root, channel="9")
    assert [r.recording_id for r in made.refused] == ["A"]
    for refuse in (lambda: require_runnable(made), lambda: require_ready(made.settings)):
        with pytest.raises(RequestError, match=r"^\S+A\.wav: has no channel 9, but .*\(--channel\)$"):
            refuse()


def test_what_is_left_of_a_limit_is_resumed_and_no_more() -> None:
    settings = OrchestrateSettings(dataset=Path("ds"), use_hawkears=False, limit=8)
    assert settings.going_on("2026-05-09T20:00:00Z", 5).limit == 5
    assert settings.going_on("2026-05-09T20:00:00Z").limit == 8
    assert settings.model_copy(update={"limit": None}).going_on("2026-05-09T20:00:00Z", 5).limit is None
    pipeline = PipelineSettings(dataset=Path("ds"), chunk_limit=8, infer_limit=8)
    rest = going_on(pipeline, "2026-05-09T20:00:00Z", to_chunk=0, to_infer=3)
    assert (chunk_settings(rest).limit, orchestrate_settings(rest).limit) == (0, 3)
    assert {"--chunk-limit", "0", "--infer-limit", "3"} <= set(rest.to_arguments())


@pytest.mark.parametrize("status", [None, ChunkState.IN_PROGRESS, ChunkState.FAILED])
def test_what_is_not_chunked_completely_is_refused(dataset: Callable[..., Path], status: ChunkState | None) -> None:
    root = dataset("REC", status=status)
    made = plan(root)
    assert [r.decision for r in made.recordings] == [InferDecision.REFUSE]
    word = status.value if status else "missing"
    with pytest.raises(RequestError, match=rf"REC: its chunk status is {word}"):
        require_runnable(made)
    allowed = plan(root, allow_partial_chunks=True)
    require_runnable(allowed)
    assert [r.decision for r in allowed.recordings] == [InferDecision.RUN]


def test_a_broken_status_or_manifest_is_refused_with_its_reason(dataset: Callable[..., Path]) -> None:
    root = dataset("a", "b")
    status_path(root / "artifacts" / "chunks", "a").write_text("[]")
    (root / "manifests" / "b.csv").write_text("recording_id\n")
    with pytest.raises(RequestError, match=r"2 of 2 recordings cannot be run(.|\n)*a: .*unreadable(.|\n)*b\.csv"):
        require_runnable(plan(root))


def test_what_is_complete_needs_no_chunk_status(dataset: Callable[..., Path]) -> None:
    root = dataset("REC", status=None)
    write_outputs(root, "REC", 3)
    assert [r.decision for r in plan(root).recordings] == [InferDecision.SKIP]


def test_pattern_limit_and_chunk_plan_choose(dataset: Callable[..., Path], tmp_path: Path) -> None:
    from badc.datasets.chunking.plan import ChunkPlanRow

    root = dataset("A_1", "A_2", "B_1")
    assert [r.recording_id for r in plan(root, pattern=("a_*",)).recordings] == ["A_1", "A_2"]
    assert [r.decision for r in plan(root, limit=1).recordings] == [
        InferDecision.RUN,
        InferDecision.LATER,
        InferDecision.LATER,
    ]
    row = ChunkPlanRow(
        recording_id="B_1",
        audio_path="audio/B_1.wav",
        manifest_path="manifests/B_1.csv",
        chunk_output_dir="artifacts/chunks/B_1",
        chunk_duration=1,
        overlap=0,
    )
    write_plan_csv(tmp_path / "chunks.csv", ChunkPlanRow, [row])
    assert [r.recording_id for r in plan(root, chunk_plan=tmp_path / "chunks.csv").recordings] == ["B_1"]


def test_recordings_without_chunks_are_in_the_plan_and_in_nobodys_way(
    dataset: Callable[..., Path], make_audio: Callable[..., Path]
) -> None:
    root = dataset("REC")
    make_audio("ds/audio/siteA/new.wav")
    (root / "audio" / "bad.wav").write_bytes(b"no audio")
    failed = ChunkStatus("bad", str(root / "audio" / "bad.wav"), None, ChunkState.FAILED, error="not readable")
    write_chunk_status(status_path(root / "artifacts" / "chunks", "bad"), failed)
    made = plan(root)
    assert {r.recording_id: (r.decision, r.reason) for r in made.not_chunked} == {
        "bad": (InferDecision.NOT_CHUNKED, "not chunked: its chunking failed: not readable"),
        "new": (InferDecision.NOT_CHUNKED, "never chunked"),
    }
    assert [r.recording_id for r in made.todo] == ["REC"]
    require_runnable(made)
    assert [r.recording_id for r in plan(root, pattern=("n*",)).recordings] == ["new"]


def test_what_git_annex_dropped_is_that_recordings_matter_alone(dataset: Callable[..., Path]) -> None:
    root = dataset("A", "B", "C")
    write_outputs(root, "A", 3)
    for path in (root / "manifests" / "B.csv", status_path(root / "artifacts" / "chunks", "A")):
        path.unlink()
        path.symlink_to(".git/annex/objects/MD5E-s9--0a")
    found = {r.recording_id: r.decision for r in plan(root, use_hawkears=False).recordings}
    assert found == {"A": InferDecision.SKIP, "B": InferDecision.NOT_HERE, "C": InferDecision.RUN}


def test_two_manifests_of_one_recording_are_refused(dataset: Callable[..., Path]) -> None:
    root = dataset("REC")
    (root / "manifests" / "copy.csv").write_text((root / "manifests" / "REC.csv").read_text())
    with pytest.raises(RequestError, match=r"same recording; leave one out with --pattern:\nREC: .*REC\.csv"):
        plan(root)


@pytest.mark.parametrize(("make", "reason"), [(False, "no such dataset"), (True, "no such folder of manifests")])
def test_a_dataset_that_is_none_is_refused(tmp_path: Path, make: bool, reason: str) -> None:
    if make:
        (tmp_path / "ds").mkdir()
    with pytest.raises(RequestError, match=reason):
        plan(tmp_path / "ds")


def test_the_plans_files_have_the_columns_of_the_format(dataset: Callable[..., Path], tmp_path: Path) -> None:
    root = dataset("two words")
    made = plan(root, use_hawkears=False, max_gpus=2)
    rows = [row.model_copy(update={"hawkears_args": ("--min_score", "0.7, say")}) for row in made.rows()]
    write_plan_csv(tmp_path / "plan.csv", InferPlanRow, rows)
    write_plan_json(tmp_path / "plan.json", rows)

    with (tmp_path / "plan.csv").open(encoding="utf-8") as stream:
        (row,) = csv.DictReader(stream)
    assert ",".join(row) == (
        "recording_id,manifest_path,output_dir,recording_output_dir,telemetry_log,use_hawkears,hawkears_args,"
        "max_gpus,cpu_workers,chunk_status,chunk_status_path,settings"
    )
    assert row["manifest_path"] == "manifests/two words.csv"
    assert row["telemetry_log"] == "artifacts/telemetry/infer/two words.jsonl"
    assert row["recording_output_dir"] == "artifacts/infer/two words"
    assert json.loads(row["hawkears_args"]) == ["--min_score", "0.7, say"]
    assert read_plan(tmp_path / "plan.csv", InferPlanRow) == read_plan(tmp_path / "plan.json", InferPlanRow) == rows


def test_after_a_hard_kill_the_log_is_newer_than_the_summary(tmp_path: Path) -> None:
    import os

    log = tmp_path / "REC.jsonl"
    assert resumable(log) is None
    log.touch()
    assert resumable(log) == log
    summary_path(log).touch()
    os.utime(log, ns=(1, 1))
    assert resumable(log) == summary_path(log)
    os.utime(log)
    os.utime(summary_path(log), ns=(1, 1))
    assert resumable(log) == log


def test_a_recordings_run_has_the_datasets_places(dataset: Callable[..., Path]) -> None:
    root = dataset("REC")
    made = plan(root, max_retries=0, output_dir=Path("elsewhere"))
    settings = made.infer_settings(made.todo[0])
    assert settings.manifest == root / "manifests" / "REC.csv"
    assert settings.output_dir == root / "elsewhere"
    assert settings.telemetry_log == root / "artifacts" / "telemetry" / "elsewhere" / "REC.jsonl", "has its own logs"
    (of_the_first,) = plan(root).todo
    assert of_the_first.log == root / "artifacts" / "telemetry" / "infer" / "REC.jsonl"
    assert (settings.dataset_root, settings.max_retries, settings.resume_summary) == (root, 0, None)


def test_sites_that_cannot_be_read_are_refused_before_anything_is_run(dataset: Callable[..., Path]) -> None:
    made = plan(dataset("REC"), bundle=True, sites=Path("sites.csv"))
    with pytest.raises(RequestError, match=r"sites\.csv: no such CSV of sites"):
        require_runnable(made)
    (made.settings.root / "sites.csv").write_text("station,latitude,longitude\nREC,62,-114\n")
    require_runnable(made)


def test_only_what_is_partly_done_is_gone_on_with(dataset: Callable[..., Path]) -> None:
    root = dataset("cut anew", "partial", "whole")
    write_outputs(root, "partial", 1)
    write_outputs(root, "whole", 3)
    made = plan(root, resume_completed=True, include_existing=True)
    for recording in made.todo:
        log = recording.log
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch()
    resumed = {r.recording_id: made.infer_settings(r).resume_summary for r in made.todo}
    assert resumed == {"cut anew": None, "partial": made.todo[1].log, "whole": None}


def test_a_recording_that_a_run_is_writing_is_said_to_be_running(dataset: Callable[..., Path]) -> None:
    root = dataset("A", "B")
    log = root / "a.jsonl"
    with output_lock(root / "artifacts" / "infer", frozenset({"A"}), log):
        reasons = {r.recording_id: r.reason for r in plan(root).recordings}
        assert reasons["A"].startswith(f"no chunk has an output; it is running: process {os.getpid()} on ")
        assert reasons["B"] == "no chunk has an output"
    assert plan(root).recordings[0].reason == "no chunk has an output"
