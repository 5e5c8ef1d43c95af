"""HawkEars 1.x, in the place of which a stand-in follows its contract."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from badc.detections.result import result_path
from badc.errors import RequestError
from badc.inference.plan import InferPlan, plan_inference
from badc.inference.settings import InferSettings
from badc.inference.worker import infer_chunks
from tests.conftest import FAKES

HAWKEARS1 = FAKES / "HawkEars1"
pytestmark = pytest.mark.usefixtures("_fresh_runner")


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Return a function that tells how many recordings each call of the script had so far."""
    log = tmp_path / "calls.tsv"
    monkeypatch.setenv("FAKE_HAWKEARS_CALLS", str(log))
    return lambda: [line.split("\t")[0] for line in log.read_text().splitlines()] if log.exists() else []


def attempts_at(plan: InferPlan, **changes: Any) -> list[Any]:
    return infer_chunks(plan.todo, replace(plan.order, **changes), lambda attempt: None)


def settings(**more: Any) -> dict[str, Any]:
    return {"use_hawkears": True, "hawkears_root": HAWKEARS1, **more}


def test_a_task_is_one_call_and_its_table_is_split_by_chunk(
    plan: Callable[..., InferPlan], calls: Callable[[], list[str]]
) -> None:
    made = plan(seconds=4, **settings())
    ended = attempts_at(made)

    assert calls() == ["4"]
    assert [attempt.ok for attempt in ended] == [True] * 4
    assert {attempt.details["chunks_in_call"] for attempt in ended} == {4}
    for planned in made.todo:
        path = result_path(made.order.output_dir, planned.chunk)
        document = json.loads(path.read_bytes())
        assert document["runner"] == "hawkears"
        assert document["model_version"].startswith("HawkEars 1.x ")
        (raw,) = Path(document["hawkears_output"]).iterdir()
        assert raw.read_text().splitlines()[1].startswith(f"{planned.chunk.chunk_id}.wav,0.000,0.250,Tennessee Warbler")
        assert raw.parent == path.with_name(f"{planned.chunk.chunk_id}_hawkears")
        found = document["detections"]
        assert [(d["label"], d["label_code"], d["timestamp_ms"], d["end_ms"]) for d in found] == [
            ("TEWA", "TEWA", 0, 250),
            ("COYE", "COYE", 250, 500),
        ]


def test_its_options_are_passed_on(plan: Callable[..., InferPlan]) -> None:
    made = plan(seconds=1, **settings(hawkears_arg=("--min_score", "0.7", "--lon", "-114.5")))
    attempts_at(made)
    document = json.loads(result_path(made.order.output_dir, made.todo[0].chunk).read_bytes())
    assert [d["label_code"] for d in document["detections"]] == ["TEWA"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--min_skore", "0.7"), "has no such option; it has --date, --lat"),
        (("--output", "x"), "BADC decides this itself"),
        (("-m", "1"), "BADC decides this itself"),
    ],
)
def test_an_unknown_option_is_refused_before_the_run(
    plan: Callable[..., InferPlan], words: tuple[str, ...], reason: str
) -> None:
    with pytest.raises(RequestError, match=reason):
        plan(**settings(hawkears_arg=words))


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("exit", "exit code 3"),
        ("quit", "wrote no HawkEars_labels.csv"),
        ("column", "it lacks score"),
        ("short", "line 4 is short"),
        ("number", "start_time is 'soon'"),
        ("stranger", "line 4 is of 'other.wav'"),
        ("bytes", "malformed HawkEars_labels.csv"),
        ("thread", "a thread of HawkEars ended"),
    ],
)
def test_each_way_to_fail_is_a_failed_attempt_with_the_reason_and_the_end_of_its_output(
    plan: Callable[..., InferPlan], monkeypatch: pytest.MonkeyPatch, mode: str, reason: str
) -> None:
    monkeypatch.setenv("FAKE_HAWKEARS", mode)
    made = plan(seconds=1, **settings())
    (ended,) = attempts_at(made)
    assert not ended.ok
    assert reason in ended.details["error"]
    assert "analysing 1 recordings" in ended.details["stderr"]
    assert not list(made.order.output_dir.rglob("*.json"))


