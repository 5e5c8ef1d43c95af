"""Keep two runs from writing the same recording's outputs at once: the second refuses and names the first.

Each run holds one lock file in `<output_dir>/.badc-lock/` that lists its recordings, flocked for as long as it lives. A
file whose lock is free belongs to a run that died, and is removed. `flock` also works across machines on NFS and on
Lustre mounted with `-o flock`. Where the disk has no locks, a run goes on without, and says so.

A run of a dataset locks each recording when it comes to it, and holds another file that lists all it has to do. Two
such runs would fail each other's recordings, so the second refuses before it begins.

The folder is held open and its files are named relative to it, so a link in place of either is never followed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import socket
import stat
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

import orjson

from badc.errors import InUseError, RequestError, numbered
from badc.system import atomic
from badc.system.clock import now
from badc.system.file_lock import NoLocksError, lock

FOLDER = ".badc-lock"
_GUARD = "guard"
_GUARD_TRIES = 10_000
_IGNORED = ".gitignore"  # or a `datalad save` during a run takes the locks away
_IGNORES_ALL = b"*\n"
# What the system says of a file that another process removes or makes at this moment; on NFS, also on another machine.
_REMOVED = frozenset({errno.ENOENT, errno.EEXIST, errno.ESTALE})
_without_locks: set[Path] = set()  # folders of which this process has said so
_BEGINNING = b'{"pid":'


class _Kind(StrEnum):
    """The ends of the names of locks. Each recording's run reads those that are written, which are short."""

    WRITTEN = "lock"
    PLANNED = "planned"

    @property
    def names(self) -> re.Pattern[str]:
        return re.compile(rf"\d+-[0-9a-f]+\.{self}")


@contextlib.contextmanager
def output_lock(
    output_dir: Path,
    recordings: frozenset[str],
    telemetry_log: Path,
    say: Callable[[str], object] | None = None,
    option: str = "--output-dir",
) -> Iterator[None]:
    """Hold the outputs of the recordings with these ids below `output_dir`, the folder of detections, for this run.

    Another run's refusal names this run by its `telemetry_log`, and the `option` that chooses another folder. If the
    disk has no locks, `say` gets that, once for each folder, and nothing is held.

    Raises
    ------
    InUseError
        When a living run writes one of these recordings there.
    RequestError
        When a link or a file is in the place of the locks.
    """
    with _held(output_dir / FOLDER, recordings, telemetry_log, _Kind.WRITTEN, option, say) as is_held:
        if is_held:
            _clear_what_killed_runs_left(output_dir, recordings)
        yield


def planned_lock(
    output_dir: Path, recordings: frozenset[str], telemetry_dir: Path
) -> contextlib.AbstractContextManager[bool]:
    """Hold what a run of a dataset has to do, each recording of which it locks again when it comes to it.

    Raises the errors of `output_lock`, when another run of a dataset has one of these recordings to do.
    """
    return _held(output_dir / FOLDER, recordings, telemetry_dir, _Kind.PLANNED, "--output-dir")


@contextlib.contextmanager
def _held(
    path: Path,
    recordings: frozenset[str],
    telemetry: Path,
    kind: _Kind,
    option: str,
    say: Callable[[str], object] | None = None,
) -> Iterator[bool]:
    """Hold a lock during the block, or yield False where the disk has none."""
    try:
        name, stream = _hold(path, recordings, telemetry, kind, option)
    except NoLocksError as error:
        if say is not None and path not in _without_locks:
            _without_locks.add(path)
            say(
                f"WARNING: {path.parent}: this disk has no file locks ({error.strerror}), so nothing keeps a second "
                "run from writing the same files; start no two at once"
            )
        yield False
        return
    try:
        yield True
    finally:
        # If another run holds the guard for long, or the disk is gone, the next run clears the free lock.
        with contextlib.suppress(OSError, RequestError), _guarded(path) as folder:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
            _remove_guard(folder)
            if os.listdir(folder) == [_IGNORED]:  # noqa: PTH208 - of a descriptor
                os.unlink(_IGNORED, dir_fd=folder)
        stream.close()
        with contextlib.suppress(OSError):  # other runs may still have theirs in it
            path.rmdir()


