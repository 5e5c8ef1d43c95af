"""Records of runs in real DataLad datasets: what gets into the commit, what must not, and running them again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from badc.datalad.environment import DataladError
from badc.datalad.lock import NAME, dataset_lock
from badc.datalad.record import record
from badc.datalad.run import DataladRun
from badc.datalad.worktree import require_clean
from badc.errors import RequestError
from badc.system.annex import is_locked
from tests.conftest import shell_variables

pytestmark = pytest.mark.datalad


def git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *words], env=shell_variables(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def datalad(root: Path, *words: str, **more: str) -> str:
    done = subprocess.run(
        ["datalad", "-C", str(root), *words], env=shell_variables() | more, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def copying(root: Path, name: str = "REC", exit_code: int = 0) -> DataladRun:
    """A run that copies the manifest; a plain shell command does the same as `do` does."""
    target = f"artifacts/infer/{name}"
    command = f"mkdir -p {target} && cp --remove-destination manifests/REC.csv {target}/c.json && exit {exit_code}"
    return DataladRun(root, f"Copy {name}", ("sh", "-c", command), ("manifests/REC.csv",), output_folders=(target,))


def do(run: DataladRun) -> None:
    subprocess.run(run.command, cwd=run.root, check=False)


def files_of(root: Path, commit: str) -> list[str]:
    return git(root, "show", "--format=", "--name-only", "-z", commit).split("\0")[:-1]


def is_clean(root: Path) -> bool:
    return git(root, "status", "--porcelain") == ""


def test_a_record_holds_the_outputs_and_runs_again(datalad_dataset: Path) -> None:
    run = copying(datalad_dataset)
    do(run)
    commit = record(run)
    assert commit == git(datalad_dataset, "rev-parse", "HEAD").strip()
    assert files_of(datalad_dataset, commit) == ["artifacts/infer/REC/c.json"]
    output = datalad_dataset / "artifacts/infer/REC/c.json"
    assert is_locked(output)
    assert is_clean(datalad_dataset)
    datalad(datalad_dataset, "run", "-m", "away", "git", "rm", "-q", "artifacts/infer/REC/c.json")
    assert not output.is_symlink()
    datalad(datalad_dataset, "rerun", commit)
    assert output.read_bytes() == (datalad_dataset / "manifests/REC.csv").read_bytes()
    assert is_clean(datalad_dataset)


def test_the_record_is_the_one_that_datalad_itself_makes(datalad_dataset: Path) -> None:
    run = copying(datalad_dataset)
    subprocess.run(["sh", "-c", run.line()], env=shell_variables(), check=True, capture_output=True)
    theirs = git(datalad_dataset, "log", "-1", "--format=%B")
    git(datalad_dataset, "reset", "-q", "--hard", "HEAD^")
    do(run)
    record(run)
    assert git(datalad_dataset, "log", "-1", "--format=%B") == theirs


def test_without_a_change_there_is_no_record(datalad_dataset: Path) -> None:
    run = copying(datalad_dataset)
    do(run)
    assert record(run)
    head = git(datalad_dataset, "rev-parse", "HEAD")
    do(run)  # the file is rewritten, with what it held before
    assert record(run) is None
    assert git(datalad_dataset, "rev-parse", "HEAD") == head


def test_what_else_is_unsaved_stays_out_of_the_record(datalad_dataset: Path) -> None:
    run = copying(datalad_dataset)
    (datalad_dataset / "notes.md").write_text("mine")
    (datalad_dataset / "staged.md").write_text("mine too")
    git(datalad_dataset, "add", "staged.md")
    other = copying(datalad_dataset, "REC2")  # its name begins like the run's
    do(other)
    do(run)
    (datalad_dataset / "artifacts/infer/REC/.tmp-12-0123456789ab").write_text("left by a run that was killed")
    require_clean([run], outputs_may_differ=True)
    commit = record(run)
    assert commit
    assert files_of(datalad_dataset, commit) == ["artifacts/infer/REC/c.json"]
    assert sorted(git(datalad_dataset, "status", "--porcelain", "-uall").splitlines()) == [
        "?? artifacts/infer/REC/.tmp-12-0123456789ab",
        "?? artifacts/infer/REC2/c.json",
        "?? notes.md",
        "A  staged.md",
    ]


def test_files_that_are_gone_are_part_of_the_record(datalad_dataset: Path) -> None:
    run = copying(datalad_dataset)
    do(run)
    old = datalad_dataset / "artifacts/infer/REC/old.json"
    hidden = datalad_dataset / "artifacts/infer/REC/.chunk_status.json"
    old.write_text("{}")
    hidden.write_text("{}")
    record(run)
    old.unlink()
    hidden.unlink()
    commit = record(run)
    assert commit
    assert git(datalad_dataset, "show", "--format=", "--name-status", commit).splitlines() == [
        "D\tartifacts/infer/REC/.chunk_status.json",
        "D\tartifacts/infer/REC/old.json",
    ]
    assert is_clean(datalad_dataset)


def test_several_that_end_together_each_record_their_own(datalad_dataset: Path) -> None:
    runs = [copying(datalad_dataset, f"R{number}") for number in range(4)]
    for run in runs:
        do(run)
    with ThreadPoolExecutor(4) as pool:
        commits = list(pool.map(record, runs))
    assert len(set(commits)) == 4
    for number, commit in enumerate(commits):
        assert commit
        assert files_of(datalad_dataset, commit) == [f"artifacts/infer/R{number}/c.json"]
        assert f"[DATALAD RUNCMD] Copy R{number}\n" in git(datalad_dataset, "log", "-1", "--format=%B", commit)
    assert is_clean(datalad_dataset)


def test_the_lock_names_who_holds_it(datalad_dataset: Path) -> None:
    with (
        dataset_lock(datalad_dataset),
        pytest.raises(DataladError, match=rf"{NAME}: another process .*\"pid\": {os.getpid()}"),
        dataset_lock(datalad_dataset, wait_s=0.2),
    ):
        pass
    with dataset_lock(datalad_dataset, wait_s=0):
        assert is_clean(datalad_dataset)


def test_a_record_waits_while_another_git_command_has_the_index(datalad_dataset: Path) -> None:
    run = copying(datalad_dataset)
    do(run)
    busy = datalad_dataset / ".git" / "index.lock"
    busy.touch()
    release = threading.Timer(4, busy.unlink)
    release.start()
    try:
        commit = record(run)
    finally:
        release.join()
    assert commit
    assert files_of(datalad_dataset, commit) == ["artifacts/infer/REC/c.json"]


def test_a_failure_to_record_shows_what_git_said(datalad_dataset: Path) -> None:
    run = copying(datalad_dataset)
    do(run)
    hook = datalad_dataset / ".git" / "hooks" / "commit-msg"
    hook.write_text("#!/bin/sh\necho 'no commits on Sundays' >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(DataladError, match="no commits on Sundays"):
        record(run)
    assert (datalad_dataset / "artifacts/infer/REC/c.json").exists()


def test_outputs_that_git_ignores_are_not_passed_over_silently(datalad_dataset: Path) -> None:
    (datalad_dataset / ".gitignore").write_text("/artifacts/\n")
    datalad(datalad_dataset, "save", "-m", "ignore")
    run = copying(datalad_dataset)
    do(run)
    with pytest.raises(DataladError, match=r"git ignores the outputs(.|\n)*artifacts/infer/REC/c\.json"):
        record(run)


def test_an_ignored_file_beside_recorded_outputs_is_no_error(datalad_dataset: Path) -> None:
    run = copying(datalad_dataset)
    do(run)
    (datalad_dataset / "artifacts/infer/REC/.gitignore").write_text("*.log\n")
    assert record(run)
    (datalad_dataset / "artifacts/infer/REC/x.log").touch()
    assert record(run) is None


def test_outputs_in_a_subdataset_are_recorded_in_both(datalad_dataset: Path) -> None:
    datalad(datalad_dataset, "create", "-d", ".", "artifacts")
    run = copying(datalad_dataset)
    do(run)
    with pytest.raises(RequestError, match=r"artifacts/infer/REC/c\.json: not saved"):
        require_clean([run])
    commit = record(run)
    assert commit
    assert files_of(datalad_dataset, commit) == ["artifacts"]
    assert files_of(datalad_dataset / "artifacts", "HEAD") == ["infer/REC/c.json"]
    assert is_clean(datalad_dataset)


def test_a_dirty_dataset_is_refused_with_the_list(datalad_dataset: Path) -> None:
    run = copying(datalad_dataset)
    require_clean([run])
    (datalad_dataset / "notes.md").write_text("elsewhere")
    require_clean([run])
    do(run)
    with (datalad_dataset / "manifests/REC.csv").open("a") as stream:
        stream.write("\n")
    with pytest.raises(RequestError) as caught:
        require_clean([run])
    assert str(caught.value).splitlines()[1:] == ["artifacts/infer/REC/c.json: not saved", "manifests/REC.csv: changed"]
    with pytest.raises(RequestError) as caught:
        require_clean([run], outputs_may_differ=True)
    assert str(caught.value).splitlines()[1:] == ["manifests/REC.csv: changed"]
    (datalad_dataset / "manifests/REC.csv").unlink()
    with pytest.raises(RequestError, match=r"manifests/REC\.csv: deleted"):
        require_clean([run])


def test_many_runs_are_looked_at_in_one_go(datalad_dataset: Path) -> None:
    runs = [copying(datalad_dataset, f"R{number}") for number in range(300)]
    require_clean(runs)
    do(runs[123])
    do(copying(datalad_dataset, "R1234"))
    with pytest.raises(RequestError) as caught:
        require_clean(runs)
    assert str(caught.value).splitlines()[1:] == ["artifacts/infer/R123/c.json: not saved"]


SCENARIO = """
import json, os, sys
from pathlib import Path
from badc.system import atomic
from badc.datalad.content import fetch
from badc.datalad.environment import datalad_problem
from badc.datalad.record import record
from badc.datalad.run import DataladRun
from badc.datalad.worktree import require_clean
from badc.telemetry.events import ChunkEvent, EventStatus, TelemetryLog

