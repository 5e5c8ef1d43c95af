"""BirdNET cut into front end and network gives what the whole model gives, whatever the sound; else it runs whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import soxr

from badc.runners.birdnet import cut_model
from badc.runners.birdnet.cut_model import Interpreter, Network, confidence
from badc.species.birdnet_files import model_file

pytest.importorskip("ai_edge_litert", reason="the extra birdnet is not installed")
pytestmark = pytest.mark.birdnet
SAMPLES = 144_000
RNG = np.random.default_rng(7)
NOISE = RNG.normal(0, 0.1, SAMPLES)
CLICK = np.zeros(SAMPLES)
CLICK[70_000] = 1.0
SOUNDS = {
    "noise": NOISE,
    "faint noise": NOISE * 1e-4,
    "silence": np.zeros(SAMPLES),
    "an offset": np.full(SAMPLES, 0.3),
    "a click": CLICK,
    "clicks in noise": NOISE + CLICK,
    "clipped": np.clip(NOISE * 30, -1, 1),
    "a tone": 0.5 * np.sin(np.arange(SAMPLES) * 2 * np.pi * 3000 / 48_000),
    "a silent tail": np.concatenate([NOISE[:-5000], np.zeros(5000)]),
    "half silence": np.concatenate([NOISE[: SAMPLES // 2], np.zeros(SAMPLES // 2)]),
    "two bits": np.round(NOISE * 2) / 2,
}


@pytest.fixture(scope="module")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def network(_cache: None) -> Network:
    made = Network(model_file())
    assert made.is_cut
    return made


@pytest.fixture(scope="module")
def whole() -> Any:
    interpreter = Interpreter(model_path=str(model_file()))
    return lambda window: interpreter.logits(window[None])


def difference(network: Network, whole: Any, window: Any) -> float:
    window = window.astype(np.float32)
    return float(np.abs(confidence(network.logits(window)) - confidence(whole(window))).max())


@pytest.mark.parametrize("name", SOUNDS)
def test_no_confidence_differs_from_the_whole_models(network: Network, whole: Any, name: str) -> None:
    assert difference(network, whole, SOUNDS[name]) <= 1e-4


@pytest.mark.parametrize(("rate_hz", "is_cut"), [(8000, False), (16_000, True), (24_000, True), (32_000, True)])
def test_real_sound_goes_through_the_cut_model_but_for_very_low_rates(
    network: Network, whole: Any, birds_wav: Path, rate_hz: int, is_cut: bool
) -> None:
    samples, rate = sf.read(birds_wav)
    sound = soxr.resample(soxr.resample(samples, rate, rate_hz), rate_hz, 48_000)
    for start in range(0, 7 * 48_000, 48_000):
        window = sound[start : start + SAMPLES]
        assert difference(network, whole, window) <= 1e-4
        assert network._spectrogram is not None
        assert (network._spectrogram.of(window.astype(np.float32)) is not None) == is_cut


def test_the_cut_model_is_made_once_and_made_again_if_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = []
    cut = cut_model.cut
    monkeypatch.setattr(cut_model, "cut", lambda model: made.append(1) or cut(model))
    assert Network(model_file()).is_cut
    assert Network(model_file()).is_cut
    assert len(made) == 1
    (kept,) = (tmp_path / "badc").glob("*.tflite")
    with kept.open("r+b") as stream:
        stream.seek(20_000_000)
        stream.write(bytes(100))
    assert Network(model_file()).is_cut
    assert len(made) == 2


def test_without_a_cache_the_model_is_cut_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert Network(model_file()).is_cut


def test_another_model_runs_whole_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], whole: Any
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    other = tmp_path / "other.tflite"
    other.write_bytes(model_file().read_bytes() + b"\0")
    network = Network(other)
    assert not network.is_cut
    assert difference(network, whole, NOISE) == 0
    assert "BirdNET runs as a whole, which takes twice as long" in capfd.readouterr().err


def test_a_cut_model_that_does_not_agree_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    # Each spectrogram with the other's power.
    (*one, power, step), (*other, other_power, other_step) = cut_model._BRANCHES
    wrong = ((*one, other_power, step), (*other, power, other_step))
    monkeypatch.setattr(cut_model, "_BRANCHES", wrong)
    assert not Network(model_file()).is_cut
    assert "confidences that differ by" in capfd.readouterr().err
    assert not list(tmp_path.rglob("*.npz"))


@pytest.mark.parametrize("threads", ["", "2", "2,1"])
def test_threads_are_as_the_environment_says_also_as_a_list(monkeypatch, whole, threads) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    window = np.random.default_rng(1).normal(0, 0.1, 144_000).astype(np.float32)
    interpreter = Interpreter(model_path=str(model_file()))
    assert np.allclose(confidence(interpreter.logits(window[None])), confidence(whole(window)), rtol=0, atol=1e-5)
