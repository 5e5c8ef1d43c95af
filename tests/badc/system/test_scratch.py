"""Temporary folders: whose they are, and what is removed of those that killed workers left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from badc.runners.current import close_runner, runner_for
from badc.runners.stub import StubSpec
from badc.system.scratch import MARKER, Scratch, sweep

MAKE = """
from badc.system.scratch import Scratch
scratch = Scratch()
(scratch.path / "x").write_text("x")
print(scratch.path, flush=True)
input()
"""


@pytest.fixture
def tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder of this test, of this process and those that it starts."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def other(tmp: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another process and its folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", MAKE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    assert process.stdout is not None
    yield process, Path(process.stdout.readline().strip())
    process.kill()
    process.communicate()


def _killed(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def _dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_a_killed_worker_left_is_removed(other: tuple[subprocess.Popen[str], Path]) -> None:
    process, folder = other
    sweep()
    assert (folder / "x").exists(), "its worker lives"
    _killed(process)
    sweep()
    assert not folder.exists()


@pytest.mark.parametrize("name", ["badc-2026-owls", "badc-{dead}-season", "badc-{dead}-ab12cd34"])
def test_a_users_folder_is_not_removed_whatever_its_name(tmp: Path, name: str) -> None:
    folder = tmp / name.format(dead=_dead_pid())
    (folder / "season").mkdir(parents=True)
    (folder / "season" / "night.wav").write_text("audio")
    sweep()
    assert (folder / "season" / "night.wav").exists()


@pytest.mark.parametrize("change", [{"host": "node-17"}, {"uid": 99_999}])
def test_a_folder_of_another_machine_or_user_is_not_removed(
    other: tuple[subprocess.Popen[str], Path], change: dict[str, object]
) -> None:
    process, folder = other
    _killed(process)
    marker = folder / MARKER
    marker.write_text(json.dumps(json.loads(marker.read_text()) | change))
    sweep()
    assert (folder / "x").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_a_marker_of_another_user_counts_for_nothing(other: tuple[subprocess.Popen[str], Path]) -> None:
    process, folder = other
    _killed(process)
    os.chown(folder / MARKER, 99_999, 99_999)
    sweep()
    assert (folder / "x").exists()


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff\xfe", b'"ours"'])
def test_a_marker_that_is_none_counts_for_nothing(tmp: Path, content: bytes) -> None:
    folder = tmp / "badc-x"
    folder.mkdir()
    (folder / MARKER).write_bytes(content)
    sweep()
    assert folder.exists()


def test_links_are_not_followed(other: tuple[subprocess.Popen[str], Path], tmp: Path) -> None:
    process, folder = other
    _killed(process)
    theirs = tmp / "theirs"
    folder.rename(theirs)
    (tmp / "badc-link").symlink_to(theirs)
    borrowed = tmp / "badc-borrowed"
    borrowed.mkdir()
    (borrowed / MARKER).symlink_to(theirs / MARKER)
    (borrowed / "night.wav").write_text("audio")
    sweep()
    assert (theirs / "x").exists()
    assert (borrowed / "night.wav").exists()


def test_what_is_linked_from_a_left_folder_stays(other: tuple[subprocess.Popen[str], Path], tmp: Path) -> None:
    process, folder = other
    (tmp / "archive").mkdir()
    (tmp / "archive" / "night.wav").write_text("audio")
    (folder / "audio").symlink_to(tmp / "archive")
    _killed(process)
    sweep()
    assert not folder.exists()
    assert (tmp / "archive" / "night.wav").exists()


def test_a_folder_that_was_cleared_is_made_again_and_is_still_ours(tmp: Path) -> None:
    scratch = Scratch()
    shutil.rmtree(scratch.path)
    assert scratch.ensure()
    assert scratch.path.is_dir()
    (scratch.path / MARKER).unlink()  # a cleaner that takes old files one by one
    scratch.ensure()
    sweep()
    assert scratch.path.exists(), "its lock is held again"
    scratch.close()
    assert list(tmp.iterdir()) == []


def _take_its_place(folder: Path, archive: Path, how: str) -> None:
    shutil.rmtree(folder)
    if how == "link":
        folder.symlink_to(archive)
    else:
        folder.mkdir()
        (folder / "night.wav").write_text("audio")
        folder.chmod(0o777)


@pytest.mark.parametrize("how", ["link", "open folder"])
def test_what_takes_the_place_of_a_folder_is_neither_used_nor_removed(
    tmp: Path, tmp_path_factory: Any, how: str
) -> None:
    archive = tmp_path_factory.mktemp("archive")
    (archive / "night.wav").write_text("audio")
    runner = runner_for(StubSpec(), {})
    (folder,) = tmp.iterdir()
    _take_its_place(folder, archive, how)
    assert runner_for(StubSpec(), {}) is not runner
    (another,) = (path for path in tmp.iterdir() if path != folder)
    assert (folder / "night.wav").exists()
    _take_its_place(another, archive, how)
    close_runner()
    assert (another / "night.wav").exists()
    assert (archive / "night.wav").exists()


def test_a_runner_finds_its_folder_again_at_its_next_chunk(tmp: Path) -> None:
    runner = runner_for(StubSpec(), {})
    (folder,) = tmp.iterdir()
    shutil.rmtree(folder)
    assert runner_for(StubSpec(), {}) is runner
    assert folder.is_dir()
    close_runner()
    assert list(tmp.iterdir()) == []
