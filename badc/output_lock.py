"""No two runs write the same recording's outputs at once: the second refuses and names the first.

Each run holds one lock file in `<output_dir>/.badc-lock/` that lists its recordings, flocked for as long as it lives. A
file whose lock is free belongs to a run that died, and is removed. `flock` also works across machines on NFS and on
Lustre mounted with `-o flock`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import orjson

from badc.attempt import now
from badc.errors import RequestError

FOLDER = ".badc-lock"
_GUARD_TRIES = 10_000


@contextlib.contextmanager
def output_lock(output_dir: Path, recordings: frozenset[str], telemetry_log: Path) -> Iterator[None]:
    """Hold the outputs of `recordings` below `output_dir` for this run.

    Parameters
    ----------
    output_dir
        The folder of the detections.
    recordings
        Ids of the recordings that this run writes.
    telemetry_log
        The run's log, by which another run's refusal names it.

    Raises
    ------
    RequestError
        When a living run writes one of these recordings there.
    """
    folder = output_dir / FOLDER
    mine = folder / f"{os.getpid()}-{secrets.token_hex(4)}.lock"
    with _guard(folder):
        _refuse_if_taken(folder, recordings)
        stream = mine.open("wb")
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.write(
            orjson.dumps(
                {
                    "pid": os.getpid(),
                    "host": socket.gethostname(),
                    "started_at": now(),
                    "telemetry_log": str(telemetry_log),
                    "recordings": sorted(recordings),
                }
            )
        )
        stream.flush()
    try:
        yield
    finally:
        mine.unlink(missing_ok=True)
        stream.close()
        with contextlib.suppress(OSError), _guard(folder):
            (folder / "guard").unlink()
        with contextlib.suppress(OSError):  # other runs may still have theirs in it
            folder.rmdir()


@contextlib.contextmanager
def _guard(folder: Path) -> Iterator[None]:
    """Let one process at a time look at the locks and add its own."""
    path = folder / "guard"
    for tries_left in range(_GUARD_TRIES, -1, -1):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stream = path.open("wb")
        except (FileNotFoundError, FileExistsError):  # a run that ended just now removed the folder meanwhile
            if not tries_left:
                raise
            continue
        with stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            if not _is_still(stream, path):  # removed while this process waited for it
                continue
            yield
            return


def _is_still(stream: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _refuse_if_taken(folder: Path, recordings: frozenset[str]) -> None:
    for path in folder.glob("*.lock"):
        with contextlib.suppress(FileNotFoundError), path.open("rb") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                _refuse_if_shared(folder, orjson.loads(stream.read()), recordings)
            else:
                path.unlink()


def _refuse_if_shared(folder: Path, other: dict[str, object], recordings: frozenset[str]) -> None:
    theirs = other["recordings"]
    assert isinstance(theirs, list)
    shared = sorted(recordings.intersection(theirs))
    if shared:
        raise RequestError(
            f"{folder.parent}: another run is writing the outputs of {shared[0]}"
            f"{f' and {len(shared) - 1} more recordings' if len(shared) > 1 else ''}: process {other['pid']} on "
            f"{other['host']}, since {other['started_at']}, log {other['telemetry_log']}. "
            "Wait for it, stop it, or choose another --output-dir."
        )
