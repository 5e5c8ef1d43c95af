"""Probing on a GPU: which one, and how much of its memory was used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from badc.telemetry.events import read_events
from tests.conftest import ROOT

_ON_GPU = """
import json, sys
from dataclasses import asdict
from badc.errors import RequestError
from badc.inference.probe import probe
from badc.inference.probe_settings import ProbeSettings
try:
    report = probe(ProbeSettings(**json.loads(sys.argv[1])))
    said = {"gpu": asdict(report.gpu), "peaks": [a.peak_gpu_mib for a in report.attempts], "log": str(report.log)}
except RequestError as error:
    said = {"error": str(error)}
print(json.dumps(said))
"""


@pytest.fixture
def on_gpus(
    gpu_driver: dict[str, str], make_recording: Callable[..., Path], fake: Callable[..., str], tmp_path: Path
) -> Callable[..., dict[str, Any]]:
    """Return a function that probes in a process of its own with two simulated GPUs."""

    def run(environment: dict[str, str], **settings: Any) -> dict[str, Any]:
        command = fake("limited", "--record", tmp_path / "calls")
        values = {"audio": str(make_recording(seconds=5)), "runner_cmd": command, **settings}
        inherited = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
        done = subprocess.run(
            [sys.executable, "-c", _ON_GPU, json.dumps(values)],
            env=inherited | {"PYTHONPATH": str(ROOT)} | gpu_driver | environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    return run


@pytest.mark.parametrize(
    ("environment", "settings", "index", "seen"),
    [
        ({}, {}, 0, "'0'"),
        ({}, {"gpu_index": 1}, 1, "'1'"),
        ({"CUDA_VISIBLE_DEVICES": "1"}, {}, 1, "'1'"),
        ({"FAKE_NVML_MIG": "2"}, {"gpu_index": 1}, 1, "'MIG-00000001-0000-0000-0000-000000000001'"),
    ],
)
def test_the_runner_gets_one_gpu_whose_memory_is_read(
    on_gpus: Callable[..., dict[str, Any]],
    environment: dict[str, str],
    settings: dict[str, Any],
    index: int,
    seen: str,
    tmp_path: Path,
) -> None:
    said = on_gpus({"FAKE_NVML_USED_MIB": "4321"} | environment, **settings)

    assert said["gpu"]["index"] == index
    assert said["peaks"] == [4321]
    assert [line.split(" ", 1)[1] for line in (tmp_path / "calls").read_text().splitlines()] == [seen]
    (_, ended) = read_events(Path(said["log"]))
    assert (ended.worker, ended.gpu_index, ended.details["peak_gpu_mib"]) == (f"gpu-{index}", index, 4321)


def test_a_gpu_that_is_not_there_is_refused_with_those_that_are(on_gpus: Callable[..., dict[str, Any]]) -> None:
    assert "--gpu-index 5: no such GPU can be used here; there is 0, 1" in on_gpus({}, gpu_index=5)["error"]
