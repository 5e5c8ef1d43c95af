"""The cluster without GPUs: how many workers, their labels, and what they ignore."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from distributed import Client

from badc.infer import workers_wanted
from badc.settings import InferSettings
from blocks.cluster import WorkerLabels, open_cluster


def settings(**values: object) -> InferSettings:
    return InferSettings(manifest=Path("m.csv"), **values)


@pytest.mark.parametrize(
    ("options", "gpus", "wanted"),
    [
        ({}, 0, (0, 1)),
        ({"cpu_workers": 3}, 0, (0, 3)),
        ({}, 4, (4, 0)),
        ({"max_gpus": 2, "cpu_workers": 1}, 4, (2, 1)),
        ({"max_gpus": 0}, 4, (0, 1)),
        ({"max_gpus": 8}, 2, (2, 0)),
    ],
)
def test_one_worker_per_gpu_and_never_none_at_all(options, gpus, wanted):
    assert workers_wanted(settings(**options), gpus) == wanted


def test_a_cpu_cluster_has_the_workers_that_were_asked_for():
    with (
        open_cluster(settings(cpu_workers=2, max_gpus=0)) as cluster,
        Client(cluster.address, set_as_default=False) as client,
    ):
        client.wait_for_workers(2)
        assert cluster.labels == {"cpu-0": "cpu-0", "cpu-1": "cpu-1"}
        assert "2 CPU workers" in cluster.note
        assert list(client.nthreads().values()) == [1, 1]
        assert set(client.run(lambda: os.environ.get("CUDA_VISIBLE_DEVICES")).values()) == {""}
        handlers = client.run(lambda: signal.getsignal(signal.SIGINT) is signal.SIG_IGN)
        assert set(handlers.values()) == {True}, "Ctrl-C in a terminal reaches the workers too"


def test_foreign_workers_are_numbered_by_kind_as_they_show_up():
    labels = WorkerLabels({0: "gpu-0"})
    assert labels.label_of("tcp://a:1", 0, True) == "gpu-0"
    assert labels.label_of("tcp://b:1", "tcp://b:1", True) == "gpu-0"
    assert labels.label_of("tcp://c:1", "c", True) == "gpu-1"
    assert labels.label_of("tcp://d:1", "d", False) == "cpu-0"
    assert labels.label_of("tcp://c:1", "c", True) == "gpu-1"
