"""The GPUs of this machine, through NVML (the driver's own library; module pynvml of nvidia-ml-py)."""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
from dataclasses import asdict, dataclass
from typing import Any

from badc.errors import BadcError

_MIB = 1 << 20


class NoGpuError(BadcError):
    """No GPU can be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU.

    Parameters
    ----------
    index
        Its number in NVML's order, whatever CUDA_VISIBLE_DEVICES says.
    uuid, name
        As the driver gives them.
    memory_total_mib
        Size of its memory in MiB.
    """

    index: int
    uuid: str
    name: str
    memory_total_mib: int


@dataclass(frozen=True, slots=True)
class GpuReading:
    """A GPU's load at one moment; the names are those of the telemetry format, `_mb` meaning MiB as nvidia-smi has it.

    Parameters
    ----------
    index
        The GPU's number.
    utilization
        Percent of the time that a kernel ran, over the driver's last sampling period.
    memory_used_mb, memory_total_mb
        In MiB.
    """

    index: int
    utilization: int
    memory_used_mb: int
    memory_total_mb: int


def list_gpus() -> tuple[Gpu, ...]:
    """Return every GPU of this machine.

    Raises
    ------
    NoGpuError
        When there is no driver, it refuses, or it knows no GPU.
    """
    nvml = _nvml()
    try:
        count = nvml.nvmlDeviceGetCount()
        gpus = tuple(_gpu(nvml, index) for index in range(count))
    except nvml.NVMLError as error:
        raise NoGpuError(f"the NVIDIA driver refuses to list the GPUs ({error})") from None
    if not gpus:
        raise NoGpuError("the NVIDIA driver is there, but knows no GPU")
    return gpus


def usable_gpus() -> tuple[Gpu, ...]:
    """Return the GPUs that this process may use: all, or those that CUDA_VISIBLE_DEVICES names, in its order.

    As CUDA does, entries are indices or (the start of) UUIDs, and the first one that names nothing ends the list.

    Raises
    ------
    NoGpuError
        When there is none.
    """
    gpus = list_gpus()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return gpus
    chosen: list[Gpu] = []
    for entry in visible.split(","):
        gpu = _named(gpus, entry.strip())
        if gpu is None:
            break
        chosen.append(gpu)
    if not chosen:
        raise NoGpuError(f"CUDA_VISIBLE_DEVICES={visible!r} hides every GPU; unset it or name one")
    return tuple(chosen)


def gpu_of_this_worker() -> Gpu | None:
    """Return the GPU that this Dask worker was given: the first that CUDA_VISIBLE_DEVICES names; None without one."""
    if not os.environ.get("CUDA_VISIBLE_DEVICES"):
        return None
    try:
        return usable_gpus()[0]
    except NoGpuError:
        return None


class GpuSampler:
    """Reads one GPU's load at a steady pace while a chunk runs.

    Parameters
    ----------
    gpu
        The GPU; None measures nothing.
    interval_s
        Seconds between two readings.
    """

    def __init__(self, gpu: Gpu | None, interval_s: float) -> None:
        self._gpu = gpu
        self._interval_s = interval_s
        self._readings: list[GpuReading | None] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> GpuSampler:
        if self._gpu is not None:
            self._readings.append(read_gpu(self._gpu))
            self._thread = threading.Thread(target=self._sample, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._gpu is not None and self._thread is not None:
            self._stop.set()
            self._thread.join()
            self._readings.append(read_gpu(self._gpu))

    def metrics(self) -> dict[str, Any] | None:
        """Return `before`, `after`, `peak` and `mean` as telemetry has them (null where NVML failed), or None."""
        if self._gpu is None:
            return None
        good = [reading for reading in self._readings if reading is not None]
        first, last = self._readings[0], self._readings[-1]
        return {
            "before": asdict(first) if first else None,
            "after": asdict(last) if last else None,
            "peak": _combined(good, max),
            "mean": _combined(good, lambda values: round(sum(values) / len(values))),
        }

    def _sample(self) -> None:
        assert self._gpu is not None
        while not self._stop.wait(self._interval_s):
            self._readings.append(read_gpu(self._gpu))


def read_gpu(gpu: Gpu) -> GpuReading | None:
    """Return a GPU's load now, or None when NVML fails; the first failure of this process warns."""
    try:
        nvml = _nvml()
        handle = nvml.nvmlDeviceGetHandleByIndex(gpu.index)
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        utilization = nvml.nvmlDeviceGetUtilizationRates(handle).gpu
    except Exception as error:  # the driver can fail in any way, and a chunk must not fail with it
        warnings.warn(f"GPU {gpu.index} cannot be read any more ({error}); its metrics stay empty", stacklevel=2)
        return None
    return GpuReading(gpu.index, int(utilization), memory.used // _MIB, memory.total // _MIB)


def _combined(readings: list[GpuReading], how: Any) -> dict[str, int] | None:
    if not readings:
        return None
    return {
        "index": readings[0].index,
        "utilization": how([reading.utilization for reading in readings]),
        "memory_used_mb": how([reading.memory_used_mb for reading in readings]),
        "memory_total_mb": readings[0].memory_total_mb,
    }


_started = False
_start_lock = threading.Lock()


def _nvml() -> Any:
    """Return the module pynvml with the library started; it stays so until the process ends."""
    import pynvml

    global _started
    with _start_lock:
        if not _started:
            try:
                pynvml.nvmlInit()
            except pynvml.NVMLError as error:
                raise NoGpuError(_why_no_driver(error)) from None
            _started = True
    return pynvml


def _why_no_driver(error: Exception) -> str:
    text = str(error)
    if "Library Not Found" in text:
        return "no NVIDIA driver is installed (libnvidia-ml.so.1 not found); in a container, start it with GPU support"
    return f"the NVIDIA driver does not answer ({text})"


def _gpu(nvml: Any, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    total = 0
    with contextlib.suppress(nvml.NVMLError):
        total = nvml.nvmlDeviceGetMemoryInfo(handle).total // _MIB
    return Gpu(index, str(nvml.nvmlDeviceGetUUID(handle)), str(nvml.nvmlDeviceGetName(handle)), total)


def _named(gpus: tuple[Gpu, ...], entry: str) -> Gpu | None:
    if entry.isdecimal():
        return next((gpu for gpu in gpus if gpu.index == int(entry)), None)
    matching = [gpu for gpu in gpus if entry and gpu.uuid.startswith(entry)]
    return matching[0] if len(matching) == 1 else None
