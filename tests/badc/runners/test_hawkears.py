"""HawkEars 2.x in its host process; a stand-in package answers. `make test-hawkears` runs the real one."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from badc.chunks.manifest import read_manifest
from badc.datasets.inference.plan import plan_orchestration
from badc.datasets.inference.recording import InferDecision
from badc.datasets.inference.settings import OrchestrateSettings
from badc.detections.result import ChunkResult, ResultStatus, result_path, write_result
from badc.errors import RequestError
from badc.inference.plan import InferPlan, plan_inference
from badc.inference.worker import infer_chunks
from badc.runners.hawkears import resident, script
from badc.runners.hawkears.places import RecordingCoordinates
from badc.system.gpus import NoGpuError
from tests.conftest import FAKES, ROOT

PACKAGE = FAKES / "hawkears2"
pytestmark = pytest.mark.usefixtures("_fresh_runner")


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """An interpreter that has the stand-in, and nothing of this project on its path."""
    path = tmp_path / "env" / "bin" / "python"
    path.parent.mkdir(parents=True)
    path.write_text(f'#!/bin/sh\nPYTHONPATH={PACKAGE} exec {sys.executable} "$@"\n')
    path.chmod(0o755)
    return path


@pytest.fixture
def hawkears_plan(plan: Callable[..., InferPlan], python: Path, tmp_path: Path) -> Callable[..., InferPlan]:
    """Return a function that plans a run of HawkEars 2.x."""
    checkpoint = tmp_path / "data-root" / "data" / "ckpt" / "model.ckpt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"weights")

    def make(name: str = "REC.wav", seconds: float = 2, **settings: Any) -> InferPlan:
        values = {"hawkears_python": python, "hawkears_data": tmp_path / "data-root", "hawkears_engine": "resident"}
        return plan(name, seconds, use_hawkears=True, **(values | settings))

    return make


def detections_of(plan: InferPlan) -> list[dict[str, Any]]:
    ended = infer_chunks(plan.todo, plan.order, lambda attempt: None)
    assert [attempt.details.get("error") for attempt in ended] == [None] * len(ended)
    return json.loads(result_path(plan.order.output_dir, plan.todo[0].chunk).read_bytes())["detections"]


def test_detections_have_code_name_and_times(hawkears_plan: Callable[..., InferPlan]) -> None:
    made = hawkears_plan(hawkears_arg=("--min_score", "0.1"))
    assert detections_of(made) == [
        {
            "timestamp_ms": 250,
            "end_ms": 1500,
            "label": "COYE",
            "label_code": "COYE",
            "label_name": "Common Yellowthroat",
            "confidence": 0.75,
        },
        {
            "timestamp_ms": 500,
            "end_ms": 10250,
            "label": "ZZZZ",
            "label_code": "ZZZZ",
            "label_name": "ZZZZ",
            "confidence": 0.2,
        },
    ]
    document = json.loads(result_path(made.order.output_dir, made.todo[0].chunk).read_bytes())
    assert document["runner"] == "hawkears"
    name, version, digest = document["model_version"].split()
    assert (name, version, len(digest)) == ("HawkEars", "2.3.0+standin", 12)


def test_models_are_loaded_once_for_all_chunks(
    hawkears_plan: Callable[..., InferPlan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HAWKEARS2_LOADS", str(tmp_path / "loads"))
    made = hawkears_plan(seconds=5)
    assert len(made.todo) == 5
    detections_of(made)
    assert [line.split("\t")[0] for line in (tmp_path / "loads").read_text().splitlines()] == ["classes", "models"]


@pytest.mark.parametrize(
    ("settings", "words", "made_with", "call"),
    [
        ({}, (), ("off", 3), "False 3"),
        ({}, ("--low-band", "--models", "2"), ("on", 2), "True 2"),
        ({"gpus": 1}, (), ("on", 1), "True 1"),
        ({"gpus": 1, "cpu_workers": 1}, (), ("on", 1), "True 1"),
        ({"gpus": 1}, ("--no-low-band",), ("off", 1), "False 1"),
        ({"gpus": 1, "max_gpus": 0}, (), ("off", 3), "False 3"),
        ({"scheduler": "tcp://127.0.0.1:1"}, (), ("on", 1), "True 1"),
    ],
)
def test_what_differs_between_cpus_and_gpus_is_part_of_the_fingerprint(
    hawkears_plan: Callable[..., InferPlan],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    settings: dict[str, Any],
    words: tuple[str, ...],
    made_with: tuple[str, int],
    call: str,
) -> None:
    """On CPUs HawkEars has no low-band classifier, and three models; the data root of this test has one."""
    monkeypatch.setenv("HAWKEARS2_CALLS", str(tmp_path / "calls"))
    gpus, options = settings.get("gpus", 0), {name: value for name, value in settings.items() if name != "gpus"}

    def usable_gpus() -> tuple[int, ...]:
        if not gpus:
            raise NoGpuError("none")
        return tuple(range(gpus))

    monkeypatch.setattr("badc.inference.plan.usable_gpus", usable_gpus)
    made = hawkears_plan(seconds=1, hawkears_arg=words, **options)
    assert (made.order.made_with["low_band"], made.order.made_with["models"]) == made_with
    has_gpus = bool(gpus and options.get("max_gpus") != 0) or "scheduler" in options
    assert made.order.made_with["choose_channel"] == ("on" if has_gpus else "off")
    said = "low-band (grouse) classifier off, as HawkEars has it on CPUs" in made.order.runner.description
    assert said == (made_with == ("off", 3))
    detections_of(made)
    assert set((tmp_path / "calls").read_text().splitlines()) == {call}


def test_openvino_is_part_of_what_made_results_of_cpus(
    hawkears_plan: Callable[..., InferPlan], python: Path, tmp_path: Path
) -> None:
    """HawkEars uses it wherever it is installed, with models in files of their own."""
    library = tmp_path / "library"
    (library / "openvino").mkdir(parents=True)
    (library / "openvino" / "__init__.py").touch()
    (library / "openvino-2026.4.1.dist-info").mkdir()
    (library / "openvino-2026.4.1.dist-info" / "METADATA").write_text("Name: openvino\nVersion: 2026.4.1\n")
    python.write_text(python.read_text().replace(f"PYTHONPATH={PACKAGE}", f"PYTHONPATH={PACKAGE}:{library}"))
    (tmp_path / "data-root" / "data" / "ckpt" / "model.onnx").write_bytes(b"graph")
    with_it = hawkears_plan(max_gpus=0).order.made_with
    assert with_it["openvino"] == "2026.4.1"
    python.write_text(python.read_text().replace(f":{library}", ""))
    resident._check.cache_clear()
    without = hawkears_plan(max_gpus=0).order.made_with
    assert "openvino" not in without


def test_a_login_node_without_gpus_plans_with_what_gpus_made(
    hawkears_plan: Callable[..., InferPlan],
    make_dataset: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where it runs is known with --apply, and with --max-gpus 0; a recording's run looks for no GPU again."""
    root = make_dataset("A")
    gpus = [lambda: (0,)]
    monkeypatch.setattr("badc.inference.plan.usable_gpus", lambda: gpus[0]())
    made = hawkears_plan()
    options = made.settings.model_dump(include={"hawkears_python", "hawkears_data", "hawkears_engine"})
    settings = OrchestrateSettings(dataset=root, pattern=("A",), use_hawkears=True, **options)
    assert made.order.made_with["models"] == 1
    for chunk in read_manifest(root / "manifests" / "A.csv").chunks:
        result = ChunkResult(chunk, "hawkears", ResultStatus.NO_DETECTIONS, settings=made.order.made_with)
        write_result(result_path(root / "artifacts" / "infer", chunk), result)

    def no_gpu() -> None:
        raise NoGpuError("none")

    gpus[0] = no_gpu
    (recording,) = plan_orchestration(settings).recordings
    assert recording.decision is InferDecision.SKIP
    for known in ({"apply": True}, {"max_gpus": 0}):
        (recording,) = plan_orchestration(settings.model_copy(update=known)).recordings
        assert recording.decision is InferDecision.REFUSE
        assert "low_band on, asked for off; models 1, asked for 3; choose_channel on" in recording.reason
    again = plan_inference(made.settings, runner=made.order.runner)
    assert again.order == made.order


