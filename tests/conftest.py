"""What every test may use: real audio, one Prefect server and one warm Dask cluster for the whole session."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

# Before anything imports Prefect: its database must not be the user's own.
for _name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING"):
    os.environ.pop(_name, None)

# A shell lets what it starts in the background ignore Ctrl-C, and all that this starts; tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parents[1]
FAKES = ROOT / "tests" / "fakes"
# Of the servers that stay, for their users.
LAB_AUTH = ("badc", "known to the tests")


# What starts a cluster or a browser of its own is done by one process.
ONE_PROCESS = ("slurm", "browser")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks for the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep tests together that share something costly."""
    for item in items:
        for name in ONE_PROCESS:
            if item.get_closest_marker(name) is not None:
                item.add_marker(pytest.mark.xdist_group(name))


@pytest.fixture(scope="session", autouse=True)
def _own_prefect_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    from flows.server.local import quiet_defaults

    os.environ["PREFECT_HOME"] = str(tmp_path_factory.mktemp("prefect"))
    quiet_defaults(verbose=False)
    _make_prefect_look_again()


def _make_prefect_look_again() -> None:
    """Prefect reads the environment when it is imported, which may have been while the tests were collected."""
    if "prefect" in sys.modules:
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()


@pytest.fixture(scope="session")
def birds_wav() -> Path:
    """Ten seconds of real warblers (32 kHz mono)."""
    from badc.recordings.sample import fetch_birds_wav

    return fetch_birds_wav()


@pytest.fixture(scope="session")
def prefect_api(_own_prefect_home: None) -> Iterator[str]:
    """URL of a real Prefect server, with its own database; the server is stopped when the session's process ends."""
    from flows.server.local import PrefectApi

    api = PrefectApi.begin()
    api.ready()
    _make_prefect_look_again()
    yield api.url
    if "PYTEST_XDIST_WORKER" in os.environ:  # such a process ends without its exit handlers
        api.stop()


def shell_variables() -> dict[str, str]:
    """Return the variables of a person's shell: git-annex is found, and Prefect's server lets the commands in."""
    from badc.datalad.environment import environment

    return os.environ | environment()


