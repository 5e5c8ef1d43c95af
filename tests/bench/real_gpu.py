"""A real GPU: HawkEars through a run, several chunks at once, beside HawkEars' own run with as many threads."""

from __future__ import annotations

import os
import subprocess
from datetime import datetime
from pathlib import Path

import numpy as np
import soundfile as sf

from tests.bench.hawkears import PYTHON, WORDS, own_rate
from tests.conftest import ROOT

CHUNKS, CHUNK_S = 240, 15
AT_ONCE = (1, 2, 3)


def measure(scratch: Path) -> str:
    """Measure chunks per minute of the same chunks on the first GPU."""
    from badc.system.gpus import NoGpuError, driver_version, usable_gpus

    try:
        gpu = usable_gpus()[0]
    except NoGpuError as error:
        return f"## A real GPU\n\nNot measured: {error}."
    if not PYTHON.exists():
        return "## A real GPU\n\nNot measured: `make hawkears` installs HawkEars (6 GB)."
    data_root = scratch / "data-root"
    subprocess.run([PYTHON, ROOT / "tests/hawkears/untrained_ensemble.py", data_root], check=True)
    os.environ["HAWKEARS_DATA_DIR"] = str(data_root)
    wavs = _wavs(scratch)
    own = {number: own_rate(data_root, wavs, number) for number in AT_ONCE}
    ours = {number: _rate(scratch, number) for number in AT_ONCE}
    versions = "import torch; print(torch.__version__)"
    torch = subprocess.run([PYTHON, "-c", versions], capture_output=True, text=True, check=True).stdout.strip()
    lines = "".join(
        f"| {number} | {own[number]:.0f} | {ours[number][0]:.0f} | {ours[number][0] / own[number]:.2f} "
        f"| {ours[number][1]:.0f} % |\n"
        for number in AT_ONCE
    )
    return (
        "## A real GPU\n\n"
        f"`python -m tests.bench real-gpu` on an {gpu.name}, driver {driver_version()}, torch {torch}, "
        f"{len(os.sched_getaffinity(0))} cores: {CHUNKS} chunks of {CHUNK_S} s, HawkEars with an ensemble of three "
        "small models, and two for low frequencies, that were never trained. Chunks per minute from the first that is "
        "done to the last. HawkEars' own run has a WAV per chunk, and as many threads as the run has chunks at "
        "once. These models are so small that the processor has most of the work.\n\n"
        "| at once | HawkEars' own run | `badc infer run` | | GPU busy in it |\n|---|---|---|---|---|\n"
        + lines.rstrip()
    )


def _wavs(scratch: Path) -> Path:
    """Write the recording, and a WAV of each of its chunks; return their folder."""
    from badc.chunks.cutting import plan_chunks, write_virtual_manifest
    from badc.recordings.sample import fetch_birds_wav

    samples, rate = sf.read(fetch_birds_wav(), dtype="int16")
    samples = np.resize(samples, CHUNKS * CHUNK_S * rate)
    sf.write(scratch / "REC.wav", samples, rate, subtype="PCM_16")
    write_virtual_manifest(plan_chunks(scratch / "REC.wav", CHUNK_S), scratch / "m.csv", hash_chunks=False)
    folder = scratch / "wavs"
    folder.mkdir()
    for number, part in enumerate(np.split(samples, CHUNKS)):
        sf.write(folder / f"{number:03}.wav", part, rate, subtype="PCM_16")
    return folder


def _rate(scratch: Path, at_once: int) -> tuple[float, float]:
    """Return a run's chunks per minute, from its first end to its last, and the GPU's mean load."""
    from badc.inference.plan import plan_inference
    from badc.inference.settings import InferSettings
    from badc.telemetry.events import EventStatus, read_events
    from flows.cli.launch import launch_inference

    folder = scratch / f"{at_once}-at-once"
    log = folder / "run.jsonl"
    plan = plan_inference(
        InferSettings(
            manifest=scratch / "m.csv",
            use_hawkears=True,
            hawkears_engine="resident",
            hawkears_arg=WORDS,
            max_gpus=1,
            chunks_at_once=at_once,
            output_dir=folder,
            telemetry_log=log,
        )
    )
    launch_inference(plan, lambda progress: None, lambda line: None)
    ends = [e for e in read_events(log) if e.status is EventStatus.SUCCESS]
    assert len(ends) == CHUNKS
    finished = sorted(datetime.fromisoformat(str(event.finished_at)) for event in ends)
    busy = [event.details["gpu_metrics"]["mean"]["utilization"] for event in ends]
    return (CHUNKS - 1) * 60 / (finished[-1] - finished[0]).total_seconds(), float(np.mean(busy))
