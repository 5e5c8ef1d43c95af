"""What another user of the machine can do to a run: nothing, though all its ports can be reached."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress

import psutil
import pytest

from tests.conftest import FAKES
from tests.flows.test_infer_ends import family, successes, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.long]
NOBODY = 65534


def _ports(processes: list[psutil.Process]) -> list[int]:
    ports: set[int] = set()
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # a command that has done its chunk
            found = process.net_connections("tcp")
            ports |= {connection.laddr.port for connection in found if connection.status == psutil.CONN_LISTEN}
    return sorted(ports)


def _tries(ports: list[int], uid: int) -> dict[str, list[int]]:
    done = subprocess.run(
        [sys.executable, str(FAKES / "intruder.py"), str(uid), *map(str, ports)],
        cwd="/",
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, list[int]] = json.loads(done.stdout)
    return found


@pytest.mark.skipif(os.getuid() != 0, reason="only root can act as another user")
@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_another_user_reaches_neither_scheduler_nor_workers_nor_server(
    badc, gpu_driver, make_recording, make_manifest, fake, tmp_path, kind
) -> None:
    log = tmp_path / "run.jsonl"
    # Dask's usual place, which whoever comes first may own: its workers import what lies in their folder there.
    trap = tmp_path / "tmp" / "dask-scratch-space"
    trap.mkdir(parents=True)
    trap.parent.chmod(0o1777)
    trap.chmod(0o777)
    os.chown(trap, NOBODY, NOBODY)
    process = badc(
        *("infer", "run", make_manifest(make_recording(seconds=100)), "--output-dir", "out", "--telemetry-log", log),
        *("--runner-cmd", fake("detector", "--seconds", 0.5), "--cpu-workers", 1),
        PREFECT_API_URL="",
        TMPDIR=str(trap.parent),
        PREFECT_HOME=str(tmp_path / "prefect"),
        **(gpu_driver if kind == "gpu" else {}),
    )
    try:
        wait_until(lambda: len(successes(log)) >= 1)
        ports = _ports([psutil.Process(process.pid), *family(process)])
        # The scheduler and its web server, the API, and a nanny and a worker, each with a web server of its own.
        assert len(ports) >= 6
        found = _tries(ports, NOBODY)
        assert found["uid"] == NOBODY
        assert (found["dask"], found["pages"], found["api"]) == ([], [], [])
        assert len(found["refused"]) == 1, "the API, which wants to know who asks"
        assert list(trap.iterdir()) == []
        for folder in trap.parent.glob("badc-*"):
            assert folder.stat().st_mode & 0o777 == 0o700
    finally:
        process.kill()
        process.communicate()


@pytest.mark.long
@pytest.mark.skipif(os.getuid() != 0, reason="only root can act as another user")
def test_the_other_user_would_find_an_open_scheduler() -> None:
    """The intruder of these tests does find what is open."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        ports = [int(address.rsplit(":", 1)[1]) for address in (cluster.scheduler_address,)]
        dashboard = int(cluster.dashboard_link.split(":")[2].split("/")[0])
        found = _tries([*ports, dashboard], NOBODY)
    assert found["dask"] == ports
    assert dashboard in found["pages"]
