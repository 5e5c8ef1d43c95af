"""GPUs, on the simulated driver: what the sampler costs, and how long a slow worker holds up the end of a run."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import soundfile as sf

from tests.conftest import FAKES

CHUNKS = 30
SEVERAL_CHUNKS, SEVERAL_CHUNK_S = 120, 15
READINGS = 2000
WAIT_CHUNKS, WAIT_S = 500, 0.05
SLOW_S = 8.0

_SAMPLER = f"""
import time
from badc.system.gpus import GpuReader, list_gpus
reader = GpuReader(list_gpus()[0])
reader.read()
begin = time.process_time()
for _ in range({READINGS}):
    reader.read()
print((time.process_time() - begin) / {READINGS})
"""


def measure(scratch: Path) -> str:
    """Measure one reading's CPU, and a run on a fast GPU worker beside a CPU worker that is some 20 times slower."""
    driver = scratch / "driver"
    driver.mkdir()
    compiler = ["cc", "-shared", "-fPIC", "-O1", "-o", str(driver / "libnvidia-ml.so.1"), str(FAKES / "nvml.c")]
    subprocess.run(compiler, check=True)
    environment = os.environ | {"LD_LIBRARY_PATH": str(driver), "FAKE_NVML_GPUS": "1"}
    environment["PREFECT_HOME"] = str(scratch / "prefect")
    reading_s = float(
        subprocess.run([sys.executable, "-c", _SAMPLER], env=environment, capture_output=True, check=True).stdout
    )
    fast_s, slow_s, tail_s = _run(scratch, environment)
    runner = stand_in(scratch)
    several = _several_at_once(scratch, environment, runner)
    waits = _waits(scratch, environment, runner)
    return (
        "## GPUs (simulated driver)\n\n"
        "`python -m tests.bench gpus`.\n\n"
        f"One reading of a GPU takes {reading_s * 1e6:.0f} µs of CPU on our side of the driver: at the default of one "
        f"a second, {reading_s:.4%} of a core.\n\n"
        f"A run of {CHUNKS} chunks on a GPU worker that takes {fast_s:.2f} s for a chunk, beside a CPU worker that "
        f"takes {slow_s:.1f} s ({slow_s / fast_s:.0f} times as long): after the GPU worker's last chunk the run goes "
        f"on for {tail_s:.1f} s, {tail_s / slow_s:.2f} of one slow chunk. It can never be more than one."
        f"\n\n{several}\n\n{waits}"
    )


def stand_in(folder: Path) -> list[str]:
    """Write what the stand-in for HawkEars 2.x needs to a folder; return the options that take it as the runner."""
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={FAKES / "hawkears2"} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (folder / "root" / "data" / "ckpt").mkdir(parents=True)
    words = ["--use-hawkears", "--hawkears-engine", "resident", "--hawkears-python", str(python)]
    return [*words, "--hawkears-data", str(folder / "root")]


def _waits(scratch: Path, environment: dict[str, str], runner: list[str]) -> str:
    """Return how much of the time a host is busy that takes some 50 ms a chunk, one after the other."""
    manifest = _manifest(scratch, "SHORT", np.zeros(WAIT_CHUNKS * 8000, dtype=np.int16), 8000, 1)
    spans = scratch / "spans"
    variables = environment | {"HAWKEARS2_NETWORK_S": str(WAIT_S), "HAWKEARS2_SPANS": str(spans)}
    _infer(scratch, variables, manifest, [*runner, "--chunks-at-once", "1", "--output-dir", "out-short"])
    times = np.loadtxt(spans)[1:]  # the first warms the model up
    assert len(times) == WAIT_CHUNKS
    busy = float((times[:, 1] - times[:, 0]).sum() / (times[-1, 1] - times[0, 0]))
    each_s = float(np.median(times[:, 1] - times[:, 0]))
    return (
        f"One GPU worker, one chunk at once, {WAIT_CHUNKS} chunks that take the same stand-in {each_s * 1000:.0f} ms "
        f"each, the Prefect server on the same two cores: the model is busy {busy:.1%} of the time."
    )


