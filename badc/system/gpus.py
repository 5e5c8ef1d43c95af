"""The GPUs of this machine, through NVML (the driver's own library; module pynvml of nvidia-ml-py)."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from badc.errors import BadcError

_MIB = 1 << 20


class NoGpuError(BadcError):
    """No GPU can be used; the text gives the reason and the way out, `brief` a few words for a line of a run."""

    def __init__(self, text: str, brief: str = "no usable GPU, see `badc gpus`") -> None:
        super().__init__(text)
        self.brief = brief


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, or one MIG slice of a GPU; uuid and name are the driver's.

    `index` is the GPU's number in NVML's order, whatever CUDA_VISIBLE_DEVICES says; a slice has that of its GPU. A GPU
    with MIG on has `slices`, and is used through them only.
    """

    index: int
    uuid: str
    name: str
    memory_total_mib: int
    is_slice: bool = False
    slices: tuple[Gpu, ...] = ()

    @property
    def cuda_name(self) -> str:
        """Its name in CUDA_VISIBLE_DEVICES: its index, or a slice's UUID."""
        return self.uuid if self.is_slice else str(self.index)


@dataclass(frozen=True, slots=True)
class GpuReading:
    """A GPU's load at one moment. The names are telemetry's; `_mb` means MiB, as in nvidia-smi.

    `utilization` is the percentage of the driver's last sampling period during which a kernel ran; `temperature_c` and
    `power_w` are in degrees Celsius and watts. Each is None where the driver does not report it, as for a MIG slice.
    """

    index: int
    utilization: int | None
    memory_used_mb: int
    memory_total_mb: int
    temperature_c: int | None
    power_w: float | None


def list_gpus() -> tuple[Gpu, ...]:
    """Return every GPU of this machine, with its MIG slices.

    Raises
    ------
    NoGpuError
        When there is no driver, or it refuses or finds no GPU.
    """
    nvml = _nvml()
    try:
        gpus = tuple(_gpu(nvml, index) for index in range(nvml.nvmlDeviceGetCount()))
    except nvml.NVMLError as error:
        raise _refused(error) from None
    if not gpus:
        raise NoGpuError(
            "the NVIDIA driver is there, but knows no GPU; in a container, start it with GPU support", _NOT_THERE
        )
    return gpus


def usable_gpus() -> tuple[Gpu, ...]:
    """Return the GPUs and MIG slices that this process may use: all, or those that CUDA_VISIBLE_DEVICES names.

    As in CUDA, its entries are indices or (the start of) UUIDs, their order counts, and the first one that names
    nothing ends the list. The index of a GPU with MIG means its first slice.

    Raises
    ------
    NoGpuError
        When there is none.
    """
    gpus = list_gpus()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return tuple(device for gpu in gpus for device in gpu.slices or (gpu,))
    chosen: list[Gpu] = []
    for entry in visible.split(","):
        gpu = _named(gpus, entry.strip())
        if gpu is None:
            break
        chosen.append(gpu)
    if not chosen:
        raise NoGpuError(
            f"CUDA_VISIBLE_DEVICES={visible!r} hides every GPU; unset it, or name one that `badc gpus` lists"
        )
    return tuple(chosen)


def gpu_of_this_worker() -> Gpu | None:
    """Return the GPU that this Dask worker was given: the first in CUDA_VISIBLE_DEVICES; None without one."""
    if not os.environ.get("CUDA_VISIBLE_DEVICES"):
        return None
    try:
        return usable_gpus()[0]
    except NoGpuError:
        return None


