"""A saved plan, given again, runs what it says; other tables of manifests work too."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from badc.chunks.manifest import read_manifest
from badc.datasets.inference.plan import OrchestrationPlan, plan_orchestration, require_runnable
from badc.datasets.inference.saved_plan import InferPlanRow, SavedPlanRow, said_by
from badc.datasets.inference.settings import OrchestrateSettings
from badc.detections.result import ChunkResult, ResultStatus, result_path, write_result
from badc.errors import RequestError
from badc.settings.model import settings_from
from badc.system.row_files import read_plan, write_plan_csv, write_plan_json


@pytest.fixture
def dataset(make_dataset: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset of three chunked recordings; the working directory is another folder."""
    root = make_dataset("A", "B", "C")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return root


def planned(dataset: Path, **settings: Any) -> OrchestrationPlan:
    made = settings_from(OrchestrateSettings, {"dataset": dataset, **settings})
    return plan_orchestration(made)


def saved(plan: OrchestrationPlan, suffix: str) -> Path:
    path = plan.settings.root / "plans" / f"infer{suffix}"
    rows = plan.rows()
    if suffix == ".csv":
        write_plan_csv(path, InferPlanRow, rows)
    else:
        write_plan_json(path, rows)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".json"])
@pytest.mark.parametrize("as_the_dataset", [True, False])
def test_a_saved_plan_runs_what_it_says(dataset: Path, suffix: str, as_the_dataset: bool) -> None:
    first = planned(
        dataset,
        **{"pattern": ("[AB]",), "use_birdnet": True, "min_confidence": 0.5, "max_gpus": 0, "cpu_workers": 2},
        **{"output_dir": Path("out"), "telemetry_dir": Path("logs"), "max_retries": 7, "keep_going": True},
        embeddings=Path("artifacts/embeddings"),
    )
    path = saved(first, suffix)
    again = planned(path) if as_the_dataset else planned(dataset, chunk_plan=path)
    assert [r.recording_id for r in again.todo] == ["A", "B"]
    assert [again.infer_settings(r) for r in again.todo] == [first.infer_settings(r) for r in first.todo]
    assert again.infer_settings(again.todo[0]).min_confidence == 0.5
    assert again.infer_settings(again.todo[0]).embeddings == dataset / "artifacts" / "embeddings"
    assert again.rows() == first.rows()
    other = planned(dataset, chunk_plan=path, max_retries=1, runner_cmd="detect")
    run = other.infer_settings(other.todo[0])
    assert (run.max_retries, run.runner_cmd, run.use_birdnet, run.cpu_workers) == (1, "detect", False, 2)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        (
            "recording_output_dir",
            "elsewhere/A",
            r"infer\.json: recording_output_dir elsewhere/A: .* are in artifacts/infer/A",
        ),
        ("recording_id", "OTHER", r"infer\.json: manifests/A\.csv is of the recording A, and not of OTHER"),
        (
            "settings",
            {"use_birdnet": True, "min_confidnce": 0.5},
            r"infer\.json, with the options given: .*min-confidnce",
        ),
    ],
)
def test_what_a_plan_cannot_say_is_refused_and_the_plan_named(
    dataset: Path, column: str, value: Any, said: str
) -> None:
    path = saved(planned(dataset, pattern=("A",), use_birdnet=True), ".json")
    rows = json.loads(path.read_text())
    rows[0][column] = value
    if column == "recording_id":
        rows[0]["recording_output_dir"] = "artifacts/infer/OTHER"
    path.write_text(json.dumps(rows))
    with pytest.raises(RequestError, match=said):
        planned(path)


