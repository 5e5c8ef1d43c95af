"""Write whole files or none: to a temporary file in the same folder, which is then synced and renamed.

Renaming over the target also replaces a git-annex symlink instead of writing through it into the annex's object.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path, folder: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success sync it and rename it to `path`, on any error remove it.

    A missing folder is made. `folder`, on the same disk, has the temporary file instead.

    Raises
    ------
    OSError
        When the folder cannot be made or written, or the disk is full. No partial file remains.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not the target's name with a suffix, which could exceed the limit of 255 bytes.
    temporary = _temporary_in(folder or path.parent)
    try:
        yield temporary
        if temporary.is_symlink():
            _leave_the_annex(temporary)
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)  # noqa: PTH105 - the rename is the point of this module
    except BaseException as error:
        with contextlib.suppress(OSError):  # on a disk that became read-only; the first error is the one to report
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            error.filename = str(path)  # which a person knows
            del error.filename2
        raise


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an OSError in the block that names no file, as that of a full disk does not, name this one."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def _temporary_in(folder: Path) -> Path:
    return folder / f".tmp-{os.getpid()}-{secrets.token_hex(6)}"


def _leave_the_annex(temporary: Path) -> None:
    """Put a copy in place of a file that somebody's `datalad save` took half-written: its hash is not its own now."""
    copy = _temporary_in(temporary.parent)
    shutil.copyfile(temporary, copy)
    os.replace(copy, temporary)  # noqa: PTH105


def is_temporary(name: str) -> bool:
    """Whether a file's name is one that `replacing` gives, so that a killed process has left it."""
    return re.fullmatch(r"\.tmp-\d+-[0-9a-f]{12}", name) is not None


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically (see `replacing`)."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path` atomically (see `replacing`)."""
    write_bytes(path, text.encode())
