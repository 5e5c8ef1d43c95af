"""Signs of life: of workers, as the scheduler passes them on, and of the scheduler itself."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

import pytest

from tasks.workers.signs import SignsOfLife


@pytest.mark.slow
def test_a_frozen_worker_gives_no_signs_and_then_does_again(dask_scheduler: str) -> None:
    from distributed import Client

    with Client(dask_scheduler, set_as_default=False) as client:
        signs = SignsOfLife(lambda: client)
        threads = signs.threads()
        assert set(threads.values()) == {2}
        address = next(iter(threads))
        (pid,) = client.run(os.getpid, workers=[address]).values()
        os.kill(pid, signal.SIGSTOP)
        try:
            silence_s = 0.0
            end = time.monotonic() + 20
            while silence_s < 1.5:
                assert time.monotonic() < end
                time.sleep(0.3)
                signs.threads()
                silence_s = signs.silence_s(address) or 0.0
        finally:
            os.kill(pid, signal.SIGCONT)
        while silence_s >= 1.5:
            assert time.monotonic() < end
            time.sleep(0.2)
            signs.threads()
            silence_s = signs.silence_s(address) or 0.0
        assert signs.silence_s("tls://127.0.0.1:1") is None
        assert signs.why_lost() is None


@pytest.mark.slow
def test_workers_that_are_there_are_there_at_every_look(dask_scheduler: str) -> None:
    import dask
    from distributed import Client

    # In between, the client asks how the cluster is by itself, and not for its workers.
    with (
        dask.config.set({"distributed.client.scheduler-info-interval": "1ms"}),
        Client(dask_scheduler, set_as_default=False) as client,
    ):
        signs = SignsOfLife(lambda: client)
        assert {len(signs.threads()) for _ in range(100)} == {2}


@pytest.mark.slow
def test_a_scheduler_that_is_gone_is_lost() -> None:
    from distributed import Client, LocalCluster

    with LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0") as cluster:
        client = Client(cluster.scheduler_address, set_as_default=False, timeout=1)
        signs = SignsOfLife(lambda: client)
        assert signs.threads() == {}
        assert signs.why_lost() is None
    end = time.monotonic() + 20
    while signs.why_lost() is None:
        assert time.monotonic() < end
        time.sleep(0.1)
        with suppress(ConnectionError):
            signs.threads()
    assert signs.why_lost() == "it has closed the connection"


def test_a_scheduler_that_does_not_answer_is_lost_after_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    signs, ours = SignsOfLife(lambda: None, patience_s=20.0), SignsOfLife(lambda: None)
    for _ in range(19):
        clock[0] += 1
        assert signs.why_lost() is None
    clock[0] += 1
    assert signs.why_lost() == "it has not answered for 20 s"
    assert ours.why_lost() is None


def test_a_run_that_was_itself_stopped_blames_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    signs = SignsOfLife(lambda: None, patience_s=20.0)
    signs.why_lost()
    clock[0] += 3600
    assert signs.why_lost() is None
