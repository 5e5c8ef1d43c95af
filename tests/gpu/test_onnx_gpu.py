"""An ONNX model on a real GPU: CUDA is really taken, and gives what the CPU gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from badc.chunks.manifest import Chunk
from badc.recordings.audio import probe, window_of
from badc.runners.interface import RunnerOutput, WorkerPlace
from badc.runners.onnx.runner import OnnxSpec
from badc.system.gpus import Gpu, cuda_environment
from tests.conftest import ROOT

onnx_models = pytest.importorskip("tests.fakes.onnx_models", reason="the package onnx is not installed")
_HAS_CUDA = "import onnxruntime as o; raise SystemExit('CUDAExecutionProvider' not in o.get_available_providers())"
# Where wheels, of torch or of onnxruntime-gpu, put the CUDA libraries; empty if there are none.
_LIBRARIES = (
    "import importlib.util as u, pathlib as p; "
    "found = [s for s in map(u.find_spec, ('nvidia', 'torch')) if s and s.submodule_search_locations]; "
    "folders = [p.Path(place) for s in found for place in s.submodule_search_locations]; "
    "print(':'.join(str(lib) for f in folders for lib in (f / 'lib', *f.glob('*/lib')) if lib.is_dir()))"
)


@pytest.fixture(scope="session")
def onnx_python() -> str:
    """An interpreter whose onnxruntime has CUDA."""
    for python in (str(ROOT / ".venv-onnx" / "bin" / "python"), sys.executable):
        if Path(python).exists() and subprocess.run([python, "-c", _HAS_CUDA], capture_output=True).returncode == 0:
            return python
    pytest.skip("no onnxruntime-gpu; install onnxruntime-gpu[cuda,cudnn] and NumPy in .venv-onnx")


@pytest.fixture(autouse=True)
def _cuda_libraries(onnx_python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let onnxruntime find the CUDA libraries that belong to the machine's torch."""
    done = subprocess.run([onnx_python, "-c", _LIBRARIES], capture_output=True, text=True, check=True)
    places = [os.environ.get("LD_LIBRARY_PATH"), done.stdout.strip()]
    monkeypatch.setenv("LD_LIBRARY_PATH", ":".join(filter(None, places)))


@pytest.fixture
def options(onnx_python: str, tmp_path: Path) -> dict[str, Any]:
    """The settings of a model that hears three bands of real birds, with an embedding."""
    metadata = onnx_models.METADATA | {"sample_rate_hz": "32000", "overlap_s": "0.9", "embedding_output": "embedding"}
    model = onnx_models.band_model(
        tmp_path / "bands.onnx", (300, 5500, 12_000), 32_000, embedding=True, metadata=metadata
    )
    (tmp_path / "labels.txt").write_text("low\nmiddle\nhigh\n")
    return {"use_onnx": model, "labels": tmp_path / "labels.txt", "onnx_python": Path(onnx_python)}


def test_cuda_is_taken_and_gives_what_the_cpu_gives(
    options: dict[str, Any], birds_wav: Path, gpu: Gpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = probe(birds_wav)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    spec = OnnxSpec(min_confidence=0.0, **options).prepared().placed(lambda: True)
    outputs: list[RunnerOutput] = []
    for device in (gpu, None):
        runner = spec.open(WorkerPlace(tmp_path, cuda_environment(device), embeds=True))
        try:
            chunk = Chunk("birds", "c", str(birds_wav), 0, info.duration_ms)
            outputs.append(runner.detect(chunk, window_of(birds_wav, info, 0, info.duration_ms)))
        finally:
            runner.close()
    on_gpu, on_cpu = outputs
    assert on_gpu.engine.endswith(", CUDAExecutionProvider")
    assert on_cpu.engine.endswith(", CPUExecutionProvider")

    def by_window(output: RunnerOutput) -> dict[tuple[int, str], float]:
        return {(d.timestamp_ms, d.label): d.confidence or 0.0 for d in output.result.detections}

    assert len(by_window(on_cpu)) > 3 * 90
    assert by_window(on_gpu) == pytest.approx(by_window(on_cpu), abs=1e-3)
    assert on_gpu.embeddings is not None
    assert on_cpu.embeddings is not None
    assert np.allclose(on_gpu.embeddings.values, on_cpu.embeddings.values, rtol=1e-3, atol=1e-6)


def test_a_run_takes_the_gpus_says_so_and_remembers_the_size_of_a_batch(
    options: dict[str, Any],
    run: Callable[..., Any],
    make_manifest: Callable[..., Path],
    gpu: Gpu,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "noise.wav"
    sf.write(path, np.random.default_rng(5).normal(0, 0.1, 240 * 32_000), 32_000, subtype="PCM_16")
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    # Each chunk has 141 windows; after some ten chunks no size is left to try.
    ends, _, said = run(make_manifest(path, 15), *words, "--max-gpus", 1, "--embeddings", tmp_path / "embeddings")

    assert {event.worker for event in ends} == {"gpu-0"}
    assert all(event.details["engine"].endswith(", CUDAExecutionProvider") for event in ends)
    assert said.count("the model runs in onnxruntime") == 1
    assert (tmp_path / "embeddings" / "noise.parquet").exists()
    remembered = json.loads((tmp_path / "cache" / "badc" / "onnx-batch-sizes.json").read_text())
    ((key, size),) = remembered.items()
    assert key.startswith(gpu.name)
    assert size >= 2
