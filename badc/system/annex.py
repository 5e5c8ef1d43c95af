"""Recognize git-annex files by what is on disk: no git, no git-annex.

A locked file is a link to `.git/annex/objects/…`, broken when the content was dropped. An unlocked one is a file with
the content or, when that was dropped, a short file that names it (a pointer):
https://git-annex.branchable.com/internals/pointer_file/
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from badc.errors import RequestError, listed

_POINTER = b"/annex/objects/"
MOST_POINTER_BYTES = 32768  # git-annex reads no more of a file to see whether it is a pointer
_MOST_NAMED = 10
_KEY_SIZE = re.compile(r"annex/objects/(?:.*/)?[A-Z0-9_]+-s(\d+)(?:-[A-Za-z]\d+)*--")


class ContentElsewhereError(RequestError):
    """Files are in the annex, but their content is not here; `paths` are those files, absolute."""

    def __init__(self, message: str, paths: tuple[Path, ...] = ()) -> None:
        super().__init__(message)
        self.paths = paths

    @classmethod
    def of(cls, path: Path, what: str) -> ContentElsewhereError:
        """Return the error of one file; `what` names it."""
        return cls(f"{path}: the content of the {what} is not here; {get_line([path])}", (_absolute(path),))

    @classmethod
    def of_all(cls, paths: Sequence[Path], what: str) -> ContentElsewhereError:
        """Return the error of one or several files; `what` names one that is alone."""
        if len(paths) == 1:
            return cls.of(paths[0], what)
        lines = listed([str(path) for path in paths])
        return cls(
            f"the content of {len(paths):,} files is not here; {get_line(paths)}:\n{lines}",
            tuple(map(_absolute, paths)),
        )


def is_locked(path: Path) -> bool:
    """Return whether a path is a link to a git-annex object, even a broken one."""
    # In a subdataset the git folder lies elsewhere: .git/modules/NAME/annex/objects, or a link to it.
    return path.is_symlink() and "/annex/objects/" in os.readlink(path)  # noqa: PTH115 - text, never followed


def is_pointer(path: Path) -> bool:
    """Return whether a file is a git-annex pointer: its content is not here. OSError when it cannot be read."""
    if not len(_POINTER) <= path.stat().st_size <= MOST_POINTER_BYTES:
        return False
    with path.open("rb") as stream:
        return stream.read(len(_POINTER)) == _POINTER


def content_is_here(path: Path) -> bool:
    """Return whether a file has its content: it is not missing, a broken link or a pointer."""
    try:
        return not is_pointer(path)
    except FileNotFoundError:
        return False
    except OSError:  # a folder, or not readable: content is not what it lacks
        return True


def content_is_elsewhere(path: Path) -> bool:
    """Return whether git-annex keeps a file, and its content is not here."""
    return not content_is_here(path) and (is_locked(path) or path.exists())


def require_content(paths: Iterable[Path], what: str) -> None:
    """Raise ContentElsewhereError if the content of some files is elsewhere; `what` names one that is alone."""
    lacking = [path for path in paths if content_is_elsewhere(path)]
    if lacking:
        raise ContentElsewhereError.of_all(lacking, what)


def get_line(paths: Iterable[Path]) -> str:
    """Return the line that brings the content of files here, or of the folder of many, as part of a sentence."""
    wanted = list(dict.fromkeys(map(_absolute, paths)))
    above = Path(os.path.commonpath([path.parent for path in wanted]))
    if len(wanted) > _MOST_NAMED:
        wanted = [above]
    root = next((folder for folder in (above, *above.parents) if (folder / ".git").exists()), above)
    is_plain = (root / ".git").exists() and not (root / ".datalad").exists()
    program = ["git", "-C", str(root), "annex"] if is_plain else ["datalad", "-C", str(root)]
    words = [os.path.relpath(path, root) for path in wanted]
    return f"`{shlex.join([*program, 'get', *words])}` brings {'it' if len(wanted) == 1 else 'them'}"


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - badc.system.paths imports this module


def key_of(path: Path) -> str | None:
    """Return the git-annex key that a link or a pointer names; None of another file, such as an unlocked one."""
    target = os.readlink(path) if is_locked(path) else path.read_text(errors="replace") if is_pointer(path) else ""  # noqa: PTH115
    return target.split("\n")[0].rpartition("/")[2] or None


def size_in_key(target: str) -> int | None:
    """Return the size in the git-annex key, such as `MD5E-s1234--0a1b.wav`, that a link or a pointer names, or None."""
    found = _KEY_SIZE.search(target)
    return int(found[1]) if found else None


def size_of_content(path: Path) -> int | None:
    """Return the size of a file's content in bytes, whether or not it is here; None if that is not known."""
    if is_locked(path):
        return size_in_key(os.readlink(path))  # noqa: PTH115 - text, never followed
    return size_in_key(path.read_text(errors="replace")) if is_pointer(path) else path.stat().st_size


def shares_its_content(path: Path) -> bool:
    """Return whether writing to a file in place would change or lose content that git-annex keeps."""
    if is_locked(path):
        return True
    # With annex.thin, an unlocked file is a hard link to its object.
    return path.is_file() and not path.is_symlink() and (path.stat().st_nlink > 1 or is_pointer(path))
