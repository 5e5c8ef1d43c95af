"""A real driver, a real cluster of a worker per GPU, and torch in what the workers start."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from badc.errors import RunnerError
from badc.runners.process.resident import Host
from badc.system.gpu_memory import is_gpu_out_of_memory
from badc.system.gpus import Gpu, GpuReader, cuda_environment, driver_version, usable_gpus, why_not_usable
from badc.telemetry.events import EventStatus
from tests.gpu.conftest import HERE


def seen_in(folder: Path) -> set[tuple[str, ...]]:
    """Return which GPUs, by UUID, the commands of a run saw."""
    documents = [orjson.loads(path.read_bytes()) for path in folder.rglob("*.json")]
    return {tuple(found["seen"]) for document in documents for found in document["detections"]}


def test_nvml_and_nvidia_smi_agree() -> None:
    query = ["nvidia-smi", "--query-gpu=index,uuid,name,memory.total,driver_version", "--format=csv,noheader,nounits"]
    rows = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()
    known = {fields[1]: fields for row in rows if (fields := [field.strip() for field in row.split(",")])}
    for gpu in usable_gpus():
        if gpu.is_slice:
            continue
        index, _, name, memory_mib, version = known[gpu.uuid]
        assert (gpu.index, gpu.name, driver_version()) == (int(index), name, version)
        assert abs(gpu.memory_total_mib - int(memory_mib)) <= 1
        assert why_not_usable(gpu) is None


def test_a_reading_has_every_value(gpu: Gpu) -> None:
    reader = GpuReader(gpu)
    reading = reader.read()
    assert reader.trouble is None
    assert reading is not None
    assert 0 < reading.memory_used_mb < reading.memory_total_mb
    if not gpu.is_slice:
        assert reading.utilization is not None
        assert 10 < (reading.temperature_c or 0) < 110
        assert 5 < (reading.power_w or 0) < 2000


def test_each_worker_has_a_gpu_of_its_own_and_keeps_it_busy(
    run: Callable[..., object],
    torch_detector: Callable[..., str],
    recording: Path,
    make_manifest: Callable[..., Path],
) -> None:
    gpus = usable_gpus()
    words = ("--runner-cmd", torch_detector("--busy-seconds", 2), "--cpu-workers", 1, "--gpu-sample-interval", 0.2)
    ends, folder, said = run(make_manifest(recording), *words)

    assert f"Workers: {len(gpus)} GPU worker" in said
    assert {event.worker for event in ends} == {"cpu-0", *(f"gpu-{n}" for n in range(len(gpus)))}
    assert seen_in(folder) == {(), *((gpu.uuid,) for gpu in gpus)}
    for event in ends:
        if event.worker == "cpu-0":
            assert event.gpu_index is None
            continue
        gpu = gpus[int(str(event.worker).removeprefix("gpu-"))]
        assert (event.gpu_index, event.gpu_name) == (gpu.index, gpu.name)
        metrics = event.details["gpu_metrics"]
        assert metrics["peak"]["memory_used_mb"] > metrics["before"]["memory_used_mb"]
        if not gpu.is_slice:
            assert metrics["peak"]["utilization"] > 50
            assert metrics["peak"]["power_w"] > 0


def test_a_run_recovers_from_gpu_memory_that_ran_out(
    run: Callable[..., object],
    torch_detector: Callable[..., str],
    recording: Path,
    make_manifest: Callable[..., Path],
    tmp_path: Path,
) -> None:
    command = torch_detector("--too-large-once", tmp_path / "once")
    ends, folder, _ = run(make_manifest(recording, 6), "--runner-cmd", command)
    (failure,) = [event for event in ends if event.status is EventStatus.FAILURE]
    assert failure.details["failure_kind"] == "gpu_out_of_memory"
    again = next(e for e in ends if e.status is EventStatus.SUCCESS and e.chunk_id == failure.chunk_id)
    assert again.worker == failure.worker
    assert len(list(folder.rglob("*.json"))) == 2


@pytest.fixture
def host(torch_python: str, gpu: Gpu):
    """A host whose model is on the GPU."""
    host = Host([torch_python, str(HERE / "torch_host.py")], cuda_environment(gpu), "Model")
    yield host
    host.close()


def test_a_resident_model_is_on_its_workers_gpu_only(host: Host, gpu: Gpu, torch_python: str) -> None:
    numbers = [0.01 * n for n in range(64)]
    answer = host.request({"numbers": numbers}, 60)
    on_cpu = Host([torch_python, str(HERE / "torch_host.py")], cuda_environment(None), "Model")
    try:
        expected = on_cpu.request({"numbers": numbers}, 60)
    finally:
        on_cpu.close()
    assert (answer["device"], answer["seen"]) == ("cuda", [gpu.uuid])
    assert (expected["device"], expected["seen"]) == ("cpu", [])
    assert answer["scores"] == pytest.approx(expected["scores"], abs=1e-3)


def test_a_resident_model_out_of_memory_is_recognized_and_the_next_host_works(host: Host, gpu: Gpu) -> None:
    reader = GpuReader(gpu)
    with pytest.raises(RunnerError) as caught:
        host.request({"numbers": [0.0] * 64, "bytes": 2 * gpu.memory_total_mib << 20}, 60)
    assert is_gpu_out_of_memory(str(caught.value), caught.value.stderr)
    loaded = reader.read()
    host.close()  # as a worker does then
    freed = reader.read()
    assert loaded is not None
    assert freed is not None
    assert freed.memory_used_mb < loaded.memory_used_mb
    assert host.request({"numbers": [0.0] * 64}, 60)["device"] == "cuda"
