"""Prefect's books of fast runs: every task run is in them, with its end, when the run's own server has stopped."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
import soundfile as sf

from tests.conftest import LAB_AUTH
from tests.flows.test_infer_ends import family

pytestmark = pytest.mark.slow
CHUNK_MS = 20
CHUNKS_PER_RECORDING = 5000


def short_chunks(folder: Path, chunks: int) -> Path:
    """A manifest of very short chunks, which the stub is done with at once."""
    from badc.chunks.cutting import plan_chunks, write_virtual_manifest

    sf.write(folder / "REC.wav", np.zeros(chunks * CHUNK_MS * 8, dtype=np.int16), 8000)
    plan = plan_chunks(folder / "REC.wav", CHUNK_MS / 1000, min_chunk_s=0)
    assert len(plan.chunks) == chunks
    write_virtual_manifest(plan, folder / "m.csv", hash_chunks=False)
    return folder / "m.csv"


def _run(badc: Callable[..., subprocess.Popen[str]], folder: Path, chunks: int, **environment: str) -> str:
    process = badc(
        *("infer", "run", short_chunks(folder, chunks), "--cpu-workers", 2, "--max-gpus", 0, "--output-dir", "out"),
        PREFECT_API_URL="",
        PREFECT_HOME=str(folder / "prefect"),
        **environment,
    )
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return err


def _completed(server: str) -> tuple[int, int]:
    """Ask the API how many task runs have completed, and how many there are."""
    states = {"task_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}
    counts = [
        httpx.post(f"{server}/api/task_runs/count", json=question, auth=LAB_AUTH, timeout=60).raise_for_status().json()
        for question in (states, {})
    ]
    return counts[0], counts[1]


def test_a_runs_own_server_rests_between_two_looks_at_what_is_to_be_recorded(prefect_api) -> None:
    # Other tests' processes may be ending just now: they have no command line.
    living = [p for p in psutil.Process().children() if p.status() != psutil.STATUS_ZOMBIE]
    (server,) = (p for p in living if "flows.server.app" in p.cmdline())
    interval = server.environ()["PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL"]
    assert int(float(interval)) >= 1, "Prefect cuts off the fraction: 0 is a busy loop"


@pytest.mark.long
def test_a_runs_own_server_stops_only_when_it_has_recorded_all(badc, tmp_path) -> None:
    err = _run(badc, tmp_path, 100)
    assert "has not recorded" not in err
    path = tmp_path / "prefect" / "prefect.db"
    with sqlite3.connect(path) as database:
        found = database.execute("SELECT state_type, count(*) FROM task_run GROUP BY 1").fetchall()
    assert found == [("COMPLETED", 100)]

    # What has no end in the database is told.
    with sqlite3.connect(path) as database:
        some = "SELECT id FROM task_run LIMIT 3"
        database.execute(f"UPDATE task_run SET state_type = 'RUNNING', state_name = 'Running' WHERE id IN ({some})")
    process = badc("server", "status", PREFECT_API_URL="", PREFECT_HOME=str(path.parent))
    out, err = process.communicate(timeout=60)
    assert "badc: 3 task runs of flow runs that have ended have no end here" in err
    assert "recording of task runs\t" in out
    assert "s behind" in out


@pytest.mark.long
def test_a_server_that_hangs_at_the_very_end_is_not_waited_for(
    badc, frozen, make_recording, make_manifest, tmp_path
) -> None:
    """Its records may be incomplete then, and the run says so."""
    import time

    import psutil

    process = badc(
        *("infer", "run", make_manifest(make_recording(seconds=2)), "--max-gpus", 0, "--output-dir", "out"),
        PREFECT_API_URL="",
        PREFECT_HOME=str(tmp_path / "prefect"),
    )
    assert process.stdout is not None
    while not process.stdout.readline().startswith("workers\t"):
        assert process.poll() is None
    servers = [child for child in family(process) if "flows.server.app" in child.cmdline()]
    for server in servers:
        frozen(psutil.Process(server.pid))
    begin = time.monotonic()
    process.communicate(timeout=120)
    assert process.returncode == 0
    assert time.monotonic() - begin < 45


@pytest.mark.long
def test_5000_fast_chunks_are_5000_completed_task_runs_on_sqlite(badc, start_server_with_ui, tmp_path) -> None:
    _run(badc, tmp_path, 5000)
    assert _completed(start_server_with_ui(tmp_path / "prefect")) == (5000, 5000)
    environment = os.environ | {"PREFECT_HOME": str(tmp_path / "prefect"), "PREFECT_API_URL": ""}
    status = subprocess.run(
        [sys.executable, "-m", "flows", "server", "status", "--json"], env=environment, capture_output=True, timeout=120
    )
    found = json.loads(status.stdout)
    assert found["unrecorded"] == 0
    assert found["rows"]["task runs"] == 5000
    assert found["behind_s"] is not None


@pytest.mark.long
def test_5000_fast_chunks_are_5000_completed_task_runs_on_postgresql(
    badc, postgresql, start_server_with_ui, tmp_path, monkeypatch
) -> None:
    _run(badc, tmp_path, 5000, PREFECT_API_DATABASE_CONNECTION_URL=postgresql)
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", postgresql)
    assert _completed(start_server_with_ui(tmp_path / "prefect")) == (5000, 5000)