def test_a_saved_plan_keeps_what_is_refused_and_what_is_run_again(dataset: Path) -> None:
    for chunk in read_manifest(dataset / "manifests" / "A.csv").chunks:
        path = result_path(dataset / "artifacts" / "infer", chunk)
        write_result(path, ChunkResult(chunk, "birdnet", ResultStatus.NO_DETECTIONS))
    refused = planned(dataset, pattern=("A",), runner_cmd="detect")
    with pytest.raises(RequestError, match=r"3 results there are of other settings .*asked for \(custom, runner_cmd"):
        require_runnable(planned(saved(refused, ".csv")))
    again = planned(dataset, pattern=("A",), use_birdnet=True, include_existing=True, allow_partial_chunks=True)
    settings = planned(saved(again, ".json")).settings
    assert (settings.use_birdnet, settings.include_existing, settings.allow_partial_chunks) == (True, True, True)
    resumed = planned(saved(again, ".json"), redo_before="2026-05-09T20:00:00Z").settings
    assert not resumed.include_existing, "what was done since is not done again"


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_a_plan_without_rows_is_refused(dataset: Path, suffix: str) -> None:
    path = saved(planned(dataset, pattern=("none",), runner_cmd="detect"), suffix)
    for given in ({"dataset": path}, {"dataset": dataset, "chunk_plan": path, "use_birdnet": True}):
        with pytest.raises(RequestError, match=rf"infer{suffix}: the plan has no rows"):
            planned(given.pop("dataset"), **given)


def written(dataset: Path, *rows: dict[str, Any]) -> Path:
    """Write a plan as another tool may: with these columns alone."""
    path = dataset / "plan.csv"
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_a_table_that_only_has_manifests_is_a_plan(dataset: Path) -> None:
    path = written(dataset, {"manifest_path": "manifests/C.csv"}, {"manifest_path": dataset / "manifests" / "A.csv"})
    for made in (planned(path, runner_cmd="detect"), planned(dataset, chunk_plan=path, runner_cmd="detect")):
        assert made.settings.root == dataset
        assert [r.recording_id for r in made.todo] == ["C", "A"]
        assert made.recordings[0].log == dataset / "artifacts" / "telemetry" / "infer" / "C.jsonl"
    (dataset / "plan.json").write_text(json.dumps([{"manifest_path": "manifests/B.csv"}]))
    assert [r.recording_id for r in planned(dataset / "plan.json", runner_cmd="detect").todo] == ["B"]


def test_a_plan_of_another_tool_has_its_own_logs_and_hawkears_arguments(dataset: Path) -> None:
    rows = [
        {
            "manifest_path": f"manifests/{name}.csv",
            "telemetry_log": f"logs/{name} of 2023.jsonl",
            "use_hawkears": "True",
            "hawkears_args": '["--min_score", "0.7"]',
            "max_gpus": "",
            "chunk_status_path": f"artifacts/chunks/{name}/.chunk_status.json",
        }
        for name in "AB"
    ]
    path = written(dataset, *rows)
    said = said_by(path, read_plan(path, SavedPlanRow), frozenset())
    assert said == {"use_hawkears": True, "hawkears_arg": ("--min_score", "0.7"), "chunks_dir": "artifacts/chunks"}
    made = planned(path, use_birdnet=True)
    assert (made.settings.use_birdnet, made.settings.hawkears_arg) == (True, ())
    assert [made.infer_settings(r).telemetry_log for r in made.todo] == [
        dataset / "logs" / f"{name} of 2023.jsonl" for name in "AB"
    ]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (
            [{"manifest_path": "manifests/A.csv", "max_gpus": 1}, {"manifest_path": "manifests/B.csv", "max_gpus": 2}],
            r"its rows differ in max_gpus \(1, 2\)",
        ),
        ([{"manifest_path": "manifests/A.csv", "use_hawkears": "false"}], "not which runner then; name it"),
        ([{"manifest_path": "nowhere/A.csv"}], r"nowhere/A\.csv is not below .*--chunk-plan"),
        ([{"recording_id": "A"}], "no column manifest_path"),
    ],
)
def test_what_a_plan_cannot_say_is_refused(dataset: Path, rows: list[dict[str, Any]], reason: str) -> None:
    path = written(dataset, *rows)
    with pytest.raises(RequestError, match=reason):
        planned(path)


def test_two_plans_are_one_too_many(dataset: Path) -> None:
    path = written(dataset, {"manifest_path": "manifests/C.csv"})
    with pytest.raises(RequestError, match=r"plan\.csv is a file; give the dataset's folder with --chunk-plan"):
        planned(path, chunk_plan=path)
