"""Whole files or none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from badc.system import atomic


def test_a_file_is_written_with_its_folder(tmp_path: Path) -> None:
    atomic.write_text(tmp_path / "a" / "b" / "c.txt", "é\n")
    assert (tmp_path / "a" / "b" / "c.txt").read_bytes() == b"\xc3\xa9\n"
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["c.txt"]


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("old")
    with atomic.replacing(path) as temporary:
        temporary.write_text("new")
        assert temporary.parent == tmp_path
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "f").write_text("old")

    def fail() -> None:
        with atomic.replacing(tmp_path / "f") as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"f": "old"}


def test_a_link_is_replaced_and_what_it_links_to_stays(tmp_path: Path) -> None:
    (tmp_path / "object").write_text("annexed")
    (tmp_path / "link").symlink_to("object")
    atomic.write_text(tmp_path / "link", "new")
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "object").read_text() == "annexed"


def test_a_name_as_long_as_the_file_system_allows_works(tmp_path: Path) -> None:
    atomic.write_text(tmp_path / ("x" * 255), "long")
    assert (tmp_path / ("x" * 255)).read_text() == "long"


def test_a_folder_that_cannot_be_made_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        atomic.write_text(tmp_path / "file" / "x", "text")
    with pytest.raises(OSError, match="/proc"):
        atomic.write_text(Path("/proc/badc/x"), "text")
    with pytest.raises(OSError, match=rf"Is a directory: '{tmp_path}'$"):
        atomic.write_text(tmp_path, "text")


def test_a_disk_that_fills_up_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    """A file size limit stands for the disk."""
    (tmp_path / "f").write_text("old")
    program = (
        "import resource, signal, sys; from pathlib import Path; from badc.system import atomic\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "atomic.write_bytes(Path(sys.argv[1]), bytes(5000))"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "f"], capture_output=True, text=True, timeout=60)
    assert f"File too large: '{tmp_path / 'f'}'" in done.stderr
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"f": "old"}


def test_a_process_that_is_killed_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("old")
    program = (
        "import os, sys; from pathlib import Path; from badc.system import atomic\n"
        "with atomic.replacing(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half')\n"
        f"    os.kill(os.getpid(), {signal.SIGKILL.value})"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "f"], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "f").read_text() == "old"


def test_two_writers_of_one_file_both_succeed(tmp_path: Path) -> None:
    with atomic.replacing(tmp_path / "f") as first, atomic.replacing(tmp_path / "f") as second:
        assert first != second
        first.write_text("1")
        second.write_text("2")
    assert (tmp_path / "f").read_text() == "1"
    assert os.listdir(tmp_path) == ["f"]  # noqa: PTH208