@pytest.mark.parametrize(
    ("name", "words", "confidence"),
    [
        ("SITE_20230509_094500.wav", ("--region", "CA-AB"), 0.0509),
        ("SITE_20230509_094500.wav", ("--region", "CA-AB", "--date", "file"), 0.0509),
        ("SITE_20230509_094500.wav", ("--region", "CA-AB", "--date", "20230601"), 0.0601),
        ("SITE_20230509_094500.wav", (), 0.75),
        ("nameless.wav", ("--region", "CA-AB"), 0.75),
    ],
)
def test_the_date_is_the_recordings_own_where_the_place_is_known(
    hawkears_plan: Callable[..., InferPlan], name: str, words: tuple[str, ...], confidence: float
) -> None:
    assert detections_of(hawkears_plan(name, 1, hawkears_arg=words))[0]["confidence"] == confidence


SITES = "station,latitude,longitude,timezone\nN-1,55,-115,America/Edmonton\nS-1,48,16,\n"


def test_each_recording_has_its_own_place_and_date(hawkears_plan: Callable[..., InferPlan], tmp_path: Path) -> None:
    sites = tmp_path / "sites.csv"
    sites.write_text(SITES)

    def confidence(name: str, *words: str) -> float:
        found = detections_of(hawkears_plan(f"{name}.wav", 1, hawkears_sites=sites, hawkears_arg=words))
        return float(found[0]["confidence"])

    assert confidence("N-1_20230509_094500") == 0.550509
    assert confidence("S-1_20230601_094500") == 0.480601
    assert confidence("S-1_20230602_094500", "--date", "0701") == 0.480701
    assert confidence("S-1") == 0.75, "no station can be read from that name"
    made = hawkears_plan("N-9_20230509_094500.wav", 1, hawkears_sites=sites)
    assert detections_of(made)[0]["confidence"] == 0.75
    written = json.loads(result_path(made.order.output_dir, made.todo[0].chunk).read_bytes())
    assert "--hawkears-sites does not list the station 'N-9'" in json.dumps(written)