def _hold(path: Path, recordings: frozenset[str], telemetry: Path, kind: _Kind, option: str) -> tuple[str, IO[bytes]]:
    """Return the name of this run's lock, and its open file, which holds it."""
    name = f"{os.getpid()}-{secrets.token_hex(4)}.{kind}"
    with _guarded(path) as folder, contextlib.ExitStack() as stack:
        _refuse_if_taken(path, folder, recordings, kind, option)
        with contextlib.suppress(FileExistsError):
            os.write(_opened(stack, _IGNORED, os.O_WRONLY | os.O_CREAT | os.O_EXCL, folder), _IGNORES_ALL)
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=folder)
        stream = os.fdopen(descriptor, "wb")
        lock(stream)
        stream.write(
            orjson.dumps(
                {
                    "pid": os.getpid(),
                    "host": socket.gethostname(),
                    "started_at": now(),
                    "telemetry_log": str(telemetry),
                    "recordings": sorted(recordings),
                }
            )
        )
        stream.flush()
    return name, stream


def _remove_guard(folder: int) -> None:
    if os.stat(_GUARD, dir_fd=folder, follow_symlinks=False).st_size == 0:  # not a user's file of this name
        os.unlink(_GUARD, dir_fd=folder)


def _clear_what_killed_runs_left(output_dir: Path, recordings: frozenset[str]) -> None:
    """Remove half-written files from the folders of recordings, which nobody else writes to now."""
    for recording_id in recordings:
        folder = output_dir / recording_id
        if folder.is_symlink():
            continue
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            left = [entry.path for entry in entries if atomic.is_temporary(entry.name)]
            for path in left:
                os.unlink(path)  # noqa: PTH108


def living_runs(output_dir: Path) -> dict[str, str]:
    """Return which recordings below a folder of detections a living run has, each with who that is."""
    found: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        try:
            folder = _opened(stack, output_dir / FOLDER, os.O_DIRECTORY, None)
            names = os.listdir(folder)  # noqa: PTH208 - of a descriptor
        except OSError:  # none runs, or something is in the way, which a run will say
            return found
        for name in filter(_Kind.WRITTEN.names.fullmatch, names):
            with contextlib.suppress(OSError), contextlib.ExitStack() as each:
                other = _opened(each, name, os.O_RDONLY | os.O_NONBLOCK, folder)
                content = _content_of(other)
                if content is not None and not lock(other, wait=False, shared=True):
                    found |= dict.fromkeys(content["recordings"], _who(content))
    return found


def _who(run: dict[str, Any]) -> str:
    return f"process {run['pid']} on {run['host']}, since {run['started_at']}"


@contextlib.contextmanager
def _guarded(path: Path) -> Iterator[int]:
    """Let one process at a time read the locks and add its own; yield the descriptor of their folder."""
    for tries_left in range(_GUARD_TRIES, -1, -1):
        with contextlib.ExitStack() as stack:
            try:
                _make_folder(path)
                folder = _opened(stack, path, os.O_DIRECTORY, None)
                guard = _opened_guard(stack, folder)
                lock(guard)
            except NoLocksError:
                with contextlib.suppress(OSError):
                    _remove_guard(folder)
                    path.rmdir()
                raise
            except OSError as error:
                if error.errno == errno.ELOOP or not _may_become_a_folder(path):
                    raise _in_the_way(path) from None
                # A run that ended just now removed the folder meanwhile.
                if tries_left and error.errno in _REMOVED:
                    continue
                raise
            if _is_still(guard, folder):  # not removed while this process waited for it
                yield folder
                return


