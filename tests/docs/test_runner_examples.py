"""The worked examples of runners, run for real on real audio."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from badc.inference.plan import plan_inference
from badc.inference.settings import InferSettings
from badc.inference.worker import infer_chunks
from badc.runners.current import close_runner
from badc.runners.process import serve
from tests.conftest import ROOT

EXAMPLES = ROOT / "docs" / "examples"


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


def test_the_resident_command_finds_the_loud_seconds(planned: Any, tmp_path: Path) -> None:
    for file in (EXAMPLES / "loud_resident.py", Path(serve.__file__)):
        shutil.copy(file, tmp_path)
    plan = planned(runner_resident=f"{sys.executable} {tmp_path / 'loud_resident.py'} -60")
    attempts = infer_chunks(plan.todo, plan.order, lambda attempt: None)
    assert [attempt.ok for attempt in attempts] == [True, True], [attempt.details for attempt in attempts]
    assert {detection["label"] for detection in detections(tmp_path / "out")} == {"loud"}


@pytest.fixture(scope="module")
def with_tone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of BADC with one folder and one line more."""
    copy = tmp_path_factory.mktemp("copy")
    for room in ("badc", "blocks", "flows", "tasks"):
        shutil.copytree(ROOT / room, copy / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(EXAMPLES / "tone", copy / "badc" / "runners" / "tone")
    registry = copy / "badc" / "runners" / "registry.py"
    (line,) = re.findall(r"```text\n(.*tone\.runner.*\n)```", (ROOT / "docs" / "add-a-runner.md").read_text())
    last = '            "stub:StubSpec",\n'
    text = registry.read_text()
    assert text.count(last) == 1
    registry.write_text(text.replace(last, line + last))
    return copy


def run_in(copy: Path, *words: str, code: str | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", *(("-m", "flows") if code is None else ("-c", code)), *words],
        env=os.environ | {"PYTHONPATH": str(copy)} | variables,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.slow
def test_a_folder_and_a_line_add_a_runner(
    with_tone: Path, prefect_api: str, birds_wav: Path, make_manifest: Any, tmp_path: Path
) -> None:
    words = ["infer", "run", str(make_manifest(birds_wav, 5.0)), "--output-dir", str(tmp_path / "out"), "--use-tone"]
    done = run_in(with_tone, *words, "--tone-low-hz", "3000", "--tone-high-hz", "10000", PREFECT_API_URL=prefect_api)
    assert done.returncode == 0, done.stderr
    assert "Runner: tones between 3000 and 10000 Hz" in done.stderr
    documents = [orjson.loads(path.read_bytes()) for path in (tmp_path / "out").rglob("*.json")]
    assert {document["runner"] for document in documents} == {"tone"}
    found = detections(tmp_path / "out")
    assert found, "warblers sing between 3 and 10 kHz"
    assert all(0.5 <= detection["confidence"] <= 1 for detection in found)


@pytest.mark.parametrize(
    "command", [("infer", "run"), ("infer", "orchestrate"), ("pipeline", "run"), ("chunk", "probe")]
)
def test_its_options_are_in_the_help(with_tone: Path, command: tuple[str, str]) -> None:
    text = run_in(with_tone, *command, "--help").stdout
    assert "--use-tone" in text
    assert "--tone-low-hz" in text
    assert "Tones: lower end of the band, in Hz." in " ".join(text.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--use-tone", "--use-birdnet"], "--use-birdnet and --use-tone exclude each other"),
        (["--tone-low-hz", "5"], "--tone-low-hz is for --use-tone, which is not given"),
        (["--use-tone", "--tone-low-hz", "-5"], "--tone-low-hz: input should be greater than 0"),
    ],
)
def test_its_options_are_refused_as_those_of_others(with_tone: Path, words: list[str], said: str) -> None:
    done = run_in(with_tone, "infer", "run", "m.csv", *words)
    assert done.returncode == 2
    assert said in done.stderr


@pytest.mark.slow
def test_it_has_a_block_a_form_and_keys_of_run_configurations(with_tone: Path, tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    (tmp_path / "m.csv").touch()
    config.write_text('[runner]\nmanifest = "m.csv"\nuse_tone = true\ntone_low_hz = 3000\n')
    code = """
import sys
from pathlib import Path
from badc.inference.config_file import load_run_config
from blocks.types import TYPES_BY_OPTION, ToneRunner
from flows.deployed.forms import RUNNER_FORMS, values_of
from badc.runners.registry import RUNNERS
assert load_run_config(Path(sys.argv[1])).runner().tone_low_hz == 3000
assert ToneRunner in TYPES_BY_OPTION["runner_block"]
assert ToneRunner.get_block_type_slug() == "badc-tone"
assert ToneRunner(tone_low_hz=5).tone_low_hz == 5
form = RUNNER_FORMS["tone"]
assert values_of(form(tone_high_hz=9000)) == {"use_tone": True, "tone_high_hz": 9000}
specs = [spec for spec in RUNNERS if spec.kind == "tone"]
assert hash(specs[0]()) == hash(specs[0]())
"""
    done = run_in(with_tone, str(config), code=code, PREFECT_HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr


@pytest.fixture
def chosen_by_its_field(with_tone: Path, tmp_path: Path) -> Path:
    """The copy, with a runner that a field without a default chooses, instead of a switch."""
    copy = tmp_path / "copy"
    shutil.copytree(with_tone, copy, ignore=shutil.ignore_patterns("__pycache__"))
    runner = copy / "badc" / "runners" / "tone" / "runner.py"
    text = runner.read_text()
    text = re.sub(r"    switch = Switch\(.*\)\n", "", text)
    text = text.replace('Field(gt=0, description="Tones: lower end', 'Field(ge=0, description="Tones: lower end')
    assert text.count("] = 4000.0\n") == 1
    runner.write_text(text.replace("] = 4000.0\n", "]\n"))
    return copy


@pytest.mark.slow
def test_a_field_without_a_default_chooses_its_runner_even_with_0(chosen_by_its_field: Path) -> None:
    code = """
import sys
from badc.inference.settings import InferSettings
from badc.settings.model import settings_from
from badc.errors import RequestError
assert InferSettings(manifest="m.csv", tone_low_hz=0).runner().kind == "tone"
assert InferSettings(manifest="m.csv").runner().kind == "stub"
try:
    settings_from(InferSettings, {"manifest": "m.csv", "tone_low_hz": -1})
except RequestError as error:
    assert str(error) == "--tone-low-hz: input should be greater than or equal to 0", error
else:
    raise AssertionError
"""
    done = run_in(chosen_by_its_field, code=code)
    assert done.returncode == 0, done.stderr


def test_runners_that_would_get_into_each_others_way_are_refused(with_tone: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(with_tone, copy, ignore=shutil.ignore_patterns("__pycache__"))
    runner = copy / "badc" / "runners" / "tone" / "runner.py"
    runner.write_text(runner.read_text().replace("tone_least_share", "min_confidence"))
    done = run_in(copy, code="import badc.runners.registry")
    assert "TypeError: ToneSpec: another runner has a field min_confidence; call it tone_min_confidence" in done.stderr
