"""What every test may use: real audio, one Prefect server and one warm Dask cluster for the whole session."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

# Before anything imports Prefect: its database must not be the user's own.
os.environ.pop("PREFECT_API_URL", None)

FAKES = Path(__file__).parent / "fakes"


@pytest.fixture(scope="session", autouse=True)
def _own_prefect_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    from flows.server import quiet_defaults

    os.environ["PREFECT_HOME"] = str(tmp_path_factory.mktemp("prefect"))
    quiet_defaults(verbose=False)


@pytest.fixture(scope="session")
def birds_wav() -> Path:
    """Ten seconds of real warblers (32 kHz mono)."""
    from badc.sample_audio import fetch_birds_wav

    return fetch_birds_wav()


@pytest.fixture(scope="session")
def prefect_api(_own_prefect_home: None) -> str:
    """URL of a real Prefect server, with its own database; the server is stopped when the session's process ends."""
    from flows.server import PrefectApi

    api = PrefectApi.begin()
    api.ready()
    return api.url


@pytest.fixture(scope="session")
def dask_scheduler() -> Iterator[str]:
    """Address of a real Dask cluster with two CPU workers that stay warm for the whole session."""
    from badc.settings import InferSettings
    from blocks.cluster import open_cluster

    with open_cluster(InferSettings(manifest=Path("unused.csv"), max_gpus=0, cpu_workers=2)) as cluster:
        yield cluster.address


@pytest.fixture
def make_recording(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a recording of noise and returns its path."""

    def make(name: str = "REC.wav", seconds: float = 4.0, rate: int = 8000) -> Path:
        path = tmp_path / "audio" / name
        path.parent.mkdir(exist_ok=True)
        noise = np.random.default_rng(len(name)).normal(0, 0.1, round(seconds * rate))
        sf.write(path, noise, rate, subtype="PCM_16")
        return path

    return make


@pytest.fixture
def make_manifest(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes the manifest of a recording's virtual chunks and returns its path."""
    from badc.chunking import plan_chunks, write_virtual_manifest

    def make(audio: Path, chunk_s: float = 1.0) -> Path:
        plan = plan_chunks(audio, chunk_s)
        path = tmp_path / "manifests" / f"{plan.recording_id}.csv"
        write_virtual_manifest(plan, path, hash_chunks=False)
        return path

    return make


@pytest.fixture
def fake() -> Callable[..., str]:
    """Return a function that gives the command line of one of the programs in `tests/fakes`."""
    import shlex

    def command(name: str, *arguments: object) -> str:
        return shlex.join([sys.executable, str(FAKES / f"{name}.py"), *map(str, arguments)])

    return command


@pytest.fixture(scope="session")
def gpu_driver(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a machine with simulated GPUs (see tests/fakes/nvml.c); add FAKE_NVML_… to it."""
    import subprocess

    folder = tmp_path_factory.mktemp("driver")
    compiler = ["cc", "-shared", "-fPIC", "-O1", "-o", str(folder / "libnvidia-ml.so.1"), str(FAKES / "nvml.c")]
    subprocess.run(compiler, check=True)
    return {"LD_LIBRARY_PATH": str(folder), "FAKE_NVML_GPUS": "2"}
