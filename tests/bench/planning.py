"""Planning of large datasets, before anything is started: fresh, and finished."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import soundfile as sf

from badc.chunks.manifest import Chunk, chunk_id_of, read_manifest, write_manifest
from badc.detections.result import ChunkResult, ResultStatus, result_path, write_result
from badc.inference.plan import plan_inference
from badc.inference.settings import InferSettings
from badc.system.annex import MOST_POINTER_BYTES

SIZES = (10_000, 100_000)


def measure(scratch: Path) -> str:
    """Plan datasets of recordings of one chunk each, in a process of its own each time, start to exit."""
    rows = []
    for size in SIZES:
        dataset = scratch / str(size)
        _write(dataset, size)
        fresh_s = _planned(dataset, f"{size} run")
        script = dataset.parent / f"{size}.sbatch"
        arrays_s = _planned(dataset, script.name, "--slurm-script", str(script))
        _finish(dataset)
        finished_s = _planned(dataset, f"{size} skip")
        rows.append(f"| {size:,} | {fresh_s:.1f} | {arrays_s:.1f} | {finished_s:.1f} |")
        shutil.rmtree(dataset)
    return (
        "## Planning\n\n"
        "`python -m tests.bench planning`: `badc infer orchestrate` without `--apply` on recordings of one chunk each, "
        "from start to exit; seconds, of a dataset without results, of that with `--slurm-script`, and of one with all "
        "results.\n\n| recordings | fresh | fresh, with `--slurm-script` | finished |\n|---|---|---|---|\n"
        + "\n".join(rows)
    )


def _write(dataset: Path, size: int) -> None:
    """Write recordings of a tenth of a second every half hour of twenty days, at as many stations as that takes."""
    for folder in ("audio", "manifests", ".datalad"):
        (dataset / folder).mkdir(parents=True)
    sound = io.BytesIO()
    sf.write(sound, np.zeros(800, dtype=np.int16), 8000, format="WAV")
    for number in range(size):
        station, slot = divmod(number, 20 * 48)
        name = f"ST-{station:03d}_202305{slot // 48 + 1:02d}_{slot % 48 // 2:02d}{slot % 2 * 3}000"
        with (dataset / "audio" / f"{name}.wav").open("wb") as audio:
            audio.write(sound.getvalue())
            audio.truncate(MOST_POINTER_BYTES + 1)  # sparse: a smaller file is looked into for a pointer of git-annex
        chunk = Chunk(name, chunk_id_of(name, 0, 100), f"audio/{name}.wav", 0, 100)
        write_manifest(dataset / "manifests" / f"{name}.csv", [chunk])


def _finish(dataset: Path) -> None:
    """Write the result of every chunk."""
    made_with = None
    for manifest in sorted((dataset / "manifests").iterdir()):
        if made_with is None:
            made_with = plan_inference(InferSettings(manifest=manifest, max_gpus=0)).order.made_with
        (chunk,) = read_manifest(manifest).chunks
        result = ChunkResult(chunk, "stub", ResultStatus.NO_DETECTIONS, settings=made_with)
        write_result(result_path(dataset / "artifacts" / "infer", chunk), result)


def _planned(dataset: Path, said: str, *further: str) -> float:
    words = ["infer", "orchestrate", str(dataset), "--stub-runner", "--max-gpus", "0", "--allow-partial-chunks"]
    command = [sys.executable, "-m", "flows", *words, *further]
    begin = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    taken_s = time.perf_counter() - begin
    assert said in done.stdout + done.stderr, done.stderr[-2000:]
    return taken_s
