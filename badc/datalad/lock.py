"""One recording at a time in a dataset: two at once would take each other's files, or lose a record."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from badc.datalad.environment import DataladError, git
from badc.system.clock import now
from badc.system.file_lock import lock

NAME = "badc-record.lock"
_WAIT_S = 600.0
_POLL_S = 0.05


@contextlib.contextmanager
def dataset_lock(root: Path, wait_s: float = _WAIT_S) -> Iterator[None]:
    """Hold the lock of a dataset, a file that stays in its git folder; wait for another process up to `wait_s` seconds.

    Raises
    ------
    DataladError
        When the lock did not become free in that time, or cannot be made.
    """
    path = root / git(root, "rev-parse", "--git-common-dir").rstrip("\n") / NAME
    deadline = time.monotonic() + wait_s
    try:
        # Not through a link, which would create or empty a file elsewhere.
        stream = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666), "a+b")
    except OSError as error:
        raise DataladError(f"{path}: the dataset cannot be locked ({error.strerror})") from None
    with stream:
        while True:
            try:
                if lock(stream, wait=False):
                    break
            except OSError as error:
                raise DataladError(f"{path}: the dataset cannot be locked ({error.strerror})") from None
            if time.monotonic() > deadline:
                raise DataladError(
                    f"{path}: another process has held this lock for {wait_s:.0f} s: {path.read_text().strip()}; "
                    "the outputs are there, but not recorded"
                )
            time.sleep(_POLL_S)
        stream.truncate(0)
        stream.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": now()}).encode() + b"\n")
        stream.flush()
        yield
