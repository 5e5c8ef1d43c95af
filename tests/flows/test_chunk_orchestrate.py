"""Chunking a dataset as users do it: the command, its flow run, how it is stopped, and how the next run goes on."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from badc.chunks.manifest import read_manifest
from badc.chunks.status import ChunkState, ChunkStatus, read_chunk_status
from badc.errors import numbered
from tests.conftest import shell_variables

pytestmark = pytest.mark.slow
TIMEOUT_S = 180.0
ORCHESTRATE = ("chunk", "orchestrate", "ds", "--chunk-duration", 1)


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "what the test waits for did not happen"
        time.sleep(0.02)


def statuses(dataset: Path) -> dict[str, ChunkStatus]:
    found = {}
    for path in (dataset / "artifacts" / "chunks").glob("*/.chunk_status.json"):
        status = read_chunk_status(path)
        assert status is not None
        found[path.parent.name] = status
    return found


def states(dataset: Path) -> list[ChunkState]:
    return [status.state for status in statuses(dataset).values()]


def completed(dataset: Path) -> dict[str, ChunkStatus]:
    return {name: status for name, status in statuses(dataset).items() if status.state is ChunkState.COMPLETED}


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert "Traceback" not in err
    return process.returncode, out, err


@pytest.fixture
def dataset(make_recording, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes a dataset of recordings of noise."""

    def make(*names: str, seconds: float = 2.5) -> Path:
        for name in names:
            path = make_recording(Path(name).name, seconds)
            target = tmp_path / "ds" / "audio" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
        (tmp_path / "ds" / ".datalad").mkdir(exist_ok=True)
        return tmp_path / "ds"

    return make


