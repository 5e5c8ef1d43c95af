"""Fetch file content that is not here, and drop it again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from badc.datalad.environment import git
from badc.datalad.lock import dataset_lock
from badc.datalad.requests import ask
from badc.errors import RequestError, listed
from badc.system.annex import content_is_here
from badc.system.paths import absolute

_IDLE_LIMIT_S = 600.0


def fetch(
    root: Path,
    paths: Iterable[str | Path],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    idle_limit_s: float = _IDLE_LIMIT_S,
) -> int:
    """Get the content of those files of a dataset that have none here; return how many were fetched.

    Relative paths are relative to the root. Files that are not in the dataset are skipped, unless they could be in a
    subdataset that is not installed. `on_progress` gets the number of files fetched so far, and of all that are wanted.
    A remote from which nothing comes for `idle_limit_s` is given up.

    Raises
    ------
    RequestError
        When content could not be fetched, with each file and why.
    DataladError
        When DataLad failed.
    """
    base = absolute(root)
    wanted = [path for path in dict.fromkeys(base / path for path in paths) if _is_wanted(base, path)]
    if not wanted:
        return 0
    on_progress(0, len(wanted))
    answer = ask(
        base,
        {"do": "get", "paths": [str(path) for path in wanted]},
        on_progress=lambda done: on_progress(min(done, len(wanted)), len(wanted)),
        may_be_killed=True,
        idle_limit_s=idle_limit_s,
    )
    reasons: dict[str, str] = answer["reasons"]
    lacking = [path for path in wanted if not content_is_here(path)]
    if lacking:
        lines = [f"{path.relative_to(base)}: {reasons.get(str(path), 'it did not come')}" for path in sorted(lacking)]
        raise RequestError(
            f"{base}: the content of {len(lacking)} input file{'s' * (len(lacking) > 1)} is not here, and could not be "
            f"fetched; `git annex whereis FILE` tells who has it:\n{listed(lines)}"
        )
    return len(wanted)


def drop(root: Path, paths: Iterable[Path]) -> None:
    """Drop the content of files (absolute) of a dataset, as far as git-annex has proof of enough other copies.

    Raises
    ------
    DataladError
        When some stays here, with git-annex's reason.
    """
    by_folder: dict[Path, list[str]] = {}
    for path in paths:
        by_folder.setdefault(path.parent, []).append(path.name)
    if by_folder:
        with dataset_lock(root):  # dropping an unlocked file changes git's index
            for folder, names in by_folder.items():
                git(folder, "annex", "drop", "--", *names)


def _is_wanted(base: Path, path: Path) -> bool:
    if not path.is_relative_to(base) or content_is_here(path):
        return False
    return os.path.lexists(path) or _in_subdataset_not_installed(base, path)


def _in_subdataset_not_installed(base: Path, path: Path) -> bool:
    """Return whether the nearest existing folder is empty, as git leaves it for such a subdataset."""
    nearest = next(folder for folder in path.parents if folder.exists())
    return nearest != base and nearest.is_dir() and not any(nearest.iterdir())
