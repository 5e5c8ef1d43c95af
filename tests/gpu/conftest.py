"""Tests on a real GPU: `make test-gpu`. Elsewhere they are skipped, and say why."""

from __future__ import annotations

import itertools
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from badc.system.gpus import Gpu, NoGpuError, usable_gpus
from badc.telemetry.events import ChunkEvent, EventStatus, read_events
from tests.conftest import ROOT

HERE = Path(__file__).parent
HAWKEARS = ROOT / ".venv-hawkears" / "bin" / "python"


def _torch_python() -> str | None:
    """Return an interpreter whose torch sees a GPU: HawkEars', else this one."""
    for python in (str(HAWKEARS), sys.executable):
        asked = [python, "-c", "import torch; raise SystemExit(not torch.cuda.is_available())"]
        if Path(python).exists() and subprocess.run(asked, capture_output=True).returncode == 0:
            return python
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark these tests, and skip them where there is no GPU, or no torch for it."""
    here = [item for item in items if HERE in item.path.parents]
    if not here:
        return
    reason = None
    try:
        usable_gpus()
    except NoGpuError as error:
        reason = f"no GPU: {error}"
    else:
        if _torch_python() is None:
            reason = "no torch that sees the GPU; `make hawkears` installs one"
    for item in here:
        item.add_marker(pytest.mark.gpu)
        item.add_marker(pytest.mark.xdist_group("gpu"))
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def torch_python() -> str:
    """An interpreter whose torch sees the GPU."""
    python = _torch_python()
    assert python is not None
    return python


@pytest.fixture(scope="session")
def gpu() -> Gpu:
    """The first GPU that can be used."""
    return usable_gpus()[0]


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Twelve seconds of noise."""
    path = tmp_path / "audio" / "REC.wav"
    path.parent.mkdir()
    sf.write(path, np.random.default_rng(5).normal(0, 0.1, 12 * 8000), 8000, subtype="PCM_16")
    return path


@pytest.fixture
def torch_detector(torch_python: str) -> Callable[..., str]:
    """Return a function that gives the command line of `torch_detector.py`."""

    def command(*arguments: object) -> str:
        return shlex.join([torch_python, str(HERE / "torch_detector.py"), *map(str, arguments)])

    return command


@pytest.fixture
def run(prefect_api: str, tmp_path: Path) -> Callable[..., tuple[list[ChunkEvent], Path, str]]:
    """Return a function that runs `badc infer run` on a manifest.

    It returns the ends of the attempts, the folder of the detections, and what the run said.
    """
    import os

    numbers = itertools.count()

    def infer(manifest: Path, *words: object) -> tuple[list[ChunkEvent], Path, str]:
        log = tmp_path / f"{next(numbers)}.jsonl"
        command = [sys.executable, "-m", "flows", "infer", "run", manifest, "--telemetry-log", log]
        done = subprocess.run(
            [*map(str, command), "--output-dir", log.stem, *map(str, words)],
            cwd=tmp_path,
            env=os.environ | {"PREFECT_API_URL": prefect_api, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return (
            [event for event in read_events(log) if event.status is not EventStatus.START],
            tmp_path / log.stem,
            done.stderr,
        )

    return infer