def _several_at_once(scratch: Path, environment: dict[str, str], runner: list[str]) -> str:
    """Return a table of chunks per minute of a host that waits 100 ms for its network, at 1, 2 and 3 at once."""
    from badc.telemetry.events import EventStatus, read_events

    rate = 32_000
    noise = np.random.default_rng(2).normal(0, 3000, SEVERAL_CHUNKS * SEVERAL_CHUNK_S * rate).astype(np.int16)
    manifest = _manifest(scratch, "LONG", noise, rate, SEVERAL_CHUNK_S)
    rows = []
    for number in (1, 2, 3):
        log = f"{number}.jsonl"
        words = [*runner, "--chunks-at-once", str(number), "--output-dir", f"out-{number}", "--telemetry-log", log]
        _infer(scratch, environment | {"HAWKEARS2_NETWORK_S": "0.1"}, manifest, words)
        ends = [e for e in read_events(scratch / log) if e.status is EventStatus.SUCCESS]
        finished = sorted(datetime.fromisoformat(str(event.finished_at)) for event in ends)
        per_minute = (len(finished) - 1) * 60 / (finished[-1] - finished[0]).total_seconds()
        rows.append(f"| {number} | {per_minute:.0f} |")
    return (
        f"`--chunks-at-once`: {SEVERAL_CHUNKS} chunks of {SEVERAL_CHUNK_S} s through a run on one GPU worker, by a "
        "stand-in for HawkEars that resamples and transforms the audio for real, and then waits 100 ms without the "
        "interpreter's lock, as for a GPU. Without anything but the wait, one at once would be 600 chunks a minute.\n\n"
        "| at once | chunks per minute |\n|---|---|\n" + "\n".join(rows)
    )


def _run(scratch: Path, environment: dict[str, str]) -> tuple[float, float, float]:
    """Return the seconds of a fast and of a slow chunk, and of the tail."""
    from badc.telemetry.events import EventStatus, read_events

    manifest = _manifest(scratch, "REC", np.zeros(CHUNKS * 8000, dtype=np.int16), 8000, 1)
    command = shlex.join([sys.executable, str(FAKES / "detector.py"), "--cpu-seconds", str(SLOW_S)])
    words = ["--runner-cmd", command, "--cpu-workers", "1", "--output-dir", "out", "--telemetry-log", "run.jsonl"]
    _infer(scratch, environment, manifest, words)
    ends = [event for event in read_events(scratch / "run.jsonl") if event.status is EventStatus.SUCCESS]
    runtimes = {kind: [e.runtime_s or 0.0 for e in ends if str(e.worker).startswith(kind)] for kind in ("gpu", "cpu")}
    last = {
        kind: max(datetime.fromisoformat(str(e.finished_at)) for e in ends if str(e.worker).startswith(kind))
        for kind in ("gpu", "cpu")
    }
    tail_s = max(0.0, (last["cpu"] - last["gpu"]).total_seconds())
    return float(np.median(runtimes["gpu"])), float(np.median(runtimes["cpu"])), tail_s


def _manifest(scratch: Path, name: str, samples: np.ndarray, rate: int, chunk_s: float) -> str:
    from badc.chunks.cutting import plan_chunks, write_virtual_manifest

    sf.write(scratch / f"{name}.wav", samples, rate)
    write_virtual_manifest(plan_chunks(scratch / f"{name}.wav", chunk_s), scratch / f"{name}.csv", hash_chunks=False)
    return f"{name}.csv"


def _infer(scratch: Path, environment: dict[str, str], manifest: str, words: list[str]) -> None:
    command = [sys.executable, "-m", "flows", "infer", "run", manifest, *words]
    subprocess.run(command, cwd=scratch, env=environment, check=True, capture_output=True)
