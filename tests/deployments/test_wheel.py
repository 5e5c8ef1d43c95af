"""BADC without a clone: the wheel, installed into a fresh environment, has all that it needs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

pytestmark = [pytest.mark.long, pytest.mark.birdnet]
ROOMS = ("badc", "flows", "tasks", "blocks")


def run(*words: str | Path, cwd: Path, **variables: str) -> str:
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(words, cwd=cwd, env=env | variables, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, f"{words}: {done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the checkout's files."""
    source, dist = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for room in ROOMS:
        shutil.copytree(ROOT / room, source / room, ignore=shutil.ignore_patterns("__pycache__"))
    if shutil.which("uv"):
        run("uv", "build", "--quiet", "--wheel", "--out-dir", dist, cwd=source)
    else:
        run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", dist, ".", cwd=source)
    (path,) = dist.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of a fresh environment with the wheel and its extras, in the versions of the lock."""
    folder = tmp_path_factory.mktemp("fresh")
    wanted = [f"{wheel}[birdnet,datalad]", "--constraint", ROOT / "requirements.lock"]
    if shutil.which("uv"):
        run("uv", "venv", "--quiet", "--python", sys.executable, "env", cwd=folder)
        run("uv", "pip", "install", "--quiet", "--python", "env/bin/python", *wanted, cwd=folder)
    else:
        run(sys.executable, "-m", "venv", "env", cwd=folder)
        run("env/bin/python", "-m", "pip", "install", "--quiet", *wanted, cwd=folder)
    return folder / "env" / "bin"


def test_the_wheel_has_every_file_of_the_rooms(wheel: Path) -> None:
    there = set(zipfile.ZipFile(wheel).namelist())
    files = {path for room in ROOMS for path in (ROOT / room).rglob("*") if path.is_file()}
    wanted = {path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts}

    assert wanted - there == set()
    assert {name.partition("/")[0] for name in there if ".dist-info" not in name} == set(ROOMS)


def test_the_demo_runs_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    said = run(installed / "badc", "demo", "birds", cwd=tmp_path, PREFECT_HOME=str(tmp_path / "prefect"))

    assert "Tennessee Warbler" in said
    for name in ("badc", "flows.infer", "tasks.workers.body", "blocks.types"):
        found = run(installed / "python", "-c", f"import {name} as it; print(it.__file__)", cwd=tmp_path)
        assert str(installed.parent) in found


def test_flows_blocks_and_templates_are_there(installed: Path, make_dataset: Any, tmp_path: Path) -> None:
    root, own = make_dataset("REC"), {"PREFECT_HOME": str(tmp_path / "prefect")}

    assert "Usage: " in run(installed / "python", "-m", "flows.infer", "--help", cwd=tmp_path)
    assert "Slurm" in run(installed / "badc", "setup", cwd=tmp_path, **own)
    script = ["--use-birdnet", "--sockeye-script", "job.sh", "--allow-partial-chunks"]
    run(installed / "badc", "infer", "orchestrate", root, *script, cwd=tmp_path)
    assert " infer orchestrate " in (tmp_path / "job.sh").read_text()