def test_a_dataset_is_planned_chunked_and_then_skipped(badc, dataset, tmp_path, prefect_api):
    ds = dataset("siteA/20230509_094500.wav", "siteB/20230509_094500.wav", "x.wav")
    (ds / "audio" / "bad.wav").write_bytes(b"no audio")
    (ds / "audio" / "gone.wav").symlink_to("../.git/annex/objects/MD5E-s9--0a.wav")
    code, out, err = ended(badc(*ORCHESTRATE, "--plan-csv", "p.csv", "--plan-json", "p.json"))
    assert "Nothing was done; --apply carries the plan out" in err
    assert code == 0
    table = {row["recording"]: row for row in csv.DictReader(out.splitlines()[:-1], delimiter="\t")}
    assert {name: (row["decision"], row["chunks"]) for name, row in table.items()} == {
        "siteA_20230509_094500": ("chunk", "2"),
        "siteB_20230509_094500": ("chunk", "2"),
        "x": ("chunk", "2"),
        "bad": ("unusable", ""),
        "gone": ("content not here", ""),
    }
    assert "get gone.wav` brings it" in table["gone"]["reason"]
    assert out.splitlines()[-1] == "5 recordings: chunk 3, content not here 1, unusable 1"
    with (tmp_path / "p.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["recording_id"] for row in rows] == ["bad", "siteA_20230509_094500", "siteB_20230509_094500", "x"]
    assert [row["manifest_path"] for row in json.loads((tmp_path / "p.json").read_bytes())] == [
        row["manifest_path"] for row in rows
    ]
    assert not (ds / "manifests").exists(), "a plan writes nothing but itself"

    code, out, err = ended(badc(*ORCHESTRATE, "--apply"))
    assert code == 1
    assert "failed: 3 recordings chunked, 1 failed, 0 left" in out
    assert "audio/bad.wav: " in err
    assert "audio/gone.wav: content not here" in err
    assert {name: status.state.value for name, status in statuses(ds).items()} == {
        "siteA_20230509_094500": "completed",
        "siteB_20230509_094500": "completed",
        "x": "completed",
        "bad": "failed",
    }
    assert len(read_manifest(ds / "manifests" / "siteB_20230509_094500.csv").chunks) == 2

    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        run = next(r for r in client.read_flow_runs(sort="START_TIME_DESC", limit=5) if r.name == "chunk ds")
        assert run.state.is_failed()
        assert "1 failed" in run.state.message

    for name in ("bad.wav", "gone.wav"):
        (ds / "audio" / name).unlink()
    code, out, err = ended(badc(*ORCHESTRATE, "--apply"))
    assert (code, out.splitlines()[-1]) == (0, "3 recordings: skip 3"), err


@pytest.mark.long
@pytest.mark.parametrize("times", [1, pytest.param(2, marks=pytest.mark.long)])
def test_ctrl_c_leaves_true_statuses_and_the_next_run_does_the_rest(badc, dataset, times):
    ds = dataset(*(f"s{n % 2}/r{n}.wav" for n in range(6)), seconds=120)
    words = [*ORCHESTRATE, "--write-chunks", "--workers", 1, "--apply"]
    process = badc(*words)
    # In the middle of the second recording, with the chunks of the first one done.
    wait_until(lambda: len(completed(ds)) == 1 and ChunkState.IN_PROGRESS in states(ds), process)
    os.killpg(process.pid, signal.SIGINT)
    if times == 2:
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
    code, out, err = ended(process)

    assert code == 130, err
    done = completed(ds)
    assert 1 <= len(done) < 6
    rest = [status for name, status in statuses(ds).items() if name not in done]
    assert {(status.state, status.error) for status in rest} <= {(ChunkState.FAILED, "interrupted")}
    assert f"interrupted: {numbered(len(done), 'recording')} chunked, 0 failed, {6 - len(done)} left" in out
    assert "Resume with: badc chunk orchestrate ds" in err
    assert not list((ds / "artifacts" / "chunks").glob("**/.tmp-*"))

    code, _, err = ended(badc(*words))
    assert code == 0, err
    assert set(states(ds)) == {ChunkState.COMPLETED}
    assert len(completed(ds)) == 6
    assert {name: status for name, status in completed(ds).items() if name in done} == done, "not done twice"
    for name, status in completed(ds).items():
        assert len(list((ds / "artifacts" / "chunks" / name).glob("*.wav"))) == status.manifest_rows == 120


@pytest.mark.long
def test_after_kill_9_the_interrupted_recording_is_done_again(badc, dataset):
    ds = dataset("r0.wav", "r1.wav", seconds=120)
    words = [*ORCHESTRATE, "--write-chunks", "--workers", 1, "--apply"]
    process = badc(*words)
    wait_until(lambda: ChunkState.IN_PROGRESS in states(ds), process)
    process.send_signal(signal.SIGSTOP)
    refused, _, err = ended(badc(*words))
    assert (refused, "another run is writing" in err) == (2, True), "two runs at once"
    process.kill()
    process.communicate()
    assert ChunkState.IN_PROGRESS in states(ds)

    code, out, _ = ended(badc(*words[:-1]))
    assert (code, "not finished" in out) == (0, True)
    code, _, err = ended(badc(*words))
    assert (code, states(ds)) == (0, [ChunkState.COMPLETED] * 2), err


@pytest.mark.long
@pytest.mark.datalad
def test_applied_runs_are_recorded_with_what_was_dropped_fetched_first(badc, datalad_clone, make_recording, tmp_path):
    """Two recordings: one dropped, one that cannot be read. The first is recorded; the other's failure is saved."""

    def run(*words: object) -> str:
        return subprocess.run(
            [*map(str, words)], cwd=datalad_clone, env=shell_variables(), check=True, capture_output=True, text=True
        ).stdout

    (datalad_clone / "audio" / "bad.wav").write_bytes(b"no audio")
    run("datalad", "save", "-m", "bad audio")
    words = ("chunk", "orchestrate", datalad_clone, "--chunk-duration", 1)
    code, out, err = ended(badc(*words, "--include-existing", "--apply"))
    assert code == 1, err
    assert "fetch and chunk" in out
    assert "1 recording is cut anew" in err
    assert "1 of 1 dropped recordings fetched" in err
    assert {name: status.state.value for name, status in statuses(datalad_clone).items()} == {
        "REC": "completed",
        "bad": "failed",
    }
    failures, recorded = run("git", "log", "-2", "--format=%s").splitlines()
    assert "Chunk REC" in recorded
    assert run("git", "show", "--name-only", "--format=", "HEAD^").split() == [
        "artifacts/chunks/REC/.chunk_status.json"
    ]
    assert failures == "1 recording could not be chunked"
    assert run("git", "status", "--porcelain") == ""

    # The way on: what failed is in nobody's way.
    path = make_recording("bad.wav")
    (datalad_clone / "audio" / "bad.wav").unlink()
    shutil.copy(path, datalad_clone / "audio" / "bad.wav")
    run("datalad", "save", "-m", "good audio", "audio")
    code, _, err = ended(badc("chunk", "orchestrate", datalad_clone, "--chunk-duration", 1, "--apply"))
    assert code == 0, err
    assert run("git", "status", "--porcelain") == ""


def test_a_deployment_needs_no_session(dataset, prefect_api):
    from badc.datasets.chunking.settings import ChunkSettings
    from flows.chunk import chunk

    ds = dataset(*(f"r{n}.wav" for n in range(7)))
    settings: dict[str, Any] = {"dataset": ds, "chunk_duration_s": 1, "workers": 3, "record_datalad": False}
    state = chunk(ChunkSettings(**settings), return_state=True)
    assert state.is_completed(), state
    assert states(ds) == [ChunkState.COMPLETED] * 7
    assert not (ds / "artifacts" / "chunks" / ".badc-lock").exists()
    assert chunk(ChunkSettings(**settings), return_state=True).message.startswith("0 recordings chunked")
