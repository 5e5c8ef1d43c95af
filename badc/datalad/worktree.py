"""What is not saved in a dataset, as git sees it, in the places that a run touches."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from badc.datalad.environment import DataladError, git
from badc.datalad.run import DataladRun
from badc.errors import RequestError, listed, numbered

# With more, comparing the index with the patterns takes git longer than looking at the whole dataset.
_MOST_PATHSPECS = 200
_MOST_NAMED = 10
# What badc.system.atomic leaves when it is killed.
_TEMPORARY = re.compile(r"\.tmp-\d+-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Change:
    """A file that differs from what the dataset has saved.

    `path` is relative to the dataset's root. `state` is git's two letters, `??` for a file that was never saved.
    """

    path: str
    state: str

    def __str__(self) -> str:
        if self.state == "??":
            return f"{self.path}: not saved"
        return f"{self.path}: {'deleted' if 'D' in self.state else 'changed'}"


def changes(root: Path, paths: Iterable[str], ignored: bool = False) -> list[Change]:
    """Return what is not saved at or below some paths, in subdatasets too; with `ignored`, also files that git ignores.

    Paths are files and folders relative to the root; they need not exist. DataladError when git fails.
    """
    wanted: dict[str, set[str]] = {}
    known: dict[PurePosixPath, bool] = {}
    for path in dict.fromkeys(paths):
        for repository, inner in _repositories(root, path, known):
            wanted.setdefault(repository, set()).add(inner)
    found = [change for repository, inner in wanted.items() for change in _changes(root, repository, inner, ignored)]
    return sorted(found, key=lambda change: change.path)


def require_clean(runs: Sequence[DataladRun], outputs_may_differ: bool = False) -> None:
    """Refuse to run if the runs' inputs or outputs have unsaved changes; elsewhere the dataset may be dirty.

    `outputs_may_differ` checks the inputs only, for runs that finish what an interrupted one left.

    Raises
    ------
    RequestError
        With the list of the files.
    DataladError
        When git fails.
    """
    found: list[str] = []
    for root in dict.fromkeys(run.root for run in runs):
        here = [run for run in runs if run.root == root]
        paths = [path for run in here for path in (run.inputs if outputs_may_differ else run.inputs + run.outputs)]
        found += [str(change) for change in changes(root, paths)]
    if found:
        raise RequestError(
            "the dataset has unsaved changes in what the run reads or writes. Save them with `datalad save -m MESSAGE "
            f"PATH …`, undo them with `git restore PATH …`, or give --no-record-datalad:\n{listed(found)}"
        )


def not_saved_note(root: Path) -> str | None:
    """Return what to save before `datalad run` takes a dataset, or None if it is clean or git cannot tell."""
    if not (root / ".git").exists():
        return None
    try:
        found = [change.path for change in changes(root, ["."])]
    except DataladError:
        return None
    if not found:
        return None
    places = found if len(found) <= _MOST_NAMED else dict.fromkeys(PurePosixPath(path).parts[0] for path in found)
    words = shlex.join(["datalad", "-C", str(root), "save", "-m", "MESSAGE", *places])
    return (
        f"`datalad run` refuses a dataset with unsaved changes, which {numbered(len(found), 'file')} "
        f"{'has' if len(found) == 1 else 'have'}; `{words}` saves them"
    )


def _repositories(root: Path, path: str, known: dict[PurePosixPath, bool]) -> Iterator[tuple[str, str]]:
    """Yield each repository that tracks a path, with the part of the path that it sees.

    For a file in a subdataset those are the subdataset and the dataset above it, which keeps the subdataset's version.
    """
    pure = PurePosixPath(path)
    outer = PurePosixPath()
    for folder in (*list(pure.parents)[-2::-1], pure):
        if folder not in known:
            known[folder] = (root / folder / ".git").exists()
        if known[folder]:
            yield str(outer), str(folder.relative_to(outer))
            outer = folder
    if outer != pure:
        yield str(outer), str(pure.relative_to(outer))


def _changes(root: Path, repository: str, wanted: set[str], ignored: bool) -> Iterator[Change]:
    pathspecs = sorted(wanted) if len(wanted) <= _MOST_PATHSPECS else []
    output = git(
        root / repository,
        "--no-optional-locks",  # a lock would make a simultaneous commit fail
        "--literal-pathspecs",
        "status",
        "--porcelain=v1",
        "-z",
        "--no-renames",
        "--untracked-files=all",
        f"--ignored={'traditional' if ignored else 'no'}",
        "--ignore-submodules=dirty",  # changes inside are found there
        "--",
        *pathspecs,
    )
    for entry in filter(None, output.split("\0")):
        state, path = entry[:2], PurePosixPath(entry[3:])
        if not _TEMPORARY.fullmatch(path.name) and any(str(place) in wanted for place in (path, *path.parents)):
            yield Change(str(repository / path), state)
