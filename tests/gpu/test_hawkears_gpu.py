"""HawkEars on the GPU against HawkEars on the CPU: an untrained ensemble, real audio, every score of every class."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import pytest
import soundfile as sf

from tests.conftest import ROOT
from tests.gpu.conftest import HAWKEARS

# On CPUs HawkEars would use three models and no low-band classifier.
ALL_SCORES = ("--seg", "3", "--min_score", "0", "--models", "3", "--low-band")
MOST_APART = 1e-2


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """HawkEars' data root with an untrained ensemble."""
    if not HAWKEARS.exists():
        pytest.skip("HawkEars is not installed; `make hawkears` does it (6 GB)")
    root = tmp_path_factory.mktemp("hawkears") / "data-root"
    subprocess.run([HAWKEARS, ROOT / "tests" / "hawkears" / "untrained_ensemble.py", root], check=True)
    return root


def scores_in(folder: Path) -> dict[tuple[str, str, int], float]:
    """Return a run's scores by chunk, code and start in ms."""
    documents = [orjson.loads(path.read_bytes()) for path in folder.rglob("*.json")]
    return {
        (document["chunk_id"], found["label_code"], found["timestamp_ms"]): found["confidence"]
        for document in documents
        for found in document["detections"]
    }


def test_the_scores_on_the_gpu_are_those_on_the_cpu(
    run: Callable[..., object], data_root: Path, birds_wav: Path, make_manifest: Callable[..., Path], tmp_path: Path
) -> None:
    samples, rate = sf.read(birds_wav, dtype="float32")
    path = tmp_path / "audio" / "REC.wav"
    path.parent.mkdir()
    sf.write(path, np.concatenate([samples * gain for gain in (1.0, 0.3, 0.1)]), rate, subtype="PCM_16")
    words = ("--use-hawkears", "--hawkears-engine", "resident", "--hawkears-data", data_root)
    words += tuple(f"--hawkears-arg={word}" for word in ALL_SCORES)
    manifest = make_manifest(path, 15)
    on_gpu, gpu_folder, _ = run(manifest, *words)
    on_cpu, cpu_folder, _ = run(manifest, *words, "--max-gpus", 0, "--cpu-workers", 1)

    assert {event.worker for event in on_gpu} <= {f"gpu-{n}" for n in range(16)}
    assert {event.worker for event in on_cpu} == {"cpu-0"}
    gpu, cpu = scores_in(gpu_folder), scores_in(cpu_folder)
    assert gpu.keys() == cpu.keys()
    assert len(gpu) > 3000
    apart = max(abs(gpu[key] - cpu[key]) for key in gpu)
    print(f"{len(gpu)} scores, at most {apart:.1e} apart")
    assert 0 < apart <= MOST_APART, "0 would mean that both were computed on the same device"
