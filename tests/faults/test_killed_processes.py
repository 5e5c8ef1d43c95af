"""`kill -9` of each process of a run, alone and together: nothing stays behind, and a resumed run does the rest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import orjson
import psutil
import pytest

from badc.telemetry.summary import resumable
from tests.conftest import ROOT
from tests.flows.conftest import unended_starts
from tests.flows.test_infer_ends import family, gone, successes, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.long]
_PARTS = {"server": "flows.server.app", "watcher": "leash.py", "worker": "spawn_main", "runner": "detector.py"}


@pytest.fixture
def started(badc, make_recording, make_manifest, fake, tmp_path):
    """A run with a server and two workers of its own, of which some chunks are done, and how to start it."""
    words = ["infer", "run", make_manifest(make_recording(seconds=16)), "--output-dir", "out", "--max-gpus", 0]
    words += ["--runner-cmd", fake("detector", "--seconds", 0.5), "--cpu-workers", 2]

    def start(log: Path, *more: object) -> subprocess.Popen[str]:
        own = {"PREFECT_API_URL": "", "PREFECT_HOME": str(tmp_path / "prefect")}
        return badc(*words, "--telemetry-log", log, *more, **own)

    process = start(tmp_path / "run.jsonl")
    wait_until(lambda: len(successes(tmp_path / "run.jsonl")) >= 2)
    yield process, start
    if process.poll() is None:
        process.kill()


def _part(process: psutil.Process) -> str:
    words = " ".join(process.cmdline())
    return next((name for name, word in _PARTS.items() if word in words), "other")


@pytest.mark.parametrize(
    "parts",
    [
        ("flow", "watcher"),
        ("flow", "server"),
        ("flow", "worker"),
        ("flow", *_PARTS, "other"),
        ("watcher",),
        ("runner",),
    ],
    ids="+".join,
)
def test_what_is_killed_leaves_nothing_behind_and_the_rest_is_done(started, tmp_path, parts) -> None:
    process, start = started
    wait_until(lambda: any(_part(child) == "runner" for child in family(process)))
    children = family(process)
    victims = [child for child in children if _part(child) in parts]
    if "flow" in parts:
        process.kill()
    for victim in victims:
        if victim.is_running():
            victim.kill()
    _, err = process.communicate(timeout=200)
    wait_until(lambda: gone(children), 30)
    assert "Traceback" not in err
    log = tmp_path / "run.jsonl"
    for path in (tmp_path / "out" / "REC").glob("*.json"):
        assert orjson.loads(path.read_bytes())["detections"], "an output that exists is whole"
    if "flow" not in parts:
        assert process.returncode == 0, err
        assert len(successes(log)) == 16
        assert unended_starts(log) == []
        return
    done = successes(log)
    again = start(tmp_path / "2.jsonl", "--resume-summary", resumable(log))
    _, err = again.communicate(timeout=300)
    assert again.returncode == 0, err
    assert len(done | successes(tmp_path / "2.jsonl")) == 16
    assert not done & successes(tmp_path / "2.jsonl")


def test_several_first_runs_at_once_make_one_database(tmp_path) -> None:
    code = "from flows.server.new_database import make_database\nmake_database()"
    own = {"PREFECT_HOME": str(tmp_path / "prefect"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment = os.environ | own | {"PYTHONPATH": str(ROOT)}
    makers = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for maker in makers:
        _, err = maker.communicate(timeout=300)
        assert maker.returncode == 0, err
    assert (tmp_path / "prefect" / "prefect.db").is_file()