def cuda_environment(gpu: Gpu | None) -> dict[str, str]:
    """Return the variables that let a runner's processes see only this GPU, or none.

    A CPU worker sees all GPUs of the machine, but its runner must not take one. Numbers follow NVML's order: CUDA's own
    default numbers the fastest GPU first.
    """
    return {"CUDA_VISIBLE_DEVICES": gpu.cuda_name if gpu else "", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def gpu_in(environment: Mapping[str, str]) -> Gpu | None:
    """Return the GPU that the variables of `cuda_environment` let a runner see; None if there is none."""
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    try:
        return _named(list_gpus(), visible) if visible else None
    except NoGpuError:
        return None


def driver_version() -> str:
    """Return the NVIDIA driver's version; NoGpuError without a driver."""
    return str(_nvml().nvmlSystemGetDriverVersion())


def why_not_usable(gpu: Gpu) -> str | None:
    """Return why this process cannot use a GPU that the driver lists, or None when it can."""
    device = Path(f"/dev/nvidia{gpu.index}")
    if device.exists() and not os.access(device, os.R_OK | os.W_OK):
        return f"no permission on {device}; ask for access to it"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return None
    with contextlib.suppress(NoGpuError):
        if any(device_used.index == gpu.index for device_used in usable_gpus()):
            return None
    return f"hidden by CUDA_VISIBLE_DEVICES={visible}"


class GpuReader:
    """Reads one GPU's load through an NVML handle that stays open."""

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu
        self._handle: Any = None
        self.trouble: str | None = None

    def read(self) -> GpuReading | None:
        """Return the current load, or None when NVML fails; `trouble` then says why."""
        try:
            nvml = _nvml()
            if self._handle is None:
                self._handle = nvml.nvmlDeviceGetHandleByUUID(self.gpu.uuid.encode())
            memory = nvml.nvmlDeviceGetMemoryInfo(self._handle)
            return GpuReading(
                index=self.gpu.index,
                utilization=_if_told(lambda: int(nvml.nvmlDeviceGetUtilizationRates(self._handle).gpu)),
                memory_used_mb=memory.used // _MIB,
                memory_total_mb=memory.total // _MIB,
                temperature_c=_if_told(lambda: int(nvml.nvmlDeviceGetTemperature(self._handle, 0))),
                power_w=_if_told(lambda: round(nvml.nvmlDeviceGetPowerUsage(self._handle) / 1000, 1)),
            )
        except Exception as error:  # the driver can fail in any way, and a chunk must not fail with it
            self.trouble = f"GPU {self.gpu.index} cannot be read any more ({error}); its metrics stay empty"
            return None


class GpuSampler:
    """Reads a GPU's load every `interval_s` seconds while a chunk runs; without a reader it measures nothing."""

    def __init__(self, reader: GpuReader | None, interval_s: float) -> None:
        self._reader = reader
        self._interval_s = interval_s
        self._readings: list[GpuReading | None] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> GpuSampler:
        if self._reader is not None:
            self._readings.append(self._reader.read())
            self._thread = threading.Thread(target=self._sample, args=(self._reader,), daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._reader is not None and self._thread is not None:
            self._stop.set()
            self._thread.join()
            self._readings.append(self._reader.read())

    def metrics(self) -> dict[str, Any] | None:
        """Return telemetry's `before`, `after`, `peak` and `mean` (null where NVML failed); None without a reader."""
        if self._reader is None:
            return None
        first, last = self._readings[0], self._readings[-1]
        return {
            "before": asdict(first) if first else None,
            "after": asdict(last) if last else None,
            "peak": _combined(self._readings, max),
            "mean": _combined(self._readings, lambda values: round(sum(values) / len(values))),
        }

    def _sample(self, reader: GpuReader) -> None:
        while not self._stop.wait(self._interval_s):
            self._readings.append(reader.read())


def _combined(
    readings: Sequence[GpuReading | None], how: Callable[[Sequence[float]], float]
) -> dict[str, float | None] | None:
    """Return each value of the readings, combined by `how` over those that are known."""
    good = [reading for reading in readings if reading is not None]
    if not good:
        return None

    def of(name: str) -> Iterator[float]:
        return (value for reading in good if (value := getattr(reading, name)) is not None)

    return {field.name: how(known) if (known := list(of(field.name))) else None for field in fields(GpuReading)}


_started = False
_start_lock = threading.Lock()


def _nvml() -> Any:
    """Return the module pynvml, its library started and left so until the process ends."""
    import pynvml

    global _started
    with _start_lock:
        if not _started:
            try:
                pynvml.nvmlInit()
            except pynvml.NVMLError as error:
                raise _refused(error) from None
            _started = True
    return pynvml


_NOT_THERE = "no NVIDIA GPU"


def _refused(error: Any) -> NoGpuError:
    """Return why NVML refused, by the code of its error."""
    import pynvml

    if error.value == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND:
        return NoGpuError(
            "no NVIDIA driver is installed (libnvidia-ml.so.1 not found); install it, or start the container with GPU "
            "support (docker --gpus all, apptainer --nv)",
            _NOT_THERE,
        )
    if error.value == pynvml.NVML_ERROR_NO_PERMISSION:
        return NoGpuError("the NVIDIA driver refuses this user (no permission); ask for access to /dev/nvidia*")
    if error.value == pynvml.NVML_ERROR_DRIVER_NOT_LOADED:
        return NoGpuError(
            "the NVIDIA driver is installed but not loaded; load it with `modprobe nvidia`, or restart the machine"
        )
    return NoGpuError(f"the NVIDIA driver does not answer ({error}); see what `nvidia-smi` says")


def _if_told(read: Callable[[], Any]) -> Any:
    """Return a reading, or None if this kind of device has none; other errors are raised."""
    import pynvml

    try:
        return read()
    except pynvml.NVMLError_NotSupported:
        return None


def _gpu(nvml: Any, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    slices: list[Gpu] = []
    # GPUs without MIG refuse the query.
    with contextlib.suppress(nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound):
        if nvml.nvmlDeviceGetMigMode(handle)[0]:
            for number in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
                with contextlib.suppress(nvml.NVMLError_NotFound):
                    slice_handle = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)
                    slices.append(_described(nvml, index, slice_handle, is_slice=True))
    return _described(nvml, index, handle, slices=tuple(slices))


def _described(nvml: Any, index: int, handle: Any, is_slice: bool = False, slices: tuple[Gpu, ...] = ()) -> Gpu:
    uuid, name = str(nvml.nvmlDeviceGetUUID(handle)), str(nvml.nvmlDeviceGetName(handle))
    return Gpu(index, uuid, name, nvml.nvmlDeviceGetMemoryInfo(handle).total // _MIB, is_slice, slices)


def _named(gpus: tuple[Gpu, ...], entry: str) -> Gpu | None:
    if entry.isdecimal():
        whole = next((gpu for gpu in gpus if gpu.index == int(entry)), None)
        return whole.slices[0] if whole is not None and whole.slices else whole
    devices = [device for gpu in gpus for device in gpu.slices or (gpu,)]
    matching = [device for device in devices if entry and device.uuid.startswith(entry)]
    return matching[0] if len(matching) == 1 else None
