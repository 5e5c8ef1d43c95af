"""Content that was dropped, in real DataLad datasets; and what keeps DataLad from being used."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from badc.datalad.content import fetch
from badc.datalad.environment import datalad_problem, environment
from badc.errors import RequestError
from badc.system.annex import content_is_here, is_locked, is_pointer, shares_its_content
from badc.telemetry.events import ChunkEvent, EventStatus, TelemetryLog, read_events

pytestmark = pytest.mark.datalad
AUDIO = "audio/REC.wav"


def git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *words], env=environment(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def unlocked(root: Path) -> Path:
    """Unlock the recording for good, and return it."""
    git(root, "annex", "unlock", "--quiet", AUDIO)
    git(root, "commit", "-qm", "unlock")
    return root / AUDIO


@pytest.mark.parametrize("kind", ["locked", "unlocked"])
def test_dropped_content_is_fetched_from_a_sibling(datalad_dataset: Path, datalad_clone: Path, kind: str) -> None:
    audio = datalad_clone / AUDIO
    if kind == "unlocked":
        unlocked(datalad_dataset)
        git(datalad_clone, "pull", "-q")
        assert is_pointer(audio)
    else:
        assert is_locked(audio)
    assert not content_is_here(audio)
    told: list[tuple[int, int]] = []
    assert fetch(datalad_clone, [AUDIO, audio, "manifests/REC.csv"], lambda *counts: told.append(counts)) == 1
    assert audio.read_bytes() == (datalad_dataset / AUDIO).read_bytes()
    assert (told[0], told[-1]) == ((0, 1), (1, 1))
    assert git(datalad_clone, "status", "--porcelain") == ""
    assert fetch(datalad_clone, [AUDIO]) == 0


def test_an_input_that_no_remote_has_is_named(datalad_dataset: Path, datalad_clone: Path) -> None:
    git(datalad_dataset, "annex", "drop", "--force", "--quiet", AUDIO)
    git(datalad_clone, "fetch", "-q")
    with pytest.raises(RequestError) as caught:
        fetch(datalad_clone, [AUDIO, "manifests/REC.csv"])
    first, second = str(caught.value).splitlines()
    assert first.startswith(f"{datalad_clone}: the content of 1 input file is not here, and could not be fetched")
    assert second.startswith(f"{AUDIO}: ")
    assert "not available" in second


def test_a_remote_that_is_gone_is_an_error_too(datalad_dataset: Path, datalad_clone: Path) -> None:
    shutil.rmtree(datalad_dataset)
    with pytest.raises(RequestError, match=rf"{AUDIO}: "):
        fetch(datalad_clone, [AUDIO])


def test_a_file_of_a_subdataset_that_is_not_installed_is_fetched(datalad_dataset: Path, tmp_path: Path) -> None:
    above = tmp_path / "above"
    subprocess.run(["datalad", "create", str(above)], env=environment(), check=True, capture_output=True)
    words = ["datalad", "clone", "-d", str(above), str(datalad_dataset), str(above / "site")]
    subprocess.run(words, env=environment(), check=True, capture_output=True)
    git(tmp_path, "clone", "-q", str(above), str(tmp_path / "copy"))
    assert fetch(tmp_path / "copy", [f"site/{AUDIO}"]) == 1
    assert (tmp_path / "copy" / "site" / AUDIO).read_bytes() == (datalad_dataset / AUDIO).read_bytes()


def test_files_that_were_never_in_the_dataset_are_left_to_others(datalad_dataset: Path, tmp_path: Path) -> None:
    assert fetch(datalad_dataset, ["audio/none.wav", tmp_path / "elsewhere.wav"]) == 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_fetch_leaves_no_process(datalad_dataset: Path, tmp_path: Path, how: signal.Signals) -> None:
    pid_file = tmp_path / "pid"
    git(datalad_dataset, "annex", "initremote", "-q", "slow", "type=hook", "hooktype=slow", "encryption=none")
    hooks = {"store": "true", "checkpresent": 'echo "$ANNEX_KEY"', "retrieve": f"echo $$ > '{pid_file}'; sleep 600"}
    for name, command in hooks.items():
        git(datalad_dataset, "config", f"annex.slow-{name}-hook", command)
    git(datalad_dataset, "annex", "copy", "-q", "--to", "slow", AUDIO)
    git(datalad_dataset, "annex", "drop", "-q", AUDIO)
    program = (
        "import sys; from pathlib import Path; from badc.datalad.content import fetch; "
        "fetch(Path(sys.argv[1]), sys.argv[2:])"
    )
    running = subprocess.Popen([sys.executable, "-c", program, str(datalad_dataset), AUDIO], stderr=subprocess.DEVNULL)
    wait_until(lambda: pid_file.exists() and pid_file.read_text().endswith("\n"))
    pid = int(pid_file.read_text())
    running.send_signal(how)
    assert running.wait(timeout=60) != 0
    wait_until(lambda: not is_alive(pid))


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_logs_that_git_annex_keeps_are_copied_before_lines_are_added(datalad_dataset: Path) -> None:
    log = datalad_dataset / "log.jsonl"
    _write(log, "first")
    git(datalad_dataset, "annex", "add", "--quiet", "log.jsonl")
    git(datalad_dataset, "commit", "-qm", "log")
    assert shares_its_content(log)
    _write(log, "second")
    assert not shares_its_content(log)
    assert [event.chunk_id for event in read_events(log)] == ["first", "second"]
    git(datalad_dataset, "annex", "fsck", "--all", "--quiet")
    git(datalad_dataset, "checkout", "-q", "--", "log.jsonl")
    assert [event.chunk_id for event in read_events(log)] == ["first"]


@pytest.mark.parametrize("kind", ["locked", "unlocked"])
def test_a_log_whose_content_was_dropped_begins_anew(datalad_dataset: Path, datalad_clone: Path, kind: str) -> None:
    if kind == "unlocked":
        unlocked(datalad_dataset)
        git(datalad_clone, "pull", "-q")
    log = datalad_clone / AUDIO  # any annexed file will do
    _write(log, "only")
    assert [event.chunk_id for event in read_events(log)] == ["only"]
    assert log.read_text().count("\n") == 1


def test_a_log_that_is_hard_linked_to_its_object_is_copied_too(datalad_dataset: Path) -> None:
    git(datalad_dataset, "config", "annex.thin", "true")
    log = datalad_dataset / "log.jsonl"
    _write(log, "first")
    git(datalad_dataset, "annex", "add", "--quiet", "log.jsonl")
    git(datalad_dataset, "commit", "-qm", "log")
    git(datalad_dataset, "annex", "unlock", "--quiet", "log.jsonl")
    if log.stat().st_nlink == 1:
        pytest.skip("git-annex makes no hard links here")
    _write(log, "second")
    assert log.stat().st_nlink == 1
    git(datalad_dataset, "annex", "fsck", "--all", "--quiet")


def _write(path: Path, chunk_id: str) -> None:
    log = TelemetryLog(path)
    log.write(ChunkEvent(chunk_id, "REC", EventStatus.START, "t"))
    log.close()


def test_a_dataset_that_can_be_recorded_has_no_problem(datalad_dataset: Path) -> None:
    assert datalad_problem(datalad_dataset) is None


def test_the_folder_of_this_python_is_enough_to_find_git_annex(
    datalad_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert (
        shutil.which("git-annex") is None or Path(str(shutil.which("git-annex"))).parent != Path(sys.executable).parent
    )
    assert datalad_problem(datalad_dataset) is None


def test_no_dataset_is_a_problem(tmp_path: Path) -> None:
    assert "not in a DataLad dataset" in str(datalad_problem(None))
    assert "datalad create --force" in str(datalad_problem(tmp_path))
    (tmp_path / ".datalad").mkdir()
    assert "not the root of a git repository" in str(datalad_problem(tmp_path))
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "sub" / ".datalad").mkdir(parents=True)
    assert "not the root of a git repository" in str(datalad_problem(tmp_path / "sub"))


def test_what_is_not_installed_is_named(datalad_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("python", "git"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setenv("PATH", "")
    assert "git-annex is not on the PATH; `pip install 'badc[datalad]'`" in str(datalad_problem(datalad_dataset))
    (tmp_path / "bin" / "git").unlink()
    assert "git is not installed" in str(datalad_problem(datalad_dataset))
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "datalad" else found(name))
    assert "DataLad is not installed beside BADC; `pip install 'badc[datalad]'`" in str(
        datalad_problem(datalad_dataset)
    )


def test_a_git_user_without_a_name_is_a_problem(datalad_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for role in ("AUTHOR", "COMMITTER"):
        for what in ("NAME", "EMAIL"):
            monkeypatch.delenv(f"GIT_{role}_{what}")
    git(datalad_dataset, "config", "user.useConfigOnly", "true")  # whatever this machine's name would make of it
    assert "git config --global user.name" in str(datalad_problem(datalad_dataset))
    git(datalad_dataset, "config", "user.name", "Me")
    git(datalad_dataset, "config", "user.email", "me@here")
    assert datalad_problem(datalad_dataset) is None


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to another user")
def test_a_dataset_of_another_user_is_a_problem(datalad_dataset: Path) -> None:
    os.chown(datalad_dataset, 65534, 65534)
    os.chown(datalad_dataset / ".git", 65534, 65534)
    problem = str(datalad_problem(datalad_dataset))
    assert "dubious ownership" in problem
    assert "safe.directory" in problem
