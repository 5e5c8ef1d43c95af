"""Which small files of a dataset git keeps itself, so that every clone has them: lines of `.gitattributes`.

DataLad puts all files into git-annex by default, and a clone then has no manifest, no chunk status and no summary until
their content is fetched: it cannot even be planned.
"""

from __future__ import annotations

from pathlib import Path

from badc.datalad.environment import DataladError, git
from badc.errors import RequestError
from badc.recordings.dataset_file import DATASET_FILE
from badc.system import atomic
from badc.system.annex import require_content

FILE = ".gitattributes"
_ATTRIBUTE = "annex.largefiles"
# Logs and summaries grow with the number of chunks; git-annex is for those that are not small.
_SMALL = "largerthan=1mb"
# By pattern, a file that it is for and what git-annex takes.
_WANTED = {
    "manifests/**/*.csv": ("manifests/a.csv", "nothing"),
    ".chunk_status.json": ("artifacts/chunks/a/.chunk_status.json", "nothing"),
    DATASET_FILE: (DATASET_FILE, "nothing"),
    "*.jsonl": ("artifacts/telemetry/infer/a.jsonl", _SMALL),
    "*.jsonl.summary.json": ("artifacts/telemetry/infer/a.jsonl.summary.json", _SMALL),
    "*.jsonl.summary.json.workers.csv": ("artifacts/telemetry/infer/a.jsonl.summary.json.workers.csv", _SMALL),
}


def missing_attributes(root: Path) -> list[str]:
    """Return the lines that a dataset lacks: those for whose files it does not say where they are kept.

    Raises
    ------
    DataladError
        When git fails, as outside of a repository.
    """
    places = {place: pattern for pattern, (place, _) in _WANTED.items()}
    answer = git(root, "check-attr", "-z", _ATTRIBUTE, "--", *places).split("\0")
    unsaid = {place for place, value in zip(answer[::3], answer[2::3], strict=False) if value == "unspecified"}
    return [
        f"{pattern} {_ATTRIBUTE}={large}"
        for place, pattern in places.items()
        if place in unsaid
        for large in (_WANTED[pattern][1],)
    ]


def add_attributes(root: Path) -> list[str]:
    """Add the lines that a dataset lacks to the end of its `.gitattributes`, and return them.

    Raises
    ------
    RequestError
        When it is no repository of git, or the file cannot be read or written.
    """
    if not (root / ".git").exists():
        raise RequestError(f"{root}: is not the root of a dataset in git; `datalad create --force FOLDER` makes it one")
    path = root / FILE
    require_content([path], "file of attributes")
    try:
        lines = missing_attributes(root)
        if lines:
            before = path.read_text() if path.exists() else ""
            before += "\n" * (before != "" and not before.endswith("\n"))
            atomic.write_text(path, before + "".join(f"{line}\n" for line in lines))
    except (DataladError, OSError) as error:
        raise RequestError(f"{path}: the attributes cannot be written ({error})") from None
    return lines


def attributes_note(root: Path) -> str | None:
    """Return, of a DataLad dataset that lacks these lines, that it does, or None."""
    if not (root / ".datalad").is_dir() or not (root / ".git").exists():
        return None
    try:
        lacking = missing_attributes(root)
    except DataladError:
        return None  # what keeps git from being used is said where it is used
    if not lacking:
        return None
    return (
        "manifests, chunk statuses and summaries go to git-annex, and clones lack their content; "
        f"`badc data attributes {root}` keeps them in git"
    )
