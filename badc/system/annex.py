"""Recognize git-annex files by what is on disk: no git, no git-annex.

A locked file is a link to `.git/annex/objects/…`, broken when the content was dropped. An unlocked one is a file with
the content or, when that was dropped, a short file that names it (a pointer):
https://git-annex.branchable.com/internals/pointer_file/
"""

from __future__ import annotations

import os
from pathlib import Path

_POINTER = b"/annex/objects/"
MOST_POINTER_BYTES = 32768  # git-annex reads no more of a file to see whether it is a pointer


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


def shares_its_content(path: Path) -> bool:
    """Return whether writing to a file in place would change or lose content that git-annex keeps."""
    if is_locked(path):
        return True
    # With annex.thin, an unlocked file is a hard link to its object.
    return path.is_file() and not path.is_symlink() and (path.stat().st_nlink > 1 or is_pointer(path))
