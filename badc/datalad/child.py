"""The process in which DataLad runs: one request as JSON on stdin, lines of JSON on stdout, the last is the answer.

Run as `python -m badc.datalad.child`. It is the only module that imports DataLad.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from badc.datalad.environment import DataladError, git
from badc.datalad.lock import dataset_lock
from badc.datalad.worktree import Change, changes
from badc.errors import listed

_BUSY_INDEX = "index.lock"
_WAIT_FOR_INDEX_S = 30.0
_PAUSE_S = 0.2
_QUIET = {"result_renderer": "disabled", "on_failure": "ignore"}

Tell = Callable[[dict[str, Any]], None]


def get(request: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Get the content of files; the answer gives a reason for each that could not be fetched."""
    from datalad.distribution.dataset import Dataset
    from datalad.distribution.get import Get  # noqa: F401 - gives Dataset its method

    done = 0
    reasons: dict[str, str] = {}
    for result in Dataset(request["root"]).get(path=request["paths"], return_type="generator", **_QUIET):
        if result["status"] in ("ok", "notneeded"):
            if result.get("type") == "file":
                done += 1
                tell({"done": done})
        else:
            reasons[str(result["path"])] = _reason(result)
    return {"reasons": reasons}


def save(request: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Save files as they are; the answer has the commit, or null when nothing had changed."""
    from datalad.core.local.save import Save  # noqa: F401 - gives Dataset its method
    from datalad.distribution.dataset import Dataset

    root = Path(request["root"])
    dataset = Dataset(request["root"])
    with dataset_lock(root):
        if not (found := changes(root, request["paths"])):
            return {"commit": None}
        before = _head(root)
        _save(dataset, root, found, request["message"])
        return {"commit": _new_commit(root, before, request["message"], request["paths"])}


def record(request: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Save the outputs of a run with its record; the answer has the commit, or null when nothing had changed."""
    from datalad.core.local.save import Save  # noqa: F401 - gives Dataset its method
    from datalad.distribution.dataset import Dataset

    root = Path(request["root"])
    dataset = Dataset(request["root"])  # the slow part, before the lock
    with dataset_lock(root):
        found = changes(root, request["paths"])
        if not found:
            _refuse_ignored(root, request["paths"])  # nothing changed: fine, unless git ignores the outputs
            since = request["unless_since"]
            if since is None or _commit_of(root, f"{since}..HEAD", request["message"]) is not None:
                return {"commit": None}
        details = request["record"] | ({"dsid": dataset.id} if dataset.id else {})
        # The form that `datalad run` writes and `datalad rerun` reads.
        subject = request["message"]
        message = (
            f"{subject}\n\n=== Do not change lines below ===\n"
            f"{json.dumps(details, indent=1, sort_keys=True, ensure_ascii=False)}\n"
            "^^^ Do not change lines above ^^^\n"
        )
        before = _head(root)
        if found:
            _save(dataset, root, found, message)
        else:  # all of it is saved, but nothing says how it was made
            git(root, "commit", "--quiet", "--allow-empty", "--only", "-m", message)
        return {"commit": _new_commit(root, before, subject, request["paths"])}


def _save(dataset: Any, root: Path, found: list[Change], message: str) -> None:
    """Save changes; while another git command holds the index, retry for a while."""
    deadline = time.monotonic() + _WAIT_FOR_INDEX_S
    paths = [str(root / change.path) for change in found]
    while True:
        try:
            results = dataset.save(path=paths, message=message, recursive=True, return_type="list", **_QUIET)
            reasons = [_reason(result) for result in results if result["status"] not in ("ok", "notneeded")]
        except Exception as error:  # such as a failure of git
            reasons = [str(error)]
        if not reasons:
            return
        if _BUSY_INDEX not in "".join(reasons) or time.monotonic() > deadline:
            raise DataladError(f"the outputs could not be saved:\n{listed(list(dict.fromkeys(reasons)))}")
        time.sleep(_PAUSE_S)


def _new_commit(root: Path, before: str | None, subject: str, paths: list[str]) -> str | None:
    """Return the commit that was made, or None if the changed files turned out to have their earlier content."""
    span = "HEAD" if before is None else f"{before}..HEAD"
    # By its message: someone else may have committed in the meantime without the lock.
    commit = _commit_of(root, span, subject)
    if left := changes(root, paths):
        made = "nothing was recorded" if commit is None else f"recorded as {commit}"
        raise DataladError(f"{made}, but these outputs are not saved:\n{listed(list(map(str, left)))}")
    return commit


def _commit_of(root: Path, span: str, subject: str) -> str | None:
    """Return the newest commit in a span of the history with this first line."""
    for line in git(root, "log", "--format=%H %s", "--fixed-strings", f"--grep={subject}", span).splitlines():
        commit, _, found = line.partition(" ")
        if found == subject:
            return commit
    return None


def _refuse_ignored(root: Path, paths: list[str]) -> None:
    found = changes(root, paths, ignored=True)
    if found and not git(root, "--literal-pathspecs", "ls-files", "--recurse-submodules", "--", *paths):
        raise DataladError(
            "git ignores the outputs, so they cannot be recorded; `git check-ignore -v PATH` shows the line of the "
            f".gitignore that says so:\n{listed([change.path for change in found])}"
        )


def _head(root: Path) -> str | None:
    try:
        return git(root, "rev-parse", "--verify", "--quiet", "HEAD").strip()
    except DataladError:  # no commit yet
        return None


def _stdout_for_answers() -> Tell:
    """Return a function that sends a message; all else that this process or its libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr

    def send(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    return send


def _reason(result: dict[str, Any]) -> str:
    message = result.get("message") or result.get("error_message") or result["status"]
    text = message[0] % tuple(message[1:]) if isinstance(message, (tuple, list)) else str(message)
    return " ".join(text.split())


def main() -> None:
    """Answer one request."""
    request = json.load(sys.stdin)
    tell = _stdout_for_answers()
    os.environ.setdefault("DATALAD_UI_PROGRESSBAR", "none")
    try:
        tell({"get": get, "record": record, "save": save}[request["do"]](request, tell))
    except DataladError as error:
        tell({"error": str(error)})
    except Exception as error:  # DataLad's errors have no base class of their own
        tell({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
