"""Resuming a run: which chunks count as done, and which files are no run to resume."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from badc.detections.result import result_path
from badc.errors import RequestError
from badc.inference.attempt import Attempt
from badc.inference.plan import InferPlan, plan_inference
from badc.inference.settings import InferSettings
from badc.inference.worker import infer_chunks

pytestmark = pytest.mark.usefixtures("_fresh_runner")


def run(plan: InferPlan) -> list[Attempt]:
    return infer_chunks(plan.todo, plan.order, lambda attempt: None)


def summary_of(jobs: dict[str, Any], path: Path) -> Path:
    path.write_text(json.dumps({"jobs": jobs}))
    return path


@pytest.mark.parametrize("text", ["", "not json", "[]", '{"jobs": []}', "{}", "null", '{"jobs": {"c": {}}}'])
def test_a_resume_file_that_is_no_summary_is_refused(plan: Callable[..., InferPlan], tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.summary.json"
    path.write_text(text)
    with pytest.raises(RequestError, match=r"run\.summary\.json"):
        plan(resume_summary=path)


def test_a_missing_resume_file_is_refused(plan: Callable[..., InferPlan], tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"none\.json: the run to resume cannot be read"):
        plan(resume_summary=tmp_path / "none.json")


def test_the_run_of_another_manifest_is_refused(plan: Callable[..., InferPlan], tmp_path: Path) -> None:
    other = summary_of({"OTHER_chunk_0_1": {"status": "success"}}, tmp_path / "s.json")
    with pytest.raises(RequestError, match="another manifest"):
        plan(resume_summary=other)


def test_resume_runs_what_was_not_done_and_what_lost_its_output(plan: Callable[..., InferPlan], tmp_path: Path) -> None:
    first = plan(seconds=4)
    run(first)
    keys = [planned.key for planned in first.todo]
    result_path(first.order.output_dir, first.todo[1].chunk).unlink()
    result_path(first.order.output_dir, first.todo[2].chunk).write_text('{"chunk_id": ')
    jobs = {key: {"status": "success", "recording_id": "REC"} for key in keys[:3]}
    again = plan(seconds=4, resume_summary=summary_of(jobs, tmp_path / "s.json"))
    assert [key for key, _, _ in again.done] == keys[:1]
    assert [planned.key for planned in again.todo] == keys[1:]


def test_resume_with_another_runner_is_refused_or_runs_everything_again(
    plan: Callable[..., InferPlan], tmp_path: Path
) -> None:
    first = plan()
    run(first)
    jobs = {planned.key: {"status": "success", "recording_id": "REC"} for planned in first.todo}
    summary = summary_of(jobs, tmp_path / "s.json")
    with pytest.raises(RequestError, match=r"4 results there are of other settings .*--replace-results"):
        plan(resume_summary=summary, runner_cmd="true")
    again = plan(resume_summary=summary, runner_cmd="true", replace_results=True)
    assert len(again.todo) == 4
    assert list(again.done) == []


def test_what_was_done_before_a_time_is_done_again(plan: Callable[..., InferPlan], tmp_path: Path) -> None:
    first = plan()
    run(first)
    os.utime(result_path(first.order.output_dir, first.todo[2].chunk), (1e9, 1e9))
    jobs = {planned.key: {"status": "success", "recording_id": "REC"} for planned in first.todo}
    again = plan(resume_summary=summary_of(jobs, tmp_path / "s.json"), redo_before="2002-01-01T00:00:00+02:00")
    assert [planned.key for planned in again.todo] == [first.todo[2].key]


def test_a_finished_chunk_needs_its_audio_no_more(plan: Callable[..., InferPlan], tmp_path: Path) -> None:
    first = plan()
    run(first)
    jobs = {planned.key: {"status": "success", "recording_id": "REC"} for planned in first.todo}
    (tmp_path / "audio" / "REC.wav").unlink()
    again = plan_inference(first.settings.model_copy(update={"resume_summary": summary_of(jobs, tmp_path / "s.json")}))
    assert len(again.done) == 4


def test_resume_tells_two_recordings_with_the_same_chunk_id_apart(
    make_audio: Callable[..., Path], csv_file: Callable[..., Path], tmp_path: Path
) -> None:
    make_audio("a.wav"), make_audio("b.wav")
    path = csv_file([("A", "c", "a.wav", 0, 1000), ("B", "c", "b.wav", 0, 1000)])
    first = plan_inference(InferSettings(manifest=path, output_dir="out"))
    assert list(first.keys) == ["A/c", "B/c"]
    run(first)
    jobs = {"A/c": {"status": "success", "recording_id": "A"}, "B/c": {"status": "failure", "recording_id": "B"}}
    again = plan_inference(
        InferSettings(manifest=path, output_dir="out", resume_summary=summary_of(jobs, tmp_path / "s.json"))
    )
    assert [key for key, _, _ in again.done] == ["A/c"]
    assert [planned.key for planned in again.todo] == ["B/c"]
