"""Disks of networks: no file locks, files that another machine removed, files that stay under another name."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from badc.system.output_lock import FOLDER
from tests.conftest import FAKES, ROOT

_LOCKED = """
import sys
from pathlib import Path
from badc.errors import RequestError
from badc.runners.onnx.remembered import remember
from badc.system.output_lock import output_lock

out, log = Path("out"), Path("run.jsonl")
with output_lock(out, frozenset(["REC"]), log, print):
    print(sorted(path.name for path in (out / "REC").iterdir()))
    try:
        with output_lock(out, frozenset(["REC"]), log, print):
            print("a second run")
    except RequestError as error:
        print("refused")
remember("a model", 8)
"""


@pytest.fixture
def holding(tmp_path: Path) -> Callable[..., list[str]]:
    """Return a function that holds the lock of a folder twice where `flock` fails, and returns what was said."""
    if (compiler := shutil.which("cc")) is None:
        pytest.skip("no C compiler")
    library = tmp_path / "flock.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, FAKES / "flock.c", "-ldl"], check=True)
    (tmp_path / "out" / "REC").mkdir(parents=True)
    (tmp_path / "out" / "REC" / ".tmp-1-0123456789ab").write_text("half")

    def run(error: int, **environment: str) -> list[str]:
        failing = {"LD_PRELOAD": str(library), "FLOCK_ERRNO": str(error), "XDG_CACHE_HOME": str(tmp_path / "cache")}
        done = subprocess.run(
            [sys.executable, "-c", _LOCKED],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | failing | environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


@pytest.mark.parametrize("error", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_disk_without_locks_is_said_once_and_used(holding: Callable[..., list[str]], tmp_path: Path, error) -> None:
    warning, there, *rest = holding(error)
    assert warning == (
        f"WARNING: out: this disk has no file locks ({os.strerror(error)}), so nothing keeps a second run from writing "
        "the same files; start no two at once"
    )
    assert there == "['.tmp-1-0123456789ab']", "which another run may be writing"
    assert rest == ["a second run"]
    assert not (tmp_path / "out" / FOLDER).exists()


def test_a_guard_that_another_machine_removed_is_made_again(holding: Callable[..., list[str]], tmp_path: Path) -> None:
    assert holding(errno.ESTALE, FLOCK_TIMES="3") == ["[]", "refused"]
    assert not (tmp_path / "out" / FOLDER).exists()
