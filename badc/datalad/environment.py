"""Whether DataLad can be used for a dataset, and the environment in which it, git and git-annex are started."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from badc.errors import BadcError, RequestError
from badc.system.environment import inherited
from badc.system.paths import find_dataset_root

_INSTALL = "`pip install 'badc[datalad]'` installs it"


class DataladError(BadcError):
    """DataLad, git or git-annex failed; the text has its message."""


def environment() -> dict[str, str]:
    """Return the variables for a process that runs git or DataLad.

    The folder of this Python comes first on the PATH: git finds git-annex there, whether or not the virtual environment
    is activated. Nothing may prompt for a password, since nobody would see the prompt.
    """
    folders = (str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))
    return inherited() | {"PATH": os.pathsep.join(folders), "GIT_TERMINAL_PROMPT": "0"}


def git(folder: Path, *words: str) -> str:
    """Return what git prints for a command in a folder; when it fails, DataladError has its message."""
    done = _git(folder, words)
    if done.returncode:
        raise DataladError(f"{folder}: git {words[0]} failed: {_said(done)}")
    return os.fsdecode(done.stdout)


def datalad_problem(root: Path | None) -> str | None:
    """Return why runs cannot be recorded in a dataset, with the way out, or None if they can.

    A `root` of None means a place outside any dataset.
    """
    if root is None or not (root / ".datalad").is_dir():
        where = "the files are not in a DataLad dataset" if root is None else f"{root} is not a DataLad dataset"
        return f"{where} (no .datalad); `datalad create --force FOLDER` makes a folder into one"
    search = environment()["PATH"]
    if importlib.util.find_spec("datalad") is None:
        return f"DataLad is not installed beside BADC; {_INSTALL}"
    if shutil.which("git", path=search) is None:
        return "git is not installed; DataLad needs it (package git)"
    if shutil.which("git-annex", path=search) is None:
        return f"git-annex is not on the PATH; {_INSTALL}"
    return _repository_problem(root) or _identity_problem(root)


def recording_wanted(folder: Path, asked: bool | None) -> tuple[bool, str | None]:
    """Return whether runs in a folder are recorded; if not, although it is in a dataset, also the reason.

    `asked` is `--record-datalad` (RequestError if impossible), `--no-record-datalad`, or None: record if possible.
    """
    if asked is False:
        return False, None
    root = find_dataset_root(folder)
    problem = datalad_problem(root)
    if problem is None:
        return True, None
    if asked:
        raise RequestError(f"--record-datalad: {problem}")
    return False, None if root is None else problem


def _repository_problem(root: Path) -> str | None:
    done = _git(root, ("rev-parse", "--show-toplevel"))
    if done.returncode and (root / ".git").exists():  # such as a repository that belongs to another user
        return f"git refuses {root}: {_said(done)}"
    if done.returncode or not Path(os.fsdecode(done.stdout).rstrip("\n")).samefile(root):
        return (
            f"{root} has a .datalad but is not the root of a git repository; `datalad clone` gets a whole dataset, "
            "`datalad create --force` makes a folder into one"
        )
    git_dir = root / git(root, "rev-parse", "--git-dir").rstrip("\n")
    if not os.access(git_dir, os.W_OK):
        return f"{git_dir} cannot be written by this user; run as the user to whom the dataset belongs"
    return None


def _identity_problem(root: Path) -> str | None:
    for name in ("GIT_AUTHOR_IDENT", "GIT_COMMITTER_IDENT"):
        if _git(root, ("var", name)).returncode:
            return (
                "git does not know who you are; `git config --global user.name 'NAME'` and "
                "`git config --global user.email ADDRESS` tell it"
            )
    return None


def _git(folder: Path, words: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["git", "-C", str(folder), *words],
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    # git-annex gives its reasons on stdout, and the number of failures on stderr.
    parts = (os.fsdecode(part).strip() for part in (done.stdout, done.stderr))
    return "\n".join(filter(None, parts)) or f"exit code {done.returncode}"
