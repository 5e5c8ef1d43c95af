"""The real HawkEars 2.x, its data root with an untrained ensemble, and a recording of real birds."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from tests.conftest import ROOT

PYTHON = ROOT / ".venv-hawkears" / "bin" / "python"
# Two workers on two cores: torch would start a thread per core in each.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Arbitrary scores lie close together; this one leaves some classes out and cuts the others into pieces.
MIN_SCORE = 0.77
CHUNK_S = 12


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip these tests unless they were asked for."""
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in here:
        item.add_marker(pytest.mark.hawkears)
        if not os.environ.get("BADC_TEST_HAWKEARS"):
            item.add_marker(pytest.mark.skip(reason="needs HawkEars, 6 GB; `make test-hawkears` installs and runs"))


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """HawkEars' data root, laid out without any network."""
    root = tmp_path_factory.mktemp("hawkears") / "data-root"
    subprocess.run([PYTHON, Path(__file__).with_name("untrained_ensemble.py"), root], check=True)
    return root


@pytest.fixture
def recording(birds_wav: Path, tmp_path: Path) -> Path:
    """Forty seconds of real warblers, getting quieter, with a date in the name."""
    samples, rate = sf.read(birds_wav, dtype="float32")
    path = tmp_path / "audio" / "SITE-1_20230509_094500.wav"
    path.parent.mkdir()
    sf.write(path, np.concatenate([samples * gain for gain in (1.0, 0.6, 0.3, 0.1)]), rate, subtype="PCM_16")
    return path


@pytest.fixture
def hawkears_analyze(data_root: Path) -> Callable[..., list[dict[str, str]]]:
    """Return a function that runs `hawkears analyze` itself on a folder of recordings and returns its rows."""
    import csv

    def analyze(folder: Path, output: Path, *words: str) -> list[dict[str, str]]:
        command = [PYTHON.with_name("hawkears"), "analyze", "-i", folder, "-o", output, "--rtype", "csv", *words]
        subprocess.run([*map(str, command)], cwd=data_root, check=True, capture_output=True)
        with (output / "scores.csv").open(encoding="utf-8") as stream:
            return list(csv.DictReader(stream))

    return analyze
