"""Temporary folders of worker processes, and the removal of those that killed workers left behind.

We remove a folder only when it holds our marker, written by the same user on the same machine, and no process holds
the marker's lock. A name proves nothing: several machines or containers may share a temporary folder, and users
choose names freely.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from badc.system import atomic
from badc.system.file_lock import lock

MARKER = ".badc-scratch"
_PREFIX, _HIDDEN = "badc-", ".badc-scratch-"


class Scratch:
    """A temporary folder of this process, in `parent`, or else in `$TMPDIR` or the system's default.

    Its marker stays locked until `close`, or until the process ends, however that happens.
    """

    def __init__(self, parent: Path | None = None, prefix: str = _PREFIX) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        self._marker = _marked(self.path)

    def ensure(self) -> bool:
        """Make the folder again in the same place if something cleared the temporary files.

        Returns False when something else is in its place now, such as a link or another user's folder.
        """
        if _is_marked_by(self.path, self._marker):
            return True
        self._marker.close()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            self.path.mkdir(mode=0o700)
        if not _is_a_folder_of_this_user(self.path):
            return False
        self._marker = _marked(self.path)
        return True

    def close(self) -> None:
        """Remove the folder, unless something else is in its place now."""
        if not self._marker.closed and _is_marked_by(self.path, self._marker):
            _remove(self.path)
        self._marker.close()


@contextlib.contextmanager
def folder_beside(parent: Path | None) -> Iterator[Path]:
    """Yield a temporary folder in `parent` for the block; it is hidden there, and what killed processes left goes."""
    sweep(parent, _HIDDEN)
    scratch = Scratch(parent, _HIDDEN)
    (scratch.path / ".gitignore").write_text("*\n")  # or a `datalad save` takes what is half made
    try:
        yield scratch.path
    finally:
        scratch.close()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Replace a file as `atomic.replacing` does; what a killed process has half-written goes with the next one."""
    with folder_beside(path.parent) as folder, atomic.replacing(path, folder) as temporary:
        yield temporary


def sweep(parent: Path | None = None, prefix: str = _PREFIX) -> None:
    """Remove the temporary folders that this user's killed processes left on this machine, in `parent` or as above."""
    for folder in (parent or Path(tempfile.gettempdir())).glob(f"{prefix}*"):
        with contextlib.suppress(OSError), _lock_of_dead_worker(folder) as dead:
            if dead:
                _remove(folder)


def _marked(folder: Path) -> IO[str]:
    """Put a marker into a folder and return it open; it is locked before it can be seen."""
    with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as stream:
        with contextlib.suppress(OSError):  # some network disks have no locks; nothing is ever swept there
            lock(stream)
        json.dump(_owner(), stream)
        stream.flush()
        os.replace(stream.name, folder / MARKER)  # noqa: PTH105 - an atomic rename
        # The lock belongs to the open file, which the duplicate shares.
        return os.fdopen(os.dup(stream.fileno()), "w")


def _owner() -> dict[str, object]:
    return {"host": socket.gethostname(), "uid": os.getuid(), "pid": os.getpid()}


def _is_marked_by(folder: Path, marker: IO[str]) -> bool:
    try:
        marked = os.path.samestat((folder / MARKER).lstat(), os.fstat(marker.fileno()))
    except OSError:
        return False
    return marked and _is_a_folder_of_this_user(folder)


def _is_a_folder_of_this_user(path: Path) -> bool:
    """Return whether a path is a folder, not a link, that this user made and nobody else may write to."""
    found = path.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022


@contextlib.contextmanager
def _lock_of_dead_worker(folder: Path) -> Iterator[bool]:
    """Hold the marker's lock during the block; yield whether a dead worker left the folder."""
    if not _is_a_folder_of_this_user(folder):
        yield False
        return
    descriptor = os.open(folder / MARKER, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor) as stream:
        if not _is_ours(stream):
            yield False
            return
        free = lock(stream, wait=False)
        yield free and _is_marked_by(folder, stream)


def _is_ours(stream: IO[str]) -> bool:
    found = os.fstat(stream.fileno())
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
        return False
    try:
        marker = json.loads(stream.read(4096))
    except ValueError:
        return False
    return isinstance(marker, dict) and {**marker, "pid": os.getpid()} == _owner()


def _remove(folder: Path) -> None:
    """Remove a folder, its marker last, so that after an interruption it is still recognized as ours."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path.name == MARKER:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
        (folder / MARKER).unlink()
        folder.rmdir()
