"""GPUs, with a small stand-in for the driver's module: what is listed, what is visible, and how load is sampled."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from badc.system import gpus
from badc.system.gpus import (
    Gpu,
    GpuReader,
    GpuSampler,
    NoGpuError,
    cuda_environment,
    gpu_in,
    gpu_of_this_worker,
    list_gpus,
    usable_gpus,
)

MIB = 1 << 20


# The driver's codes, of its header nvml.h.
CODES = {
    "Insufficient Permissions": pynvml.NVML_ERROR_NO_PERMISSION,
    "Driver Not Loaded": pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
    "NVML Shared Library Not Found": pynvml.NVML_ERROR_LIBRARY_NOT_FOUND,
}


class FakeError(Exception):
    """The driver's error."""

    @property
    def value(self) -> int:
        return int(CODES.get(str(self), pynvml.NVML_ERROR_UNKNOWN))


class NotSupportedError(FakeError):
    """What the driver says of a question that this GPU has no answer to."""


class FakeNvml:
    """As much of pynvml as is used; `failing` names the calls that fail."""

    NVMLError = FakeError
    NVML_ERROR_NO_PERMISSION = pynvml.NVML_ERROR_NO_PERMISSION
    NVML_ERROR_DRIVER_NOT_LOADED = pynvml.NVML_ERROR_DRIVER_NOT_LOADED
    NVML_ERROR_LIBRARY_NOT_FOUND = pynvml.NVML_ERROR_LIBRARY_NOT_FOUND
    NVMLError_NotSupported = NVMLError_FunctionNotFound = NVMLError_NotFound = NotSupportedError

    def __init__(self, uuids: tuple[str, ...]) -> None:
        self.uuids = uuids
        self.failing: dict[str, str] = {}
        self.load = 0
        self.read = threading.Event()

    def _call(self, name: str) -> None:
        if name in self.failing:
            raise FakeError(self.failing[name])

    def nvmlInit(self) -> None:  # noqa: N802 - the driver's own names
        self._call("init")

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        self._call("count")
        return len(self.uuids)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        self._call("handle")
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes) -> int:  # noqa: N802
        return self.uuids.index(uuid.decode())

    def nvmlDeviceGetMigMode(self, handle: int) -> Any:  # noqa: N802
        raise NotSupportedError("Not Supported")

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:  # noqa: N802
        return 60

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:  # noqa: N802
        raise NotSupportedError("Not Supported")

    def nvmlDeviceGetUUID(self, handle: int) -> str:  # noqa: N802
        return self.uuids[handle]

    def nvmlDeviceGetName(self, handle: int) -> str:  # noqa: N802
        return f"A{handle}00"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:  # noqa: N802
        self._call("memory")
        return SimpleNamespace(total=80 * 1024 * MIB, used=(100 + self.load) * MIB)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:  # noqa: N802
        self._call("utilization")
        self.load += 10
        self.read.set()
        return SimpleNamespace(gpu=self.load)


