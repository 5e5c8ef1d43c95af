"""The worked examples of runners, run for real on real audio."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from badc.inference.attempt import Attempt
from badc.inference.plan import plan_inference
from badc.inference.settings import InferSettings
from badc.inference.worker import infer_chunks
from badc.runners.current import close_runner
from tests.conftest import ROOT

EXAMPLES = ROOT / "docs" / "examples"


def example(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def planned(birds_wav: Path, make_manifest: Any, tmp_path: Path) -> Any:
    """Return a function that plans a run over two chunks of real warblers."""

    def plan(**settings: Any) -> Any:
        return plan_inference(
            InferSettings(manifest=make_manifest(birds_wav, 5.0), output_dir=tmp_path / "out", **settings)
        )

    yield plan
    close_runner()


def detections(folder: Path) -> list[dict[str, Any]]:
    return [found for path in sorted(folder.rglob("*.json")) for found in orjson.loads(path.read_bytes())["detections"]]


def test_the_command_finds_the_loud_seconds(planned: Any, tmp_path: Path) -> None:
    plan = planned(runner_cmd=f"{sys.executable} {EXAMPLES / 'loud.py'} --threshold-db -60")
    attempts = infer_chunks(plan.todo, plan.order, lambda attempt: None)
    assert [attempt.ok for attempt in attempts] == [True, True], [attempt.details for attempt in attempts]
    found = detections(tmp_path / "out")
    assert found
    assert {detection["label"] for detection in found} == {"loud"}


def test_the_runner_inside_badc_hears_the_warblers(planned: Any, tmp_path: Path) -> None:
    from dataclasses import replace

    tone = example("tone_runner")
    plan = planned()
    reports: list[Attempt] = []
    quiet = replace(plan.order, runner=tone.ToneSpec(low_hz=15_000, high_hz=15_500))
    assert [a.details["detections"] for a in infer_chunks(plan.todo, quiet, reports.append)] == [0, 0]
    birds = replace(plan.order, runner=tone.ToneSpec(low_hz=3000, high_hz=10_000, least_share=0.5))
    attempts = infer_chunks(plan.todo, birds, reports.append)
    assert all(attempt.ok for attempt in attempts), [attempt.details for attempt in attempts]
    found = detections(tmp_path / "out")
    assert found, "warblers sing between 3 and 10 kHz"
    assert all(0.5 <= detection["confidence"] <= 1 for detection in found)
    assert hash(tone.ToneSpec()) == hash(tone.ToneSpec())
