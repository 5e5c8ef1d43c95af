"""What killed processes leave behind goes with the next one, and nothing else does."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from badc.system.output_lock import FOLDER, output_lock
from badc.system.scratch import folder_beside, replacing
from tests.conftest import ROOT

NOBODY = 65534


def _killed(code: str, *before: str) -> None:
    """Run code that says when it is ready, and kill it then."""
    process = subprocess.Popen(
        [*before, sys.executable, "-c", f"{code}\n    print('ready', flush=True)\n    import time; time.sleep(60)"],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd="/",
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGKILL)
    process.wait()


def _writing(path: Path) -> str:
    """Return code that is in the middle of a file of a recording that it has locked."""
    return (
        "from pathlib import Path\nfrom badc.system import atomic\nfrom badc.system.output_lock import output_lock\n"
        f"path = Path({str(path)!r})\n"
        "with output_lock(path.parent.parent, frozenset(['REC']), Path('run.jsonl')), atomic.replacing(path) as half:\n"
        "    half.write_text('half')"
    )


def test_half_written_files_go_with_the_next_run(tmp_path: Path) -> None:
    folder = tmp_path / "out" / "REC"
    _killed(_writing(folder / "chunk.json"))
    (folder / ".tmp-notes").write_text("a user's")
    (folder / "kept.json").write_text("{}")
    assert len(list(folder.iterdir())) == 3
    with output_lock(folder.parent, frozenset(["REC"]), tmp_path / "run.jsonl"):
        assert {path.name for path in folder.iterdir()} == {".tmp-notes", "kept.json"}


def test_those_of_another_recording_which_a_run_may_be_writing_stay(tmp_path: Path) -> None:
    folder = tmp_path / "out" / "REC"
    _killed(_writing(folder / "chunk.json"))
    with output_lock(folder.parent, frozenset(["OTHER"]), tmp_path / "run.jsonl"):
        assert len(list(folder.iterdir())) == 1


def test_a_half_written_table_goes_with_the_next_one(tmp_path: Path) -> None:
    code = "from pathlib import Path\nfrom badc.system.scratch import replacing\n"
    code += f"with replacing(Path({str(tmp_path / 't.csv')!r})) as half:\n    half.write_text('half')"
    _killed(code)
    assert len(list(tmp_path.rglob(".tmp-*"))) == 1
    with replacing(tmp_path / "t.csv") as temporary:
        temporary.write_text("whole")
    assert list(tmp_path.iterdir()) == [tmp_path / "t.csv"]


def test_a_folder_for_tables_goes_with_the_next_one_unless_it_is_in_use(tmp_path: Path) -> None:
    code = "from pathlib import Path\nfrom badc.system.scratch import folder_beside\n"
    code += f"with folder_beside(Path({str(tmp_path)!r})) as folder:\n    (folder / 'half.parquet').write_text('half')"
    _killed(code)
    (left,) = tmp_path.iterdir()
    lookalike = tmp_path / f"{left.name}-mine"
    lookalike.mkdir()
    with folder_beside(tmp_path) as one, folder_beside(tmp_path) as another:
        assert {path.name for path in tmp_path.iterdir()} == {lookalike.name, one.name, another.name}
    assert list(tmp_path.iterdir()) == [lookalike]


@pytest.mark.skipif(os.getuid() != 0 or shutil.which("setpriv") is None, reason="only root can act as another user")
@pytest.mark.parametrize("mode", [0o777, 0o1777])
def test_a_colleagues_killed_run_blocks_no_shared_folder(tmp_path: Path, mode: int) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(mode)
    for folder in (tmp_path, *tmp_path.parents):  # pytest's folders are their user's alone
        if folder.stat().st_uid == os.getuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    (shared / "REC").mkdir()
    (shared / "REC").chmod(mode)
    _killed(_writing(shared / "REC" / "chunk.json"))
    assert (shared / FOLDER).is_dir()
    code = (
        "from pathlib import Path\nfrom badc.system.output_lock import output_lock\n"
        f"with output_lock(Path({str(shared)!r}), frozenset(['REC']), Path('run.jsonl')):\n    print('mine')"
    )
    words = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", sys.executable, "-c", code]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd="/")
    if "No module named" in done.stderr or "Permission denied: '/root" in done.stderr:
        pytest.skip("another user cannot read this checkout")
    assert done.stdout == "mine\n", done.stderr
