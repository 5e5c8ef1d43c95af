"""Results of other settings: kept and refused, unless they may be replaced; the stub never replaces any."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from badc.detections.result import result_path
from badc.errors import RequestError
from badc.inference.plan import InferPlan, plan_inference
from badc.inference.settings import InferSettings
from badc.inference.worker import infer_chunks
from badc.runners.settings import options_that_made

pytestmark = pytest.mark.usefixtures("_fresh_runner")
Make = Callable[..., InferPlan]


def run(plan: InferPlan) -> dict[str, bytes]:
    assert all(attempt.ok for attempt in infer_chunks(plan.todo, plan.order, lambda attempt: None))
    return outputs(plan)


def outputs(plan: InferPlan) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in plan.order.output_dir.rglob("*.json")}


def test_every_output_says_what_made_it(plan: Make, fake: Callable[..., str]) -> None:
    command = fake("detector", "--seconds", 0)
    made = plan(runner_cmd=command)
    for data in run(made).values():
        document = json.loads(data)
        assert document["settings"] == {
            "runner": "custom",
            "runner_cmd": command,
            "channel": None,
            "model_version": "detector 1",
        }
        assert len(document["fingerprint"]) == 16


@pytest.mark.parametrize("there", [{"runner_cmd": True}, {"use_birdnet": True}])
def test_the_stub_never_replaces_a_result(plan: Make, fake: Callable[..., str], there: dict[str, Any]) -> None:
    if "runner_cmd" in there:
        there = {"runner_cmd": fake("detector")}
    before = run(first := plan(**there))
    for replacing in ({}, {"replace_results": True}):
        with pytest.raises(RequestError, match="the stub detects nothing, and never replaces a result") as refused:
            plan(**replacing)
        assert "--replace-results" not in str(refused.value)
    assert outputs(first) == before


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"min_confidence": 0.9}, "min_confidence 0.25, asked for 0.9"),
        ({"min_confidence": 0.1}, "min_confidence 0.25, asked for 0.1"),
        ({"min_confidence": 0.9, "birdnet_overlap_s": 1.5}, "birdnet_overlap_s 0.0, asked for 1.5"),
        ({"birdnet_overlap_s": 1.5}, "birdnet_overlap_s 0.0, asked for 1.5"),
        ({"species": "Tennessee Warbler\n"}, "species none, asked for Leiothlypis peregrina_Tennessee Warbler"),
    ],
)
def test_a_result_of_another_threshold_overlap_or_list_is_kept(
    plan: Make, tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    before = run(first := plan(use_birdnet=True))
    if names := changed.pop("species", None):
        changed["species_list"] = tmp_path / "list.txt"
        changed["species_list"].write_text(names)
    with pytest.raises(RequestError) as refused:
        plan(use_birdnet=True, **changed)
    message = str(refused.value)
    assert said in message
    assert "--output-dir" in message
    assert "--replace-results" in message
    assert "To continue as those there were made, give --use-birdnet." in message
    # A higher threshold alone only leaves some out.
    only_higher = changed == {"min_confidence": 0.9}
    assert ("every detection from 0.25 on, and --min-confidence 0.9 of a report leaves" in message) == only_higher
    assert outputs(first) == before
    assert len(plan(use_birdnet=True, replace_results=True, **changed).todo) == len(before)
    # Elsewhere nothing is in the way, and the same settings may run again.
    assert plan(use_birdnet=True, output_dir=tmp_path / "other", **changed).todo
    assert plan(use_birdnet=True).todo


def test_a_species_list_counts_by_its_content(plan: Make, tmp_path: Path) -> None:
    lists = [tmp_path / "a.txt", tmp_path / "b.txt", tmp_path / "c.txt"]
    for path, text in zip(lists, ("Tennessee Warbler\n", "# again\ntennessee warbler\n", "Ovenbird\n"), strict=True):
        path.write_text(text)
    run(plan(use_birdnet=True, species_list=lists[0]))
    assert plan(use_birdnet=True, species_list=lists[1]).todo
    lists[0].write_text("Ovenbird\n")
    for path in (lists[0], lists[2]):
        with pytest.raises(RequestError, match=r"species .*Tennessee Warbler, asked for .*Ovenbird"):
            plan(use_birdnet=True, species_list=path)


def test_results_from_before_there_were_fingerprints_count_by_runner_and_version(plan: Make) -> None:
    made = plan(use_birdnet=True)
    for path in made.order.output_dir.rglob("*.json"):
        path.unlink()
    run(made)
    for planned in made.todo:
        path = result_path(made.order.output_dir, planned.chunk)
        document = json.loads(path.read_bytes())
        del document["fingerprint"], document["settings"]
        path.write_text(json.dumps(document))
    assert plan(use_birdnet=True, min_confidence=0.9).todo
    path.write_text(json.dumps(document | {"model_version": "BirdNET 1"}))
    with pytest.raises(RequestError, match=r"(?s)1 result there is .*model_version BirdNET 1, asked for"):
        plan(use_birdnet=True)


def test_the_options_of_results_are_those_that_made_them(tmp_path: Path) -> None:
    settings = InferSettings(
        manifest=tmp_path, use_hawkears=True, hawkears_engine="resident", hawkears_arg=("--min_score", "0.6")
    )
    made = settings.runner().made_with()
    assert made == {"runner": "hawkears", "hawkears_arg": ["--min_score", "0.6"]}
    assert options_that_made(made) == "--use-hawkears --hawkears-arg=--min_score --hawkears-arg 0.6"
    assert options_that_made(made | {"channel": "1"}).endswith(" 0.6 --channel 1")
    assert options_that_made({"runner": "another tool"}) is None


def test_files_in_hawkears_arguments_count_by_their_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def made(*words: str) -> dict[str, Any]:
        asked = InferSettings(
            manifest=tmp_path, use_hawkears=True, hawkears_engine="resident", hawkears_arg=("--include", *words)
        )
        return asked.runner().made_with()

    (tmp_path / "a.csv").write_text("HETH\n")
    (tmp_path / "b.csv").write_text("HETH\n")
    first = made("a.csv")
    assert first == made("b.csv") == made(str(tmp_path / "a.csv"))
    (tmp_path / "a.csv").write_text("OVEN\n")
    assert made("a.csv") != first


def test_a_command_is_the_same_from_wherever_it_is_named(
    tmp_path: Path, make_manifest: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, make_recording: Any
) -> None:
    (tmp_path / ".datalad").mkdir(exist_ok=True)
    (tmp_path / "detect.py").touch()
    manifest = make_manifest(make_recording())
    monkeypatch.chdir(tmp_path)
    here = plan_inference(InferSettings(manifest=manifest, runner_cmd="python detect.py", max_gpus=0))
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    there = plan_inference(InferSettings(manifest=manifest, runner_cmd=f"python {tmp_path / 'detect.py'}", max_gpus=0))
    assert here.order.made_with == there.order.made_with


@pytest.mark.parametrize("kind", ["link", "pointer", "unknown status", "another window"])
def test_what_cannot_be_told_apart_from_a_result_is_kept(plan: Make, kind: str) -> None:
    made = plan()
    path = result_path(made.order.output_dir, made.todo[0].chunk)
    path.parent.mkdir(parents=True)
    if kind == "link":
        path.symlink_to("../../.git/annex/objects/aa/bb/MD5E-s700--abc.json/MD5E-s700--abc.json")
    elif kind == "pointer":
        path.write_text("/annex/objects/MD5E-s700--d41d8cd98f00b204e9800998ecf8427e.json\n")
    else:
        change = {"status": "success"} if kind == "unknown status" else {"chunk": {"start_ms": 5, "end_ms": 6}}
        found = {"chunk_id": made.todo[0].chunk.chunk_id, "status": "ok", "runner": "birdnet"}
        path.write_text(json.dumps(found | {"detections": [{"label": "A", "confidence": 0.9}]} | change))
    with pytest.raises(RequestError, match="1 result there is of other settings") as refused:
        plan()
    if kind in ("link", "pointer"):
        assert "is not here (`datalad -C " in str(refused.value)
    # What holds no detection is no result.
    path.unlink()
    path.write_text('{"chunk_id": "x", "detections": []}')
    assert plan().todo