def _opened(stack: contextlib.ExitStack, name: Path | str, flags: int, folder: int | None) -> int:
    descriptor = os.open(name, flags | os.O_NOFOLLOW, 0o666, dir_fd=folder)
    stack.callback(os.close, descriptor)
    return descriptor


def _make_folder(path: Path) -> None:
    """Make the folder of the locks, which those may write to who may write to the folder above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        path.mkdir()
        path.chmod(stat.S_IMODE(path.parent.stat().st_mode))


def _opened_guard(stack: contextlib.ExitStack, folder: int) -> int:
    """Open the guard, or that of another user, which may be one to read only; that is enough for a lock but on NFS.

    So whoever may write to the folder may write to the guard.
    """
    try:
        guard = _opened(stack, _GUARD, os.O_RDWR | os.O_CREAT, folder)
    except PermissionError:
        return _opened(stack, _GUARD, os.O_RDONLY, folder)
    with contextlib.suppress(PermissionError):
        os.fchmod(guard, os.fstat(folder).st_mode & 0o666)
    return guard


def _may_become_a_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except FileNotFoundError:
        return True


def _in_the_way(path: Path) -> RequestError:
    return RequestError(
        f"{path}: is in the place of the locks of runs, or holds a link in their place; remove it, or choose another "
        "--output-dir. Nothing was followed or changed"
    )


def _is_still(guard: int, folder: int) -> bool:
    try:
        return os.path.samestat(os.fstat(guard), os.stat(_GUARD, dir_fd=folder, follow_symlinks=False))
    except OSError as error:
        if error.errno in _REMOVED:
            return False
        raise


def log_lock(telemetry_log: Path, say: Callable[[str], object]) -> contextlib.AbstractContextManager[None]:
    """Hold a telemetry log, and so the summary beside it, for this run; raises as `output_lock`."""
    return output_lock(telemetry_log.parent, frozenset([telemetry_log.name]), telemetry_log, say, "--telemetry-log")


def _refuse_if_taken(path: Path, folder: int, recordings: frozenset[str], kind: _Kind, option: str) -> None:
    """Refuse if a living run has one of the recordings; remove dead runs' locks, but no file that is not a lock."""
    for name in filter(kind.names.fullmatch, os.listdir(folder)):
        with contextlib.suppress(FileNotFoundError), contextlib.ExitStack() as stack:
            try:
                found = _opened(stack, name, os.O_RDONLY | os.O_NONBLOCK, folder)
            except OSError as error:
                if error.errno == errno.ELOOP:
                    continue
                raise
            other = _content_of(found)
            if other is None:
                continue
            if lock(found, wait=False, shared=True):
                with contextlib.suppress(PermissionError):  # another user's, in a folder like /tmp: it stays, free
                    os.unlink(name, dir_fd=folder)
            else:
                _refuse_if_shared(path, other, recordings, kind, option)


def _content_of(descriptor: int) -> dict[str, Any] | None:
    """Return a lock's content, without recordings if its run was killed while writing it; None for another file."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return None
    with os.fdopen(os.dup(descriptor), "rb") as stream:
        text = stream.read()
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {"recordings": []} if text.startswith(_BEGINNING) or not text else None
    return content if isinstance(content, dict) and isinstance(content.get("recordings"), list) else None


def _refuse_if_shared(path: Path, other: dict[str, Any], recordings: frozenset[str], kind: _Kind, option: str) -> None:
    shared = sorted(recordings.intersection(other["recordings"]))
    if shared:
        more = f" and {numbered(len(shared) - 1, 'more recording')}" if len(shared) > 1 else ""
        what = shared[0] if option == "--telemetry-log" else f"the outputs of {shared[0]}{more}"
        does = "is writing" if kind is _Kind.WRITTEN else "is to write"
        raise InUseError(
            f"{path.parent}: another run {does} {what}: {_who(other)}, telemetry {other['telemetry_log']}. "
            f"Wait for it, stop it, or choose another {option}."
        )
