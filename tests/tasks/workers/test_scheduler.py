"""Credentials for schedulers that several machines share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from badc.errors import RequestError
from badc.inference.settings import InferSettings
from tasks.workers.cluster import open_cluster
from tasks.workers.scheduler import note_on, write_credentials
from tests.conftest import ROOT

JOIN = """
import sys
from pathlib import Path
from badc.inference.settings import InferSettings
from tasks.workers.cluster import open_cluster
with open_cluster(InferSettings(manifest=Path("m.csv"), scheduler=sys.argv[1])) as cluster:
    print(cluster.note)
"""


@pytest.mark.slow
def test_who_has_the_credentials_may_join_and_nobody_else(tmp_path: Path, without_certificates: None) -> None:
    variables = write_credentials(tmp_path / "credentials")
    assert variables.parent.stat().st_mode & 0o777 == 0o700
    assert (variables.parent / "dask-key.pem").stat().st_mode & 0o777 == 0o600
    scheduler_file = tmp_path / "scheduler.json"
    with_them = ["bash", "-c", '. "$0"; exec "$@"', variables, sys.executable]
    words = ["scheduler", "--protocol", "tls", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    server = subprocess.Popen(
        [*with_them, "-m", "dask", *words, "--scheduler-file", scheduler_file], stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + 30
        while not scheduler_file.exists():
            assert time.monotonic() < end
            time.sleep(0.1)
        address = json.loads(scheduler_file.read_text())["address"]
        assert address.startswith("tls://")
        settings = InferSettings(manifest=Path("m.csv"), scheduler=address)
        with pytest.raises(RequestError, match="no certificates for tls://"), open_cluster(settings):
            pass
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [*with_them, "-c", JOIN, address], env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.stdout.strip() == f"joined the Dask scheduler at {address}", done.stderr
    finally:
        server.kill()
        server.wait()


def test_credentials_are_never_replaced(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="already exists"):
        write_credentials(tmp_path)


@pytest.mark.parametrize(
    ("address", "warned"),
    [
        ("tcp://127.0.0.1:8786", False),
        ("tcp://localhost:8786", False),
        ("tcp://192.0.2.7:8786", True),
        ("tcp://no-such-host.invalid:8786", True),
        ("tls://192.0.2.7:8786", False),
    ],
)
def test_a_plain_scheduler_of_another_machine_is_warned_of(address: str, warned: bool) -> None:
    assert ("docs/scaling.md" in note_on(address)) is warned
