"""ONNX models: real ones, made here, on tones, silence and real birds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from badc.chunks.manifest import Chunk
from badc.detections.result import ResultStatus
from badc.errors import RequestError, RunnerError
from badc.inference.plan import plan_inference
from badc.inference.settings import InferSettings
from badc.inference.worker import infer_chunks
from badc.recordings.audio import probe, window_of
from badc.runners.interface import RunnerOutput, WorkerPlace
from badc.runners.onnx.remembered import remember, remembered
from badc.runners.onnx.runner import OnnxRunner, OnnxSpec

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
onnx_models = pytest.importorskip("tests.fakes.onnx_models", reason="the package onnx is not installed")
RATE = 8000


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Labels of the three bands."""
    path = tmp_path / "labels.txt"
    path.write_text("low\nmiddle\nhigh\n")
    return path


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that makes a model, each once: what was found out of it need not be found out again."""
    made: dict[str, Path] = {}

    def make(**model: Any) -> Path:
        key = repr(model)
        if key not in made:
            made[key] = onnx_models.band_model(tmp_path_factory.mktemp("model") / "bands.onnx", **model)
        return made[key]

    return make


@pytest.fixture
def make_spec(tmp_path: Path, labels: Path, make_model: Callable[..., Path]) -> Callable[..., OnnxSpec]:
    """Return a function that makes a model, and gives the prepared settings of its runner."""

    def make(options: dict[str, Any] | None = None, toml: str | None = None, **model: Any) -> OnnxSpec:
        path = make_model(**model)
        config = None
        if toml is not None:
            config = tmp_path / "model.toml"
            config.write_text(toml)
        given = {"use_onnx": path, "labels": labels, "onnx_config": config} | (options or {})
        return OnnxSpec(**given).prepared()

    return make


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., RunnerOutput]]:
    """Return a function that gives an audio file, as one chunk, to a runner; all are closed at the end."""
    opened: list[OnnxRunner] = []

    def detect(spec: OnnxSpec, audio: Path, embeds: bool = False, gpu: str = "") -> RunnerOutput:
        opened.append(spec.open(WorkerPlace(tmp_path, {"CUDA_VISIBLE_DEVICES": gpu}, embeds=embeds)))
        info = probe(audio)
        chunk = Chunk("REC", "c", str(audio), 0, info.duration_ms)
        return opened[-1].detect(chunk, window_of(audio, info, 0, info.duration_ms))

    yield detect
    for runner in opened:
        runner.close()


@pytest.fixture
def tones(tmp_path: Path) -> Path:
    """A second each of 500, 1500 and 3000 Hz, then silence, then half a second of 500 Hz, in stereo at 16 kHz."""
    time_s = np.arange(16_000) / 16_000
    parts = [np.sin(2 * np.pi * hz * time_s) * 0.3 for hz in (500, 1500, 3000)]
    mono = np.concatenate([*parts, np.zeros(16_000), parts[0][:8000]])
    path = tmp_path / "tones.wav"
    sf.write(path, np.stack([mono, mono], axis=1), 16_000, subtype="PCM_16")
    return path


def found(output: RunnerOutput) -> list[tuple[str, int, int]]:
    return [(d.label, d.timestamp_ms, d.end_ms) for d in output.result.detections]


HEARD = [("low", 0, 1000), ("middle", 1000, 2000), ("high", 2000, 3000), ("low", 4000, 4500)]


@pytest.mark.parametrize(
    "model",
    [
        pytest.param({}, id="dynamic batch"),
        pytest.param({"batch": 4}, id="batch of 4"),
        pytest.param({"batch": 1}, id="batch of 1", marks=pytest.mark.long),
        pytest.param({"axes": 3}, id="three axes", marks=pytest.mark.long),
        pytest.param({"window_s": None, "embedding": True}, id="two outputs, any length", marks=pytest.mark.long),
        pytest.param(
            {"log": True, "metadata": onnx_models.METADATA | {"scores": "logits-softmax"}},
            id="softmax",
            marks=pytest.mark.long,
        ),
    ],
)
def test_tones_are_found_at_their_times(
    make_spec: Callable[..., OnnxSpec], run: Callable[..., RunnerOutput], tones: Path, model: dict[str, Any]
) -> None:
    spec = make_spec({"min_confidence": 0.6}, **model)
    output = run(spec, tones)
    assert found(output) == HEARD
    assert output.result.status is ResultStatus.OK
    assert all(detection.confidence > 0.9 for detection in output.result.detections)
    assert output.result.model_version == spec.known_version
    assert output.engine.endswith(", CPUExecutionProvider")
    assert output.note == ""


def test_a_batch_that_memory_does_not_hold_is_halved(
    make_spec: Callable[..., OnnxSpec], run: Callable[..., RunnerOutput], tones: Path
) -> None:
    assert found(run(make_spec({"batch_size": 4, "min_confidence": 0.6}, most_windows=2), tones)) == HEARD


def test_silence_gives_a_note_and_no_detections_where_a_model_divides_by_zero(
    make_spec: Callable[..., OnnxSpec], run: Callable[..., RunnerOutput], tmp_path: Path
) -> None:
    path = tmp_path / "half.wav"
    sf.write(path, np.concatenate([np.zeros(RATE), np.sin(np.arange(RATE)) * 0.3]), RATE, subtype="PCM_16")
    output = run(make_spec({"min_confidence": 0.0}, of_silence=0.0), path)
    assert [start for _, start, _ in found(output)] == [1000] * 3
    assert output.note == "3 scores of the model are not finite, and left out"


@pytest.mark.long
@pytest.mark.parametrize("normalize", ['"peak"\npeak = 0.25', '"standard"'])
def test_normalized_windows_sound_the_same_however_loud_they_were(
    make_spec: Callable[..., OnnxSpec], run: Callable[..., RunnerOutput], tones: Path, normalize: str
) -> None:
    quiet = tones.with_name("quiet.wav")
    samples, rate = sf.read(tones)
    sf.write(quiet, samples * 1e-3, rate, subtype="DOUBLE")
    # To a model that takes anything below this energy for silence, the quiet tones are.
    assert found(run(make_spec({"min_confidence": 0.6}, of_silence=1e-3), quiet)) == []
    spec = make_spec({"min_confidence": 0.6}, f"normalize = {normalize}", of_silence=1e-3)
    assert found(run(spec, quiet)) == HEARD


def test_a_batch_of_1_gives_what_one_of_32_gives_on_real_birds(
    make_spec: Callable[..., OnnxSpec], run: Callable[..., RunnerOutput], birds_wav: Path
) -> None:
    toml = "overlap_s = 0.75\n"
    model = {
        "bands_hz": (300, 5500, 12_000),
        "rate_hz": 32_000,
        "metadata": onnx_models.METADATA | {"sample_rate_hz": "32000"},
    }
    outputs = [
        run(make_spec({"batch_size": size, "min_confidence": 0.0}, toml, **model), birds_wav) for size in (1, 32)
    ]
    one, many = (output.result.detections for output in outputs)
    assert len(one) > 3 * 36  # a window each 0.25 s
    assert [(d.label, d.timestamp_ms) for d in one] == [(d.label, d.timestamp_ms) for d in many]
    assert [d.confidence for d in one] == pytest.approx([d.confidence for d in many], abs=1e-5)
    # The warblers of the clip sing between 3 and 10 kHz.
    loudest = max((d for d in one if d.label == "middle"), key=lambda d: d.confidence)
    assert loudest.confidence > 0.7


def test_the_second_output_gives_the_embeddings(
    make_spec: Callable[..., OnnxSpec], run: Callable[..., RunnerOutput], tones: Path
) -> None:
    spec = make_spec(toml='embedding_output = "embedding"', embedding=True)
    embeddings = run(spec, tones, embeds=True).embeddings
    assert embeddings is not None
    assert embeddings.start_ms == (0, 1000, 2000, 3000, 4000)
    assert embeddings.values.shape == (5, 6)
    assert list(embeddings.values[:, :3].argmax(axis=1)[[0, 1, 2, 4]]) == [0, 1, 2, 0]
    assert spec.no_embeddings is None
    assert "put embedding_output = NAME into" in str(make_spec(toml="", embedding=True).no_embeddings)


@pytest.mark.long
def test_labels_of_birdnet_and_of_tables_give_both_names(
    make_spec: Callable[..., OnnxSpec], run: Callable[..., RunnerOutput], tones: Path, tmp_path: Path
) -> None:
    birdnet, table = tmp_path / "birdnet.txt", tmp_path / "labels.csv"
    birdnet.write_text("Strix varia_Barred Owl\nTurdus migratorius_American Robin\nDog_Dog\n")
    table.write_text("id;sci_name;com_name\n1;Strix varia;Barred Owl\n2;Turdus migratorius;American Robin\n3;Dog;Dog\n")
    for path in (birdnet, table):
        first = run(make_spec({"labels": path}), tones).result.detections[0]
        assert (first.label, first.label_code, first.label_name) == ("Barred Owl", "Strix varia", "Barred Owl")
    plain = tmp_path / "plain.csv"
    plain.write_text("inat2024\nclass_1\nclass_2\nclass_3\n")
    first = run(make_spec({"labels": plain}), tones).result.detections[0]
    assert (first.label, first.label_code, first.label_name) == ("class_1", None, "class_1")


def refusal(make_spec: Callable[..., OnnxSpec], *given: Any, **model: Any) -> str:
    with pytest.raises(RequestError) as caught:
        make_spec(*given, **model)
    return str(caught.value)


def test_what_nobody_knows_is_asked_for_with_the_toml_to_write(
    make_spec: Callable[..., OnnxSpec],
) -> None:
    told = refusal(make_spec, metadata={"scores": "probabilities", "author": "somebody"})
    first, *lines = told.splitlines()
    assert "bands.onnx: sample_rate_hz, window_s, normalize are not known" in first
    assert "--onnx-config" in first
    assert [line.partition(" = ")[0] for line in lines] == ["sample_rate_hz", "window_s", "normalize"]
    toml = "\n".join(lines).replace("48000", "8000").replace("3.0", "1.0")
    spec = make_spec({}, toml, metadata={"scores": "probabilities"})
    assert spec.model is not None
    assert (spec.model.config.sample_rate_hz, spec.model.config.window_s) == (8000, 1.0)


@pytest.mark.parametrize(
    ("given", "model", "said"),
    [
        ({"labels": None}, {}, "--use-onnx needs --labels"),
        ({"use_onnx": Path("none.onnx")}, {}, "none.onnx: no such ONNX model"),
        ({"onnx_python": Path("none/python")}, {}, "--onnx-python .*none/python: cannot be run"),
        ({"batch_size": 3}, {"batch": 4}, "--batch-size 3: .*bands.onnx takes 4 windows at a time"),
        ({}, {"bands_hz": (500, 1500)}, "labels.txt: 3 labels, but the model gives 2 scores"),
        ({}, {"window_s": 2.0}, "it takes 16,000 samples, but windows of 1 s at 8000 Hz have 8,000"),
    ],
)
def test_what_does_not_fit_is_refused_before_a_run(
    make_spec: Callable[..., OnnxSpec], given: dict[str, Any], model: dict[str, Any], said: str
) -> None:
    import re

    assert re.search(said, refusal(make_spec, given, **model))


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("sample_rate = 8000", "model.toml: unknown key sample_rate; did you mean sample_rate_hz?"),
        ("window_s = 'x'", "model.toml: window_s: Input should be a valid number"),
        ("overlap_s = 1", "overlap_s 1 is not less than window_s 1"),
        ("overlap_s = 0.9999", "begin at least 1 ms apart"),
        ("window_s = 3000", "window_s: Input should be less than or equal to 600"),
        ("output = 'logits'", "it has no output 'logits'; there are scores"),
        ("embedding_output = 'embedding'", "it has no output 'embedding'; there are scores"),
        ("window_s", "model.toml: not TOML"),
    ],
)
def test_a_wrong_configuration_is_refused(make_spec: Callable[..., OnnxSpec], toml: str, said: str) -> None:
    assert said in refusal(make_spec, {}, toml)


@pytest.mark.long
def test_what_is_no_model_is_refused(make_spec: Callable[..., OnnxSpec], tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no model")
    assert "text.onnx: onnxruntime 1." in refusal(make_spec, {"use_onnx": tmp_path / "text.onnx"})


@pytest.mark.long
def test_scores_that_are_no_probabilities_fail_the_attempt(
    make_spec: Callable[..., OnnxSpec], run: Callable[..., RunnerOutput], tones: Path
) -> None:
    with pytest.raises(RunnerError, match='so no probability; scores = "logits-sigmoid" may be right'):
        run(make_spec(log=True), tones)


def test_gpu_workers_without_cuda_are_refused_in_words(
    make_spec: Callable[..., OnnxSpec], run: Callable[..., RunnerOutput], tones: Path
) -> None:
    spec = make_spec()
    assert spec.placed(lambda: False) is spec
    with pytest.raises(RequestError, match=r"has no CUDA, so GPU workers cannot run the model.*--onnx-python"):
        spec.placed(lambda: True)
    # As on the workers of a scheduler that somebody else started.
    with pytest.raises(RunnerError, match=r"has no CUDA; name an interpreter that has onnxruntime-gpu.*--max-gpus 0"):
        run(spec, tones, gpu="0")


def test_which_of_two_outputs_has_the_scores_is_asked_for(make_spec: Callable[..., OnnxSpec], labels: Path) -> None:
    labels.write_text("".join(f"class_{number}\n" for number in range(5)))
    assert 'output = "scores"  # the output with the scores: one of embedding, scores' in refusal(
        make_spec, embedding=True
    )


def test_the_fingerprint_counts_model_and_labels_by_their_content(
    make_spec: Callable[..., OnnxSpec], labels: Path, tmp_path: Path
) -> None:
    made = make_spec().made_with()
    assert made["model_version"].startswith("ONNX sha256:")
    assert (made["sample_rate_hz"], made["window_s"], made["scores"]) == (8000, 1.0, "probabilities")
    moved = labels.rename(tmp_path / "moved.txt")
    assert make_spec({"labels": moved, "batch_size": 8}).made_with() == made
    moved.write_text("low\nmiddle\nowl\n")
    assert make_spec({"labels": moved}).made_with()["labels_sha256"] != made["labels_sha256"]
    other = make_spec({"labels": moved}, of_silence=1.0)
    assert other.made_with()["model_version"] != made["model_version"]


def test_weights_beside_the_model_count_whatever_their_file_is_called(
    make_spec: Callable[..., OnnxSpec], make_model: Callable[..., Path], tmp_path: Path
) -> None:
    onnx = pytest.importorskip("onnx")
    versions = []
    for name, changed in (("one", False), ("two", False), ("other", True)):
        path = tmp_path / name / "model.onnx"
        path.parent.mkdir()
        onnx.save(onnx.load(make_model()), path, save_as_external_data=True, location="weights.bin", size_threshold=100)
        if changed:
            weights = path.with_name("weights.bin")
            weights.write_bytes(bytes(len(weights.read_bytes())))
        versions.append(make_spec({"use_onnx": path}).known_version)
    assert versions[0] == versions[1] != versions[2]


def test_a_model_or_labels_that_change_during_a_run_fail_its_attempts(
    make_spec: Callable[..., OnnxSpec],
    make_model: Callable[..., Path],
    run: Callable[..., RunnerOutput],
    labels: Path,
    tones: Path,
    tmp_path: Path,
) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(make_model().read_bytes())
    spec = make_spec({"use_onnx": model})
    model.write_bytes(make_model(of_silence=1.0).read_bytes())
    with pytest.raises(RunnerError, match=r"model\.onnx: has changed since the run began"):
        run(spec, tones)
    model.write_bytes(make_model().read_bytes())
    labels.write_text("low\nmiddle\nowl\n")
    with pytest.raises(RunnerError, match=r"labels\.txt: has changed since the run began"):
        run(spec, tones)


@pytest.mark.usefixtures("_fresh_runner")
def test_a_run_writes_detections_and_what_ran_the_model(
    make_spec: Callable[..., OnnxSpec], labels: Path, tones: Path, make_manifest: Callable[..., Path], tmp_path: Path
) -> None:
    spec = make_spec()
    plan = plan_inference(
        InferSettings(
            manifest=make_manifest(tones, 2.0),
            use_onnx=spec.use_onnx,
            labels=labels,
            min_confidence=0.6,
            output_dir=tmp_path / "out",
        )
    )
    for attempt in infer_chunks(plan.todo, plan.order, lambda attempt: None):
        assert attempt.ok, attempt.details
        assert attempt.details["engine"].endswith("CPUExecutionProvider")
    written = [json.loads(path.read_bytes()) for path in sorted((tmp_path / "out").rglob("*.json"))]
    assert [[d["label"] for d in chunk["detections"]] for chunk in written] == [["low", "middle"], ["high"]]
    assert {chunk["model_version"] for chunk in written} == {spec.known_version}


def test_the_size_is_remembered(make_spec: Callable[..., OnnxSpec], tmp_path: Path) -> None:
    remember("A GPU abc", 32)
    remember("CPU abc", 1)
    assert (remembered("A GPU abc"), remembered("CPU abc"), remembered("other")) == (32, 1, None)
    (tmp_path / "cache" / "badc" / "onnx-batch-sizes.json").write_text("cut o")
    assert remembered("CPU abc") is None


@pytest.mark.long
def test_what_a_run_found_out_begins_the_next(
    make_spec: Callable[..., OnnxSpec], run: Callable[..., RunnerOutput], tmp_path: Path
) -> None:
    path = tmp_path / "long.wav"
    sf.write(path, np.random.default_rng(1).normal(0, 0.1, 120 * RATE), RATE, subtype="PCM_16")
    spec = make_spec()
    run(spec, path)
    assert spec.model is not None
    size = remembered(f"CPU {spec.model.digest}")
    assert size is not None
    assert found(run(spec, path)) == found(run(make_spec({"batch_size": 1}), path))
