"""A review folder of 1,000 clips from 200 recordings: the whole command, from start to exit."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile as sf

RECORDINGS, SPECIES, EACH, MINUTES = 200, 20, 50, 2
_RATE_HZ = 32_000
_PER_RECORDING = 60


def measure(scratch: Path) -> str:
    """Draw from 12,000 detections, in copies of a recording of real birds, as FLAC."""
    table = _write(scratch)
    begin = time.perf_counter()
    words = ["review", "sample", table, "--per-species", EACH]
    subprocess.run([sys.executable, "-m", "flows", *map(str, words)], check=True, stdout=subprocess.DEVNULL)
    took_s = time.perf_counter() - begin
    folder = table.with_name(f"{table.stem}_review")
    clips = len(list((folder / "clips").iterdir()))
    assert clips == SPECIES * EACH, clips
    sizes = {
        part.name: sum(path.stat().st_size for path in part.iterdir()) / 2**20
        for part in folder.iterdir()
        if part.is_dir()
    }
    of_page_kib = (folder / "review.html").stat().st_size / 1024
    shutil.rmtree(folder)
    return (
        "## A review folder\n\n"
        f"`python -m tests.bench review`: `badc review sample --per-species {EACH}` of {SPECIES} species in "
        f"{RECORDINGS} recordings of {MINUTES} minutes at {_RATE_HZ // 1000} kHz, from start to exit: {clips:,} clips "
        "of 9 s, with spectrograms and the page.\n\n"
        "| seconds | clips | spectrograms | sounds for the page | page |\n|---|---|---|---|---|\n"
        f"| {took_s:.1f} | {sizes['clips']:.0f} MiB | {sizes['spectrograms']:.0f} MiB | {sizes['sounds']:.0f} MiB | "
        f"{of_page_kib:.0f} KiB |"
    )


def _write(scratch: Path) -> Path:
    from badc.detections.tables import DETECTIONS_SCHEMA
    from badc.recordings.sample import fetch_birds_wav

    samples, rate = sf.read(fetch_birds_wav(), dtype="int16")
    assert rate == _RATE_HZ
    random = np.random.default_rng(1)
    (scratch / "audio").mkdir()
    first: Path | None = None
    rows = []
    for number in range(RECORDINGS):
        recording = f"ST-{number % 25:02}_202305{1 + number // 25:02}_050000"
        path = scratch / "audio" / f"{recording}.flac"
        if first is None:
            sf.write(path, np.resize(samples, MINUTES * 60 * _RATE_HZ), _RATE_HZ)
            first = path
        else:
            shutil.copyfile(first, path)
        for detection in range(_PER_RECORDING):
            start_ms = detection * (MINUTES * 60_000 // _PER_RECORDING)
            label = f"Species {int(random.integers(SPECIES)):02}"
            rows.append(_row(recording, path, start_ms, label, float(random.beta(1.2, 2)), number))
    table = scratch / "detections.parquet"
    pq.write_table(pa.Table.from_pylist(rows, DETECTIONS_SCHEMA), table)
    return table


def _row(recording: str, path: Path, start_ms: int, label: str, confidence: float, number: int) -> dict[str, object]:
    chunk_ms = start_ms // 60_000 * 60_000
    return {
        "recording_id": recording,
        "chunk_id": f"{recording}_chunk_{chunk_ms}_{chunk_ms + 60_000}",
        "chunk_start_ms": chunk_ms,
        "chunk_end_ms": chunk_ms + 60_000,
        "timestamp_ms": start_ms - chunk_ms,
        "end_ms": start_ms - chunk_ms + 3000,
        "absolute_time_ms": start_ms,
        "absolute_end_ms": start_ms + 3000,
        "label": label,
        "label_name": label,
        "confidence": round(confidence, 4),
        "status": "ok",
        "runner": "birdnet",
        "source_path": f"audio/{path.name}",
        "station": f"ST-{number % 25:02}",
    }