Driver = Callable[..., FakeNvml]


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    """Return a function that puts a driver with these GPUs in the place of pynvml."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(gpus, "_started", False)

    def install(*uuids: str) -> FakeNvml:
        fake = FakeNvml(uuids or ("GPU-aa1", "GPU-ab2", "GPU-b3"))
        monkeypatch.setitem(sys.modules, "pynvml", fake)
        return fake

    return install


def test_every_gpu_is_listed(driver: Driver) -> None:
    driver("GPU-x", "GPU-y")
    assert list_gpus() == (Gpu(0, "GPU-x", "A000", 81_920), Gpu(1, "GPU-y", "A100", 81_920))


@pytest.mark.parametrize(
    ("call", "error", "reason"),
    [
        ("init", "NVML Shared Library Not Found", "no NVIDIA driver is installed"),
        ("init", "Insufficient Permissions", "refuses this user"),
        ("init", "Driver Not Loaded", "not loaded"),
        ("count", "Unknown Error", r"does not answer \(Unknown Error\)"),
        ("handle", "GPU is lost", r"does not answer \(GPU is lost\)"),
    ],
)
def test_a_driver_that_fails_says_why(driver: Driver, call: str, error: str, reason: str) -> None:
    driver().failing = {call: error}
    with pytest.raises(NoGpuError, match=reason):
        list_gpus()


def test_a_driver_without_gpus_is_no_gpu(driver: Driver) -> None:
    driver().uuids = ()
    with pytest.raises(NoGpuError, match="knows no GPU"):
        list_gpus()


def test_a_driver_that_failed_to_start_is_tried_again(driver: Driver) -> None:
    fake = driver()
    fake.failing = {"init": "busy"}
    with pytest.raises(NoGpuError):
        list_gpus()
    fake.failing = {}
    assert len(list_gpus()) == 3


@pytest.mark.parametrize(
    ("visible", "indices"),
    [
        (None, [0, 1, 2]),
        ("0", [0]),
        ("2,0", [2, 0]),
        (" 1 , 2 ", [1, 2]),
        ("1,-1,2", [1]),
        ("0,7,1", [0]),
        ("GPU-b3", [2]),
        ("GPU-b,0", [2, 0]),
        ("GPU-aa,GPU-ab", [0, 1]),
        ("1,nonsense", [1]),
    ],
)
def test_cuda_visible_devices_chooses_in_its_order(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, visible: str | None, indices: list[int]
) -> None:
    driver()
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [gpu.index for gpu in usable_gpus()] == indices


@pytest.mark.parametrize("visible", ["", "-1", "NoDevFiles", "9", "GPU-a", ","])
def test_cuda_visible_devices_can_hide_every_gpu(driver: Driver, monkeypatch: pytest.MonkeyPatch, visible: str) -> None:
    driver()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(NoGpuError, match="hides every GPU"):
        usable_gpus()
    assert gpu_of_this_worker() is None


def test_the_gpu_of_a_worker_is_the_first_that_it_sees(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    driver()
    assert gpu_of_this_worker() is None, "a worker that was given no GPU is a CPU worker"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,2,0")
    gpu = gpu_of_this_worker()
    assert gpu is not None
    assert gpu.index == 1


def test_the_gpu_of_a_runner_is_the_one_that_its_variables_let_it_see(driver: Driver) -> None:
    driver("GPU-a", "GPU-b")
    for gpu in list_gpus():
        assert gpu_in(cuda_environment(gpu)) == gpu
    assert gpu_in(cuda_environment(None)) is None


def test_a_worker_whose_driver_fails_has_no_gpu(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    driver().failing = {"init": "NVML Shared Library Not Found"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert gpu_of_this_worker() is None


def test_load_is_sampled_before_during_and_after(driver: Driver) -> None:
    fake = driver()
    with GpuSampler(GpuReader(list_gpus()[1]), interval_s=0.001) as sampler:
        deadline = time.monotonic() + 10
        while fake.load < 30:
            fake.read.wait(1)
            fake.read.clear()
            assert time.monotonic() < deadline
    metrics = sampler.metrics()
    assert metrics is not None
    before, after = metrics["before"], metrics["after"]
    assert before == {
        "index": 1,
        "utilization": 10,
        "memory_used_mb": 100,
        "memory_total_mb": 81_920,
        "temperature_c": 60,
        "power_w": None,
    }
    assert after["utilization"] == fake.load
    assert metrics["peak"]["utilization"] == fake.load
    assert metrics["mean"]["utilization"] == round((10 + fake.load) / 2)


def test_without_a_gpu_nothing_is_measured() -> None:
    with GpuSampler(None, 0.001) as sampler:
        pass
    assert sampler.metrics() is None


def test_a_gpu_that_is_lost_leaves_its_metrics_empty_and_says_why(driver: Driver) -> None:
    fake = driver()
    reader = GpuReader(list_gpus()[0])
    fake.failing = {"utilization": "GPU is lost"}
    with GpuSampler(reader, 60) as sampler:
        pass
    assert sampler.metrics() == {"before": None, "after": None, "peak": None, "mean": None}
    assert reader.trouble == "GPU 0 cannot be read any more (GPU is lost); its metrics stay empty"
