"""Runs on simulated GPUs: the real dask-cuda cluster, one worker per GPU."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import orjson
import pytest

from badc.telemetry.events import ChunkEvent, EventStatus, read_events
from tests.flows.conftest import read_summary, unended_starts

pytestmark = pytest.mark.slow


@pytest.fixture
def gpu_run(badc, gpu_driver, make_recording, make_manifest, tmp_path):
    """Run a manifest of one-second chunks on simulated GPUs; return the ends of its attempts and what it said."""
    numbers = itertools.count()

    def run(command: str, *words: object, chunks: int = 6, **environment: str) -> tuple[list[ChunkEvent], str, int]:
        log = tmp_path / f"{next(numbers)}.jsonl"
        manifest = make_manifest(make_recording(seconds=chunks))
        process = badc(
            *(
                "infer",
                "run",
                manifest,
                "--runner-cmd",
                command,
                "--telemetry-log",
                log,
                "--output-dir",
                log.stem,
                *words,
            ),
            **(gpu_driver | environment),
        )
        _, err = process.communicate(timeout=180)
        assert unended_starts(log) == []
        return [e for e in read_events(log) if e.status is not EventStatus.START], err, process.returncode

    return run


def seen_by_commands(folder: Path) -> set[str]:
    documents = [orjson.loads(path.read_bytes()) for path in folder.rglob("*.json")]
    return {detection["gpus"] for document in documents for detection in document["detections"]}


@pytest.mark.long
def test_a_gpu_that_fails_every_chunk_ruins_no_run(gpu_run, fake, tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text(
        "import os, subprocess, sys, time\n"
        "time.sleep(0.2)\n"
        "if os.environ['CUDA_VISIBLE_DEVICES'].endswith('1'):\n"
        "    sys.exit('CUDA error: unknown error')\n"
        "sys.exit(subprocess.call(sys.argv[1:]))\n"
    )
    command = f"{sys.executable} {broken} {fake('detector', '--seconds', 0.2)}"
    ends, err, code = gpu_run(command, "--max-retries", 1, "--keep-going", chunks=30)

    assert code == 0, err
    assert "gpu-1: gets no more chunks in this run: 3 in a row failed there and succeeded elsewhere" in err
    assert "CUDA error: unknown error" in err
    done = [event for event in ends if event.status is EventStatus.SUCCESS]
    assert {event.worker for event in done} == {"gpu-0"}
    assert len(done) == 30
    # It fails chunks until the first of them have been tried again elsewhere, two seconds later.
    assert 3 <= sum(event.status is EventStatus.FAILURE for event in ends) < 15


def test_each_worker_has_its_own_gpu_and_cpu_workers_have_none(gpu_run, fake, tmp_path):
    ends, err, code = gpu_run(fake("detector", "--seconds", 0.5), "--cpu-workers", 1, chunks=12)

    assert code == 0, err
    assert "Workers: 2 GPU workers and 1 CPU worker" in err
    by_worker = {event.worker: event for event in ends}
    assert set(by_worker) == {"gpu-0", "gpu-1", "cpu-0"}
    assert [by_worker[w].gpu_index for w in ("gpu-0", "gpu-1", "cpu-0")] == [0, 1, None]
    assert by_worker["gpu-1"].gpu_name == "Simulated GPU"
    assert seen_by_commands(tmp_path / "0") == {"0", "1", ""}
    metrics = by_worker["gpu-0"].details["gpu_metrics"]
    assert set(metrics) == {"before", "after", "peak", "mean"}
    assert metrics["peak"] == {
        "index": 0,
        "utilization": 50,
        "memory_used_mb": 1024,
        "memory_total_mb": 16384,
        "temperature_c": 55,
        "power_w": 123.5,
    }
    assert by_worker["cpu-0"].details.get("gpu_metrics") is None
    assert "Traceback" not in err


@pytest.mark.long
def test_cuda_visible_devices_max_gpus_and_mig_are_respected(gpu_run, fake, tmp_path):
    ends, err, code = gpu_run(fake("detector"), chunks=3, CUDA_VISIBLE_DEVICES="1")
    assert code == 0, err
    assert {(event.worker, event.gpu_index) for event in ends} == {("gpu-0", 1)}
    assert seen_by_commands(tmp_path / "0") == {"1"}

    ends, err, code = gpu_run(fake("detector"), "--max-gpus", 2, chunks=6, FAKE_NVML_GPUS="1", FAKE_NVML_MIG="3")
    assert code == 0, err
    assert "2 GPU workers" in err
    assert seen_by_commands(tmp_path / "1") <= {f"MIG-00000000-0000-0000-0000-00000000000{n}" for n in (1, 2)}
    assert {event.gpu_name for event in ends} == {"Simulated GPU MIG 1g.5gb"}
    assert ends[0].details["gpu_metrics"]["peak"]["utilization"] is None, "the driver tells none of a slice"


@pytest.mark.long
def test_the_sampler_sees_load_between_a_chunks_start_and_end(gpu_run, fake):
    ends, err, code = gpu_run(
        fake("detector", "--seconds", 3), "--gpu-sample-interval", 0.2, chunks=1, FAKE_NVML_UTILIZATION="10,90"
    )
    assert code == 0, err
    metrics = ends[0].details["gpu_metrics"]
    assert metrics["peak"]["utilization"] == 90
    assert 10 < metrics["mean"]["utilization"] < 90


@pytest.mark.long
def test_a_gpu_that_is_lost_in_mid_run_costs_its_metrics_and_one_warning(gpu_run, fake, tmp_path):
    lost = tmp_path / "lost"
    command = fake("detector", "--touch", lost)
    ends, err, code = gpu_run(command, chunks=4, FAKE_NVML_GPUS="1", FAKE_NVML_LOST=str(lost))

    assert code == 0, err
    assert ends[0].details["gpu_metrics"]["before"] is not None
    assert all(event.details["gpu_metrics"]["after"] is None for event in ends)
    assert err.count("GPU 0 cannot be read any more") == 1
    assert "Traceback" not in err


def test_a_driver_that_refuses_leaves_the_cpu(gpu_run, fake):
    ends, err, code = gpu_run(fake("detector"), chunks=2, FAKE_NVML_INIT_ERROR="4")

    assert code == 0, err
    assert "(no usable GPU, see `badc gpus`); " in err
    assert {event.worker for event in ends} == {"cpu-0"}


@pytest.mark.long
def test_out_of_memory_goes_back_to_the_same_gpu_and_is_its_own_kind_of_failure(gpu_run, fake, tmp_path):
    oom = fake("detector", "--then", "oom", "--only", "_chunk_0_", "--state", tmp_path / "state")
    ends, err, code = gpu_run(oom, "--max-retries", 1, "--keep-going", chunks=4)

    assert code == 1
    failures = [event for event in ends if event.status is EventStatus.FAILURE]
    assert len(failures) == 2
    assert {event.details["failure_kind"] for event in failures} == {"gpu_out_of_memory"}
    assert len({event.worker for event in failures}) == 1, "the retry went to the same GPU"
    assert "cut shorter ones (`badc chunk probe`" in err


@pytest.mark.long
def test_a_slow_worker_holds_up_the_end_by_one_chunk_at_most(gpu_run, fake, tmp_path):
    # A CPU worker that is 20 times slower than the GPU worker.
    command = fake("detector", "--seconds", 0, "--cpu-seconds", 8)
    ends, err, code = gpu_run(command, "--cpu-workers", 1, chunks=24, FAKE_NVML_GPUS="1")

    assert code == 0, err
    slow = [event for event in ends if event.worker == "cpu-0"]
    fast_end = max(event.finished_at for event in ends if event.worker == "gpu-0")
    begun_after = [event for event in slow if event.timestamp > fast_end]
    assert begun_after == [], "no chunk waited for the slow worker while the fast one was free"
    assert 1 <= len(slow) <= 3
    assert read_summary(tmp_path / "0.jsonl")["state"] == "completed"


@pytest.mark.long
@pytest.mark.parametrize("options", [("--runner-block", "on-gpus"), ("--cluster-block", "two-gpus")])
def test_blocks_that_bring_prefect_in_before_dask_do_not_stop_the_start(
    badc, prefect_api, gpu_driver, make_recording, make_manifest, tmp_path, options
):
    from blocks import types
    from blocks.loading import register_block_types

    register_block_types()
    types.StubRunner().save("on-gpus", overwrite=True)
    types.GpuCluster(max_gpus=2).save("two-gpus", overwrite=True)
    process = badc("infer", "run", make_manifest(make_recording()), *options, **gpu_driver)
    try:
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert "Workers: 2 GPU workers" in err


@pytest.mark.long
def test_birdnet_takes_cpu_workers_and_says_what_uses_gpus(
    badc, gpu_driver, make_recording, make_manifest, prefect_api, tmp_path
):
    process = badc("infer", "run", make_manifest(make_recording()), "--use-birdnet", "--cpu-workers", 1, **gpu_driver)
    _, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    assert "Workers: 1 CPU worker (BirdNET 2.4 runs on CPUs; an ONNX file of it, given with --use-onnx" in err


@pytest.mark.long
def test_an_onnx_model_is_refused_where_its_onnxruntime_cannot_use_the_gpus(
    badc, gpu_driver, make_recording, make_manifest, prefect_api, tmp_path
):
    pytest.importorskip("onnxruntime")
    from tests.fakes.onnx_models import band_model

    model = band_model(tmp_path / "bands.onnx")
    (tmp_path / "labels.txt").write_text("low\nmiddle\nhigh\n")
    manifest = make_manifest(make_recording())
    words = ("infer", "run", manifest, "--use-onnx", model, "--labels", tmp_path / "labels.txt")
    refused = badc(*words, **gpu_driver)
    _, err = refused.communicate(timeout=60)
    assert refused.returncode == 2
    assert "has no CUDA, so GPU workers cannot run the model." in err
    on_cpu = badc(*words, "--max-gpus", 0, "--cpu-workers", 1, **gpu_driver)
    _, err = on_cpu.communicate(timeout=180)
    assert on_cpu.returncode == 0, err
    assert "cpu-0: the model runs in onnxruntime" in err
