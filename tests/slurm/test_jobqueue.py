"""Dask workers that dask-jobqueue starts as Slurm jobs, as docs/clusters.md has it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from badc.telemetry.events import EventStatus, read_events
from tasks.workers.scheduler import write_credentials
from tests.conftest import ROOT
from tests.slurm.conftest import Slurm

pytestmark = [pytest.mark.slow, pytest.mark.slurm, pytest.mark.long]


@pytest.fixture(scope="session")
def jobqueue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with dask-jobqueue, which needs nothing but Dask."""
    folder, uv = tmp_path_factory.mktemp("jobqueue"), shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not installed")
    words = [uv, "pip", "install", "--quiet", "--no-deps", "--target", folder, "dask-jobqueue==0.9.0"]
    if subprocess.run(words, capture_output=True).returncode != 0:
        pytest.skip("dask-jobqueue cannot be installed here")
    return folder


def jobs(slurm: Slurm) -> set[str]:
    return set(slurm.call("squeue", "-h", "-t", "PENDING,RUNNING", "-o", "%i").stdout.split())


def test_a_run_joins_the_workers_of_a_slurm_cluster(
    slurm: Slurm, jobqueue: Path, gpu_driver: dict[str, str], prefect_api, make_recording, make_manifest, fake, tmp_path
) -> None:
    manifest, log, scheduler_file = make_manifest(make_recording(seconds=6)), tmp_path / "r.jsonl", tmp_path / "s.json"
    variables = write_credentials(tmp_path / "dask-credentials")
    environment = os.environ | slurm.environment | gpu_driver | {"HOME": str(tmp_path), "PREFECT_API_URL": prefect_api}
    environment |= {"PYTHONPATH": f"{jobqueue}:{ROOT}"}
    with_credentials = ["bash", "-c", '. "$0"; exec "$@"', variables, sys.executable]
    cluster = subprocess.Popen(
        [*with_credentials, ROOT / "docs" / "examples" / "slurm_cluster.py", "2", scheduler_file, "--gres=gpu:1"],
        env=environment,
        cwd=tmp_path,
        start_new_session=True,
    )
    try:
        end = time.monotonic() + 120
        while not scheduler_file.exists():
            assert cluster.poll() is None
            assert time.monotonic() < end
            time.sleep(0.2)
        command = ["-m", "flows", "infer", "run", manifest, "--runner-cmd", fake("detector", "--seconds", 0.5)]
        command += ["--output-dir", tmp_path / "out", "--telemetry-log", log, "--scheduler", scheduler_file]
        run = [*with_credentials, *map(str, command)]
        done = subprocess.run(run, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        ended = [event for event in read_events(log) if event.status is EventStatus.SUCCESS]
        assert len(ended) == 6
        assert {event.worker for event in ended} <= {"gpu-0", "gpu-1"}
        first, second = jobs(slurm)
        slurm.call("scancel", first)
        end = time.monotonic() + 60
        while len(jobs(slurm) - {first, second}) != 1:
            assert time.monotonic() < end, "a job that ends is replaced"
            time.sleep(0.5)
    finally:
        cluster.send_signal(signal.SIGINT)
        cluster.wait(60)
    end = time.monotonic() + 60
    while jobs(slurm):
        assert time.monotonic() < end, "its jobs end with the cluster"
        time.sleep(0.5)
