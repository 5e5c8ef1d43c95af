"""Aggregation of many chunk files: speed, and memory that does not grow with their number."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import orjson

SIZES = (20_000, 100_000, 1_000_000)
CHUNKS_OF_EACH = 10
DETECTIONS_OF_EACH = 5


def measure(scratch: Path) -> str:
    """Aggregate files of five detections each, with their manifests, in a process of its own each time."""
    rows = []
    duckdb = 0.0
    for size in SIZES:
        folder = scratch / str(size)
        _write(folder, size)
        if size == SIZES[0]:
            duckdb = _with_read_json(folder)
        seconds, mib = _aggregate(folder)
        rows.append((size, seconds, size / seconds, mib))
        shutil.rmtree(folder)
    growth = rows[-1][3] / rows[0][3] - 1
    lines = [f"| {n:,} | {seconds:.1f} | {rate:,.0f} | {mib:.0f} MiB |" for n, seconds, rate, mib in rows]
    return (
        "## Aggregation\n\n"
        "`python -m tests.bench aggregate`: files of five detections each, read into CSV and Parquet, detections and "
        f"coverage, with a manifest for each {CHUNKS_OF_EACH} of them. The memory is the largest that the process "
        "had.\n\n"
        "| files | seconds | files/s | memory |\n|---|---|---|---|\n" + "\n".join(lines) + "\n\n"
        f"From {SIZES[0]:,} to {SIZES[-1]:,} files memory changes by {growth:+.0%}. For comparison, in the same run: "
        f"DuckDB's `read_json` over the {SIZES[0]:,} files takes {duckdb:.1f} s, {duckdb / rows[0][1]:.1f} times as "
        "long, and writes nothing yet."
    )


def detections_of_chunk() -> list[dict[str, object]]:
    """Return the detections of each synthetic chunk, as its file has them."""
    return [
        {
            "timestamp_ms": 3000 * n,
            "end_ms": 3000 * n + 3000,
            "label": f"Bird {n}",
            "label_code": f"B{n}",
            "label_name": f"Bird {n}",
            "confidence": 0.5,
        }
        for n in range(DETECTIONS_OF_EACH)
    ]


def _write(folder: Path, size: int) -> None:
    for number in range(size):
        recording = f"ST-{number // CHUNKS_OF_EACH:06d}_20230509_094500"
        start = number % CHUNKS_OF_EACH * 60_000
        chunk = f"{recording}_chunk_{start}_{start + 60_000}"
        document = {
            "chunk_id": chunk,
            "recording_id": recording,
            "source_path": f"audio/{recording}.wav",
            "status": "ok",
            "detections": detections_of_chunk(),
            "chunk": {"start_ms": start, "end_ms": start + 60_000, "overlap_ms": 0, "sha256": None, "notes": ""},
            "runner": "birdnet",
            "model_version": "BirdNET",
        }
        path = folder / "infer" / recording / f"{chunk}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(orjson.dumps(document))
        manifest = folder / "manifests" / f"{recording}.csv"
        manifest.parent.mkdir(exist_ok=True)
        with manifest.open("a") as stream:
            if not start:
                stream.write("recording_id,chunk_id,source_path,start_ms,end_ms,overlap_ms,sha256,notes\n")
            stream.write(f"{recording},{chunk},audio/{recording}.wav,{start},{start + 60_000},0,,\n")


def _aggregate(folder: Path) -> tuple[float, float]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.aggregation", str(folder)], capture_output=True, check=True
    )
    seconds, mib = done.stdout.split()
    return float(seconds), float(mib)


def _with_read_json(folder: Path) -> float:
    import duckdb

    begin = time.perf_counter()
    duckdb.sql(
        f"SELECT chunk_id, unnest(detections, recursive := true) FROM read_json('{folder}/infer/*/*.json')"
    ).fetchall()
    return time.perf_counter() - begin


def _in_this_process(folder: Path) -> None:
    from badc.detections.aggregate import aggregate
    from badc.detections.settings import AggregateSettings

    out = folder.with_name(f"{folder.name}-tables")
    settings = AggregateSettings(
        detections_dir=folder / "infer",
        output=out / "t.csv",
        parquet=out / "t.parquet",
        manifest=(folder / "manifests",),
    )
    begin = time.perf_counter()
    made = aggregate(settings)
    seconds = time.perf_counter() - begin
    assert made.detections == made.files * 5
    # Not getrusage: its maximum outlives exec, so a large parent's would count.
    status = Path("/proc/self/status").read_text()
    print(seconds, int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024)


if __name__ == "__main__":
    _in_this_process(Path(sys.argv[1]))
