"""Occurrence of species: the range scores of a large table of detections, and the memory that it takes."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZES = (1_000_000, 10_000_000)
STATIONS = 200
DAYS = 100
SPECIES = 150
_STATION = "format('ST-{:03d}', station)"


def measure(scratch: Path) -> str:
    """Score tables of several sizes, in a process of its own each time."""
    lines = []
    for size in SIZES:
        words = [sys.executable, "-m", "tests.bench.occurrence", str(scratch), str(size)]
        done = subprocess.run(words, capture_output=True, check=True, text=True)
        seconds, mib = map(float, done.stdout.split()[-2:])
        lines.append(f"| {size:,} | {seconds:.1f} | {size / seconds:,.0f} | {mib:.0f} MiB |")
    return (
        "## Occurrence of species\n\n"
        f"`python -m tests.bench occurrence`: what `badc infer aggregate --sites` adds to the making of a table. "
        f"{SPECIES} species at {STATIONS} stations over {DAYS} days. The memory is the largest that the process had, "
        "with the range model.\n\n"
        "| detections | seconds | detections/s | memory |\n|---|---|---|---|\n" + "\n".join(lines)
    )


def _write(path: Path, size: int) -> None:
    """Write a table of detections, each row with what a real one has."""
    import duckdb

    from badc.detections.tables import DETECTIONS_SCHEMA
    from badc.species.range_model import RangeModel

    labels = RangeModel().labels[: SPECIES * 7 : 7]
    kinds = {"int64": "BIGINT", "double": "DOUBLE", "string": "VARCHAR"}
    made = {
        "recording_id": f"{_STATION} || strftime(started, '_%Y%m%d_%H%M%S')",
        "chunk_id": f"{_STATION} || strftime(started, '_%Y%m%d_%H%M%S_chunk_0_60000')",
        "chunk_start_ms": "0",
        "chunk_end_ms": "60000",
        "timestamp_ms": "row % 20 * 3000",
        "absolute_time_ms": "row % 20 * 3000",
        "label": "labels[1 + row * 7919 % len(labels)].common",
        "label_code": "labels[1 + row * 7919 % len(labels)].scientific",
        "confidence": "0.25 + row * 31 % 1000 / 1400",
        "status": "'ok'",
        "runner": "'birdnet'",
        "source_path": f"'audio/' || {_STATION} || strftime(started, '_%Y%m%d_%H%M%S.wav')",
        "station": _STATION,
        "recorded_at": "started",
        "detected_at": "started + to_seconds(row % 20 * 3)",
    }
    cells = [
        f"CAST({made.get(field.name, 'NULL')} AS {kinds.get(str(field.type), 'TIMESTAMP_MS')}) AS {field.name}"
        for field in DETECTIONS_SCHEMA
    ]
    listed = ", ".join("{{scientific: $a${}$a$, common: $a${}$a$}}".format(*label.split("_", 1)) for label in labels)
    duckdb.sql(
        f"""
        COPY (
          WITH rows AS (
            SELECT range AS row, CAST(range * {STATIONS} // {size} AS INTEGER) AS station, [{listed}] AS labels,
              TIMESTAMP '2023-04-15 04:00' + to_hours(CAST(range * {STATIONS} % {size} * {DAYS * 24} // {size} AS INT))
                AS started
            FROM range({size}))
          SELECT {", ".join(cells)} FROM rows) TO '{path}' (FORMAT parquet, COMPRESSION zstd)
        """
    )


def _in_this_process(path: Path) -> None:
    from badc.detections.occurrence import add_occurrence
    from badc.detections.tables import DetectionsStage, stage_database
    from badc.recordings.sites import Site

    sites = [
        Site(f"ST-{n:03d}", 50 + n / 20, -120 + n / 10, timezone="America/Edmonton", clock="UTC")
        for n in range(STATIONS)
    ]
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch, stage_database(Path(scratch)) as database:
        stage = DetectionsStage(path, database)
        begin = time.perf_counter()
        add_occurrence(stage, database, sites)
        seconds = time.perf_counter() - begin
        assert stage.number("SELECT count(occurrence) FROM this") == stage.rows
    # Not getrusage: its maximum outlives exec, so a large parent's would count.
    status = Path("/proc/self/status").read_text()
    print(seconds, int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024)


if __name__ == "__main__":
    table = Path(sys.argv[1], f"{sys.argv[2]}.parquet")
    if table.exists():
        _in_this_process(table)
    else:  # its memory is not to count
        _write(table, int(sys.argv[2]))
        subprocess.run([sys.executable, "-m", "tests.bench.occurrence", *sys.argv[1:]], check=True)
        table.unlink()
