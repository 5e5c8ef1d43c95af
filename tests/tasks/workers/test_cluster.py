"""The cluster without GPUs: how many workers, their labels, and what they ignore."""

from __future__ import annotations

import importlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from distributed import Client

from badc.inference.plan import workers_wanted
from badc.inference.settings import InferSettings
from tasks.workers.cluster import _LOST, WorkerLabels, open_cluster


def settings(**values: object) -> InferSettings:
    return InferSettings(manifest=Path("m.csv"), **values)


@pytest.mark.parametrize(
    ("options", "gpus", "wanted"),
    [
        ({"cpu_workers": 3}, 0, (0, 3)),
        ({}, 4, (4, 0)),
        ({"max_gpus": 2, "cpu_workers": 1}, 4, (2, 1)),
        ({"max_gpus": 8}, 2, (2, 0)),
        # It would leave them idle.
        ({"use_birdnet": True, "cpu_workers": 3}, 2, (0, 3)),
        ({"use_birdnet": True, "max_gpus": 2}, 2, (0, max(1, len(os.sched_getaffinity(0)) - 1))),
    ],
)
def test_one_worker_per_gpu_and_never_none_at_all(options, gpus, wanted):
    assert workers_wanted(settings(**options), gpus) == wanted


def test_a_cpu_cluster_has_the_workers_that_were_asked_for_and_they_import_no_prefect(monkeypatch):
    main, engine = sys.modules["__main__"], importlib.util.find_spec("prefect.engine")
    monkeypatch.setattr(main, "__spec__", engine)  # as in a process of `python -m prefect.engine`
    monkeypatch.setitem(vars(main), "__file__", engine.origin)
    with (
        open_cluster(settings(cpu_workers=2, max_gpus=0)) as cluster,
        Client(cluster.address, security=cluster.security, set_as_default=False) as client,
    ):
        client.wait_for_workers(2)
        assert cluster.labels == {"cpu-0": "cpu-0", "cpu-1": "cpu-1"}
        assert cluster.note.startswith("2 CPU workers")
        assert "--cpu-workers" not in cluster.note
        assert list(client.nthreads().values()) == [2, 2]  # one for the chunk that waits
        assert set(client.run(lambda: os.environ.get("CUDA_VISIBLE_DEVICES")).values()) == {""}
        client.run(importlib.import_module, "tasks.workers.body")
        assert set(client.run(lambda: "prefect" in sys.modules).values()) == {False}


@pytest.mark.long
def test_a_worker_that_takes_too_long_to_come_back_is_started_anew(monkeypatch):
    """Dask gives it up then; on a busy machine a run lost one killed worker after the other, and waited for ever."""
    monkeypatch.setitem(_LOST, "distributed.deploy.lost-worker-timeout", "0.1s")  # no worker starts as fast
    with (
        open_cluster(settings(cpu_workers=1, max_gpus=0)) as cluster,
        Client(cluster.address, security=cluster.security, set_as_default=False) as client,
    ):
        client.wait_for_workers(1)
        for _ in range(2):
            ((address, pid),) = client.run(os.getpid).items()
            os.kill(pid, signal.SIGKILL)
            end = time.monotonic() + 90
            while list(client.nthreads()) in ([], [address]):
                assert time.monotonic() < end, "nothing takes its place"
                time.sleep(0.1)


@pytest.mark.parametrize(
    ("options", "variable", "wanted"),
    [
        ({"cpu_workers": 1}, None, str(len(os.sched_getaffinity(0)))),
        ({"cpu_workers": 1}, "5", "5"),
        ({"cpu_workers": 1, "threads_per_worker": 3}, "5", "3"),
    ],
    ids=["share", "variable", "option"],
)
def test_what_a_worker_starts_has_its_share_of_the_cores(options, variable, wanted, monkeypatch):
    if variable is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    with (
        open_cluster(settings(max_gpus=0, **options)) as cluster,
        Client(cluster.address, security=cluster.security, set_as_default=False) as client,
    ):
        client.wait_for_workers(1)
        assert list(client.run(lambda: os.environ.get("OMP_NUM_THREADS")).values()) == [wanted]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_worker_lives_through_what_is_sent_to_its_whole_group(number):
    with (
        open_cluster(settings(cpu_workers=1, max_gpus=0)) as cluster,
        Client(cluster.address, security=cluster.security, set_as_default=False) as client,
    ):
        client.wait_for_workers(1)
        (worker,) = client.run(os.getpid).values()
        os.kill(worker, number)
        time.sleep(0.5)
        assert list(client.run(os.getpid).values()) == [worker]
        # What it starts can be stopped: a signal that is ignored would be ignored by its children too.
        (ended,) = client.run(ended_by, number).values()
        assert ended == -number


def ended_by(number):
    process = subprocess.Popen(["sleep", "60"])
    time.sleep(0.2)
    process.send_signal(number)
    return process.wait(10)


def test_foreign_workers_are_numbered_by_kind_as_they_show_up():
    labels = WorkerLabels({0: "gpu-0"})
    assert labels.label_of("tcp://a:1", 0, True) == "gpu-0"
    assert labels.label_of("tcp://b:1", "tcp://b:1", True) == "gpu-0"
    assert labels.label_of("tcp://c:1", "c", True) == "gpu-1"
    assert labels.label_of("tcp://d:1", "d", False) == "cpu-0"
    assert labels.label_of("tcp://c:1", "c", True) == "gpu-1"


def test_workers_that_take_too_long_to_end_do_not_fail_the_run(monkeypatch):
    from distributed import SpecCluster

    close = SpecCluster.close

    def closes_late(cluster, *args, **kwargs):
        close(cluster, *args, **kwargs)
        raise TimeoutError

    with open_cluster(settings(cpu_workers=1, max_gpus=0)):
        monkeypatch.setattr(SpecCluster, "close", closes_late)
