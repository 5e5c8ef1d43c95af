"""`badc gpus` and the choice of GPUs, on a simulated driver: the real pynvml asks it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def gpus(gpu_driver):
    """Run `badc gpus --json` with some environment; return its exit code and what it says."""

    def run(**environment: str) -> tuple[int, dict]:
        done = subprocess.run(
            [sys.executable, "-m", "flows", "gpus", "--json"],
            env=os.environ | gpu_driver | environment,
            capture_output=True,
            text=True,
        )
        assert done.stderr == ""
        return done.returncode, json.loads(done.stdout)

    return run


def test_every_gpu_is_listed_with_what_the_driver_tells(gpus):
    code, said = gpus(FAKE_NVML_NAME="A100", FAKE_NVML_USED_MIB="512", FAKE_NVML_UTILIZATION="37")

    assert code == 0
    assert said["driver_version"] == "570.00.fake"
    assert [gpu["index"] for gpu in said["gpus"]] == [0, 1]
    gpu = said["gpus"][1]
    assert gpu["uuid"] == "GPU-00000001-0000-0000-0000-000000000000"
    assert (gpu["name"], gpu["memory_used_mib"], gpu["memory_total_mib"]) == ("A100", 512, 16384)
    assert (gpu["utilization"], gpu["temperature_c"], gpu["power_w"]) == (37, 55, 123.5)
    assert gpu["usable"] is True


def test_mig_slices_are_listed_with_their_gpu(gpus):
    code, said = gpus(FAKE_NVML_MIG="2")

    assert code == 0
    assert [s["uuid"][:12] for s in said["gpus"][1]["mig_slices"]] == ["MIG-00000001", "MIG-00000001"]


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"FAKE_NVML_INIT_ERROR": "4"}, "refuses this user"),
        ({"FAKE_NVML_INIT_ERROR": "9"}, "not loaded"),
        ({"FAKE_NVML_GPUS": "0"}, "knows no GPU"),
        ({"CUDA_VISIBLE_DEVICES": ""}, "CUDA_VISIBLE_DEVICES='' hides every GPU"),
        ({"CUDA_VISIBLE_DEVICES": "7"}, "CUDA_VISIBLE_DEVICES='7' hides every GPU"),
        ({"LD_LIBRARY_PATH": ""}, "no NVIDIA driver is installed"),
    ],
)
def test_the_reason_is_given_when_none_is_usable(gpus, environment, reason):
    if "LD_LIBRARY_PATH" in environment and Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has a driver")
    code, said = gpus(**environment)

    assert code == 1
    assert reason in said["reason"]


@pytest.mark.parametrize(
    ("visible", "usable"),
    [("1", [False, True]), ("GPU-00000000", [True, False]), ("0,9,1", [True, False])],
)
def test_cuda_visible_devices_counts(gpus, visible, usable):
    _, said = gpus(CUDA_VISIBLE_DEVICES=visible)
    assert [gpu["usable"] for gpu in said["gpus"]] == usable