def test_the_places_are_part_of_what_made_the_results(hawkears_plan: Callable[..., InferPlan], tmp_path: Path) -> None:
    sites = tmp_path / "sites.csv"

    def made_with(text: str) -> dict[str, Any]:
        sites.write_text(text)
        return dict(hawkears_plan(hawkears_sites=sites).order.made_with)

    first = made_with(SITES)
    assert first["hawkears_sites"].startswith("sha256:")
    assert "places" not in first
    assert made_with(SITES.replace(",America/Edmonton", ",")) == first
    assert made_with(SITES.replace("48", "48.1")) != first
    assert "hawkears_sites" not in hawkears_plan().order.made_with


def test_a_station_is_found_by_the_rule_of_its_dataset(tmp_path: Path) -> None:
    places = RecordingCoordinates({"S-1": (48.0, 16.0)})
    audio = tmp_path / "ds" / "audio" / "S-1" / "20230509" / "REC_20230509_094500.wav"
    audio.parent.mkdir(parents=True)
    audio.touch()
    assert places.of("REC_20230509_094500", audio)[0] is None, "outside of a dataset only its name counts"
    (tmp_path / "ds" / "manifests").mkdir()
    (tmp_path / "ds" / ".badc.toml").write_text('layout = "{station}/{_}/{name}"\n')
    assert places.of("REC_20230509_094500", audio) == ((48.0, 16.0), "")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("broken.wav", "HawkEars: ValueError: cannot decode broken.wav"),
        ("crash.wav", "HawkEars: the host process "),
        ("hang.wav", "HawkEars: stopped after --chunk-timeout 1 s"),
    ],
)
def test_a_chunk_that_breaks_it_is_a_failed_attempt(
    hawkears_plan: Callable[..., InferPlan], name: str, reason: str
) -> None:
    made = hawkears_plan(name, 1, chunk_timeout_s=1)
    (ended,) = infer_chunks(made.todo, made.order, lambda attempt: None)
    assert not ended.ok
    assert ended.details["error"].startswith(reason)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"hawkears_arg": ("--min_skore", "1")}, "No such option:? .?--min_skore"),
        ({"hawkears_arg": ("--min_score", "high")}, "'high' is not a valid float"),
        ({"hawkears_arg": ("--input", "x")}, "--input: BADC decides this itself"),
        ({"hawkears_arg": ("--threads", "2")}, "--threads: BADC decides this itself"),
        ({"hawkears_arg": ("--help",)}, "--help is not an option for a run"),
        ({"hawkears_sites": Path("none.csv")}, r"none\.csv: no such CSV of sites"),
        ({"hawkears_sites": Path("s.csv"), "hawkears_arg": ("--region", "CA-AB")}, "leave out --hawkears-arg=--region"),
        ({"hawkears_data": Path("nowhere")}, "lacks the main models; `.*hawkears init --dest FOLDER`"),
        ({"hawkears_python": Path("nothing/python")}, "cannot be run .*make hawkears"),
        ({"hawkears_python": Path(sys.executable)}, "No module named 'hawkears'.*make hawkears"),
    ],
)
def test_what_cannot_work_is_refused_before_the_run(
    hawkears_plan: Callable[..., InferPlan], settings: dict[str, Any], reason: str
) -> None:
    with pytest.raises(RequestError, match=reason):
        hawkears_plan(**settings)