def test_a_call_that_hangs_is_stopped(plan: Callable[..., InferPlan], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_HAWKEARS", "hang")
    made = plan(seconds=2, **settings(chunk_timeout_s=1.5))
    ended = attempts_at(made)
    # The limit is per chunk, so a call for two has twice the time.
    assert ["--chunk-timeout 3 s" in attempt.details["error"] for attempt in ended] == [True, True]


def test_one_by_one_only_the_bad_chunk_fails(
    plan: Callable[..., InferPlan], monkeypatch: pytest.MonkeyPatch, calls: Callable[[], list[str]]
) -> None:
    monkeypatch.setenv("FAKE_HAWKEARS", "exit")
    monkeypatch.setenv("FAKE_HAWKEARS_ONLY", "_1000_2000")
    made = plan(seconds=3, **settings())
    assert [attempt.ok for attempt in attempts_at(made)] == [False] * 3
    assert [attempt.ok for attempt in attempts_at(made, in_one_call=False)] == [True, False, True]
    assert calls() == ["3", "1", "1", "1"]


def test_names_that_git_annex_resolved_are_matched(
    make_audio: Callable[..., Path],
    csv_file: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two chunks of the same content are links to the same key."""
    monkeypatch.setenv("FAKE_HAWKEARS", "resolved")
    same = make_audio("annex/MD5E-s1--aa.wav", seconds=1)
    other = make_audio("annex/MD5E-s1--bb.wav", seconds=2)
    for name, key in (("one", same), ("twin", same), ("two", other)):
        (tmp_path / f"{name}.wav").symlink_to(key)
    manifest = csv_file([("REC", n, f"{n}.wav", 0, ms) for n, ms in (("one", 1000), ("twin", 1000), ("two", 2000))])
    made = plan_inference(InferSettings(manifest=manifest, output_dir=tmp_path / "out", **settings()))
    assert [(attempt.ok, attempt.details.get("detections")) for attempt in attempts_at(made)] == [(True, 2)] * 3
    document = json.loads((tmp_path / "out" / "REC" / "two.json").read_bytes())
    assert [d["end_ms"] for d in document["detections"]] == [500, 1000]


@pytest.mark.parametrize("name", ["two words", "o'brien", "é漢", "[1]", "$(x)"])
def test_hostile_ids_work(plan: Callable[..., InferPlan], name: str) -> None:
    made = plan(f"{name}.wav", seconds=2, **settings())
    assert [attempt.ok for attempt in attempts_at(made)] == [True, True]


def test_a_folder_without_the_script_is_refused(plan: Callable[..., InferPlan], tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"has no analyze\.py"):
        plan(**settings(hawkears_root=tmp_path))


def test_a_script_that_does_not_run_is_refused(plan: Callable[..., InferPlan], tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "analyze.py").write_text("import torch_that_is_not_here\n")
    with pytest.raises(RequestError, match=r"torch_that_is_not_here.*--hawkears-python"):
        plan(**settings(hawkears_root=broken))


def test_the_folders_own_environment_is_used(plan: Callable[..., InferPlan], tmp_path: Path) -> None:
    import sys

    root = tmp_path / "HawkEars"
    shutil.copytree(HAWKEARS1, root)
    (root / ".venv" / "bin").mkdir(parents=True)
    own = root / ".venv" / "bin" / "python"
    own.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    own.chmod(0o755)
    made = plan(seconds=1, **settings(hawkears_root=root))
    assert str(own) in made.order.runner.description
    assert attempts_at(made)[0].ok


@pytest.mark.parametrize(("text", "version"), [("1.0.8\n", "1.0.8"), ("1.0.3+", "1.0.3+"), (None, "version unknown")])
def test_the_model_version_has_what_version_txt_says(
    plan: Callable[..., InferPlan], tmp_path: Path, text: str | None, version: str
) -> None:
    root = shutil.copytree(HAWKEARS1, tmp_path / "HawkEars")
    (root / "version.txt").unlink(missing_ok=True)
    if text is not None:
        (root / "version.txt").write_text(text)
    made = plan(seconds=1, **settings(hawkears_root=root))
    attempts_at(made)
    document = json.loads(result_path(made.order.output_dir, made.todo[0].chunk).read_bytes())
    assert document["model_version"].startswith(f"HawkEars 1.x {version} ")
    assert f"({version})" in made.order.runner.description