def find_free_port() -> int:
    """Return a TCP port which is free now."""
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Return `find_free_port`."""
    return find_free_port


@pytest.fixture(scope="session")
def start_server_with_ui(free_port: Callable[[], int]) -> Iterator[Callable[[Path], str]]:
    """Return a function that starts a Prefect server with its UI and a PREFECT_HOME, and returns its address.

    It lets in who knows `LAB_AUTH`.
    """
    import subprocess
    import time

    from flows.server.local import PrefectApi

    started: list[subprocess.Popen[bytes]] = []

    def start(home: Path) -> str:
        url = f"http://127.0.0.1:{(port := free_port())}"
        with (home / "server.log").open("w") as log:
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", "flows", "server", "start", "--port", str(port)],
                    env=os.environ | {"PREFECT_HOME": str(home), "PREFECT_SERVER_API_AUTH_STRING": ":".join(LAB_AUTH)},
                    stdin=subprocess.DEVNULL,  # as a service has it
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )
        end = time.monotonic() + 120
        while not PrefectApi(f"{url}/api", None).answers():
            assert time.monotonic() < end, (home / "server.log").read_text()
        return url

    yield start
    for process in started:
        process.terminate()
        process.wait(30)


def page_of_the_lab(browser: Any, **options: Any) -> Any:
    """Open a page in a browser that is logged in to the servers that stay."""
    import base64

    page = browser.new_page(**options)
    password = base64.b64encode(":".join(LAB_AUTH).encode()).decode()
    page.add_init_script(f"localStorage.setItem('prefect-password', '{password}')")
    return page


@pytest.fixture(scope="session")
def chromium() -> str:
    """The program of a browser."""
    import shutil

    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no browser is installed (Debian: chromium)")
    return path


@pytest.fixture(scope="session")
def dask_scheduler() -> Iterator[str]:
    """Address of a real Dask cluster with two CPU workers that stay warm for the whole session.

    Dask's configuration has its certificates, as it has for whoever joins a scheduler that speaks TLS.
    """
    import dask

    from badc.inference.settings import InferSettings
    from tasks.workers.cluster import open_cluster

    with open_cluster(InferSettings(manifest=Path("unused.csv"), max_gpus=0, cpu_workers=2)) as cluster:
        security = cluster.security
        assert security is not None
        tls = {"ca-file": security.tls_ca_file, "client.cert": security.tls_client_cert}
        tls["client.key"] = security.tls_client_key
        with dask.config.set({f"distributed.comm.tls.{name}": text for name, text in tls.items()}):
            yield cluster.address


@pytest.fixture
def without_certificates() -> Iterator[None]:
    """Take the certificates of `dask_scheduler` out of Dask's configuration for a test."""
    import dask
    import distributed  # noqa: F401 - brings the defaults of its configuration

    names = ("ca-file", "client.cert", "client.key")
    with dask.config.set({f"distributed.comm.tls.{name}": None for name in names}):
        yield


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
def make_dataset(make_recording: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes a dataset of recordings in chunks of a second, and returns its root."""
    from badc.datasets.chunking.plan import plan_dataset
    from badc.datasets.chunking.recording import chunk_recording
    from badc.datasets.chunking.settings import ChunkSettings

    def make(*names: str, seconds: float = 3) -> Path:
        for name in names:
            make_recording(f"{name}.wav", seconds)
        plan = plan_dataset(ChunkSettings(dataset=tmp_path, chunk_duration_s=1), False)
        for recording in plan.todo:
            assert chunk_recording(recording, plan.order).error is None
        return tmp_path

    return make


@pytest.fixture
def make_manifest(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes the manifest of a recording's virtual chunks and returns its path."""
    from badc.chunks.cutting import plan_chunks, write_virtual_manifest

    def make(audio: Path, chunk_s: float = 1.0) -> Path:
        plan = plan_chunks(audio, chunk_s)
        path = tmp_path / "manifests" / f"{plan.recording_id}.csv"
        path.unlink(missing_ok=True)  # one of another cut would be kept
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


@pytest.fixture(scope="session")
def datalad_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real DataLad dataset to copy: audio/REC.wav (three seconds, annexed), its manifest, and text kept in git."""
    import importlib.util
    import shutil
    import subprocess

    from badc.chunks.cutting import plan_chunks, write_virtual_manifest
    from badc.datalad.environment import environment

    if importlib.util.find_spec("datalad") is None or shutil.which("git-annex", path=environment()["PATH"]) is None:
        pytest.skip("DataLad and git-annex are not installed (extra: datalad)")
    home = tmp_path_factory.mktemp("datalad")
    root = home / "dataset"
    env = environment() | git_identity_variables(home)
    subprocess.run(["datalad", "create", str(root)], env=env, check=True, capture_output=True)
    with (root / ".gitattributes").open("a") as stream:
        stream.write("*.csv annex.largefiles=nothing\n*.md annex.largefiles=nothing\n")
    (root / "audio").mkdir()
    sf.write(root / "audio" / "REC.wav", np.random.default_rng(3).normal(0, 0.1, 24000), 8000, subtype="PCM_16")
    write_virtual_manifest(
        plan_chunks(root / "audio" / "REC.wav", 1.0), root / "manifests" / "REC.csv", hash_chunks=False
    )
    subprocess.run(["datalad", "-C", str(root), "save", "-m", "audio"], env=env, check=True, capture_output=True)
    return root


def git_identity_variables(home: Path) -> dict[str, str]:
    """Return the environment of a git user who has no configuration of their own but a name."""
    who = {f"GIT_{role}_{what}": "test@here" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return {"HOME": str(home), "XDG_CONFIG_HOME": str(home / "config"), "GIT_CONFIG_NOSYSTEM": "1", **who}


@pytest.fixture
def datalad_dataset(datalad_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A real DataLad dataset of this test's own, and a git user without a configuration."""
    import shutil

    home = tmp_path / "home"
    home.mkdir()
    for name, value in git_identity_variables(home).items():
        monkeypatch.setenv(name, value)
    return Path(shutil.copytree(datalad_template, tmp_path / "dataset", symlinks=True))


@pytest.fixture
def datalad_clone(datalad_dataset: Path, tmp_path: Path) -> Path:
    """A clone of that dataset, without the content of its annexed files."""
    import subprocess

    from badc.datalad.environment import environment

    clone = tmp_path / "clone"
    for words in (
        ["clone", "-q", str(datalad_dataset), str(clone)],
        ["-C", str(clone), "annex", "init", "-q", "clone"],
    ):
        subprocess.run(["git", *words], env=environment(), check=True, capture_output=True)
    return clone
