"""Locks on open files, which the system frees when their process ends, however that happens.

They also work across machines on NFS, and on Lustre mounted with `-o flock`.
"""

from __future__ import annotations

import errno
import fcntl
from typing import IO, Any

# NFS without its lock service, Lustre mounted without `-o flock`, some FUSE file systems.
_UNKNOWN = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})


class NoLocksError(OSError):
    """The file system has no locks."""


def lock(file: int | IO[Any], *, wait: bool = True, shared: bool = False) -> bool:
    """Lock an open file until it is closed; False where another process holds it and `wait` is off.

    Raises NoLocksError where the file system has no locks.
    """
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _UNKNOWN:
            raise NoLocksError(*error.args) from None
        raise
    return True
