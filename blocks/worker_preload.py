"""What each Dask worker process does as it comes up; the cluster names this module as its preload."""

from __future__ import annotations

import signal

from distributed import Worker


def dask_setup(worker: Worker) -> None:
    """Leave Ctrl-C to the run's own process.

    A terminal sends it to every process of the foreground group. The run then lets running chunks finish, for which
    it needs its workers.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