def test_without_any_hawkears_the_message_has_the_commands_that_install_it(
    plan: Callable[..., InferPlan], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(resident, "OWN_PYTHON", tmp_path / "none")
    (tmp_path / "vendor" / "HawkEars").mkdir(parents=True)  # a submodule that was not fetched
    monkeypatch.setattr(script, "SOURCE_ROOT", tmp_path)
    with pytest.raises(RequestError, match=r"make hawkears.*git submodule update --init vendor/HawkEars"):
        plan(use_hawkears=True)
    with pytest.raises(RequestError, match=r"HawkEars 1\.x is not here"):
        plan(use_hawkears=True, hawkears_engine="script")


def test_the_places_of_hawkears_are_in_badcs_own_folder() -> None:
    assert script.SOURCE_ROOT == ROOT
    assert resident.OWN_PYTHON == ROOT / ".venv-hawkears" / "bin" / "python"


def test_a_vendored_script_is_chosen_unless_the_engine_says_otherwise(
    hawkears_plan: Callable[..., InferPlan], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "vendor").mkdir()
    (tmp_path / "vendor" / "HawkEars").symlink_to(PACKAGE.with_name("HawkEars1"))
    monkeypatch.setattr(script, "SOURCE_ROOT", tmp_path)
    chosen = hawkears_plan(hawkears_engine=None, hawkears_python=None, hawkears_data=None)
    assert "script" in chosen.order.runner.description
    assert "resident" in hawkears_plan().order.runner.description


@pytest.mark.parametrize(
    "settings", [{"hawkears_arg": ("--x",)}, {"use_hawkears": True, "runner_cmd": "x"}, {"hawkears_root": Path("x")}]
)
def test_options_that_do_not_go_together_are_refused(settings: dict[str, Any]) -> None:
    from badc.inference.settings import InferSettings
    from badc.settings.model import settings_from

    with pytest.raises(RequestError, match="--use-hawkears"):
        settings_from(InferSettings, {"manifest": Path("m.csv"), **settings})
