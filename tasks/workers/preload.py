"""What each Dask worker process does at its start; the cluster names this module as its preload."""

from __future__ import annotations

import signal

from distributed import Worker

from badc.system.leash import STOP_SIGNALS, heeded_signals


def dask_setup(worker: Worker) -> None:
    """Leave the signals that stop a run to the run's own process.

    A terminal sends SIGINT or SIGHUP, Prefect's worker and systemd SIGTERM, to every process of a group. The run then
    lets running chunks finish, which needs its workers; these end when it ends, for any reason.
    """
    for number in heeded_signals():
        # Not SIG_IGN, which the runner's processes would inherit, and then nothing could stop their children.
        signal.signal(number, lambda number, frame: None)
    signal.pthread_sigmask(
        signal.SIG_UNBLOCK, STOP_SIGNALS
    )  # blocked while this process started; see tasks.workers.cluster
