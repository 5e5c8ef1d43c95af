"""A dataset on one warm cluster against a run of its own for each recording."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import soundfile as sf

RECORDINGS, CHUNKS, CHUNK_S = 20, 5, 60
RUNNER = ("--use-birdnet", "--max-gpus", "0", "--cpu-workers", "2")
# Each run of its own costs the same again, so a part of them tells what all would take.
SEPARATE = 5


def measure(scratch: Path) -> str:
    """Time the inference of the same recordings in both ways, with a Prefect server running, start to exit."""
    from flows.server.local import PrefectApi

    api = PrefectApi.begin()
    api.ready()
    os.environ["PREFECT_API_URL"] = api.url
    dataset = _dataset(scratch)
    begin = time.perf_counter()
    _badc("infer", "orchestrate", dataset, *RUNNER, "--apply")
    together_s = time.perf_counter() - begin
    begin = time.perf_counter()
    for manifest in sorted((dataset / "manifests").glob("*.csv"))[:SEPARATE]:
        _badc("infer", "run", manifest, *RUNNER, "--output-dir", scratch / "separate")
    separate_s = (time.perf_counter() - begin) * RECORDINGS / SEPARATE
    return (
        "## A dataset: one cluster, or a run for each recording\n\n"
        f"`python -m tests.bench orchestrate`: {RECORDINGS} recordings of {CHUNKS} one-minute chunks, BirdNET on 2 CPU "
        f"workers, a Prefect server running, from start to exit. {SEPARATE} of the runs of their own were timed, and "
        f"multiplied.\n\n"
        "| what | seconds | |\n|---|---|---|\n"
        f"| {RECORDINGS} × `badc infer run` | {separate_s:.0f} | 1 |\n"
        f"| `badc infer orchestrate --apply` | {together_s:.0f} | {separate_s / together_s:.1f} × as fast |"
    )


def _dataset(scratch: Path) -> Path:
    from badc.recordings.sample import fetch_birds_wav

    samples, rate = sf.read(fetch_birds_wav(), dtype="int16")
    root = scratch / "dataset"
    (root / "audio").mkdir(parents=True)
    audio = np.resize(samples, CHUNKS * CHUNK_S * rate)
    for number in range(RECORDINGS):
        sf.write(root / "audio" / f"SITE-{number:02}_20230509_094500.wav", audio, rate, subtype="PCM_16")
    _badc("chunk", "orchestrate", root, "--chunk-duration", str(CHUNK_S), "--apply")
    return root


def _badc(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "flows", *map(str, words)], check=True, capture_output=True)