root, clone = Path(sys.argv[1]), Path(sys.argv[2])
assert datalad_problem(root) is None, datalad_problem(root)
output, log = root / "out/REC/c.json", root / "out/log.jsonl"
run = DataladRun(root, "Write", ("true",), (), output_files=("out/log.jsonl",), output_folders=("out/REC",))
commits = []
for number in range(2):
    require_clean([run])
    atomic.write_text(output, f"{number}")
    telemetry = TelemetryLog(log)
    telemetry.write(ChunkEvent(f"c{number}", "REC", EventStatus.START, "t"))
    telemetry.close()
    commits.append(record(run))
    assert output.is_symlink() and log.is_symlink(), "locked after the record"
os.system(f"git -C '{clone}' pull -q")
assert fetch(clone, ["audio/REC.wav", "out/REC/c.json", "out/log.jsonl"]) == 3
print(json.dumps({"uid": os.getuid(), "commits": commits, "output": (clone / "out/REC/c.json").read_text(),
                  "lines": (clone / "out/log.jsonl").read_text().count("\\n")}))
"""


def _as_user(user: str) -> Sequence[str]:
    if user == "root":
        return [] if os.getuid() == 0 else pytest.skip("these tests do not run as root")
    if os.getuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv, which lets root be an ordinary user, is not installed")
    # It may read everything, such as a Python below /root, but write no more than others.
    capability = [f"--{kind}-caps=+dac_read_search" for kind in ("inh", "ambient")]
    words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *capability]
    if subprocess.run([*words, "true"], check=False, capture_output=True).returncode:
        pytest.skip("root may not become an ordinary user here")
    return words


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that an ordinary user can get to; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.parametrize("user", ["root", "ordinary"])
@pytest.mark.usefixtures("datalad_dataset")
def test_locked_outputs_are_rewritten_and_logs_continued_without_touching_the_annex(
    datalad_template: Path, open_folder: Path, user: str
) -> None:
    prefix = _as_user(user)
    dataset, clone = open_folder / "dataset", open_folder / "clone"
    shutil.copytree(datalad_template, dataset, symlinks=True)
    git(open_folder, "clone", "-q", str(dataset), str(clone))
    if prefix:
        subprocess.run(["chown", "-R", "65534:65534", str(open_folder)], check=True)
    done = subprocess.run(
        [*prefix, sys.executable, "-c", SCENARIO, str(dataset), str(clone)],
        env=shell_variables() | {"HOME": str(open_folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    if prefix:
        subprocess.run(["chown", "-R", "0:0", str(open_folder)], check=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["uid"] == 0) == (user == "root")
    assert found["output"] == "1"
    assert found["lines"] == 2
    assert len(set(found["commits"])) == 2
    # Every object still has the content that its name says, those of the first record too.
    git(dataset, "annex", "fsck", "--all", "--quiet")
    git(dataset, "checkout", "-q", found["commits"][0])
    assert (dataset / "out/REC/c.json").read_text() == "0"
    assert (dataset / "out/log.jsonl").read_text().count("\n") == 1
