"""Search of a million embeddings, and what embeddings cost a run of BirdNET."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

WINDOWS = 1_000_000
_WINDOWS_PER_RECORDING = 20_000  # 17 hours of BirdNET's windows
_SIZE = 1024


def measure(scratch: Path) -> str:
    """Search a folder of embeddings in a process of its own, and pass windows with and without embeddings."""
    folder = scratch / "embeddings"
    write(folder)
    gib = sum(path.stat().st_size for path in folder.iterdir()) / 2**30
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.embeddings", str(folder)], capture_output=True, check=True, text=True
    )
    first, first_cpu, again, again_cpu, mib = map(float, done.stdout.split())
    plain_ms, with_ms = _window_ms()
    return (
        "## Embeddings\n\n"
        f"`python -m tests.bench embeddings`: `badc report search` over {WINDOWS:,} windows of {_SIZE:,} numbers in "
        f"{WINDOWS // _WINDOWS_PER_RECORDING} files, {gib:.1f} GiB, without the clips of the review. They are random, "
        "with about as many zeros as those of BirdNET. The memory is the largest that the process had.\n\n"
        "| | seconds | of a core | memory |\n|---|---|---|---|\n"
        f"| the first search | {first:.1f} | {first_cpu:.1f} | {mib:.0f} MiB |\n"
        f"| the next one | {again:.1f} | {again_cpu:.1f} | |\n\n"
        f"A window of BirdNET takes {plain_ms:.1f} ms, with its embedding {with_ms:.1f} ms."
    )


def write(folder: Path) -> None:
    """Write embeddings as a run does."""
    from badc.chunks.manifest import Chunk
    from badc.detections.embeddings import Windows, gather, write_chunk

    rng = np.random.default_rng(1)
    starts = [3000 * number for number in range(_WINDOWS_PER_RECORDING)]
    for number in range(WINDOWS // _WINDOWS_PER_RECORDING):
        name = f"ST-{number:03d}_20230509_094500"
        rows = np.maximum(rng.normal(0.3, 0.4, (_WINDOWS_PER_RECORDING, _SIZE)).astype(np.float32), 0)
        chunk = Chunk(name, f"{name}_chunk_0_60000000", f"audio/{name}.wav", 0, 60_000_000)
        write_chunk(folder, chunk, None, Windows(starts, 3000, rows), {"runner": "birdnet"})
        gather(folder, name)


def _in_this_process(folder: Path) -> None:
    from badc.reports.search.nearest import search, stored

    query = stored(folder, "ST-003_20230509_094500", 30_000)
    seconds = []
    for _ in range(2):
        begin, begin_cpu = time.perf_counter(), time.process_time()
        found = search(folder, query, 50)
        seconds += [time.perf_counter() - begin, time.process_time() - begin_cpu]
        assert found.compared == WINDOWS
        assert (found.hits[0].recording_id, found.hits[0].start_ms) == ("ST-003_20230509_094500", 30_000)
    status = Path("/proc/self/status").read_text()
    print(*seconds, int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024)


def _window_ms() -> tuple[float, float]:
    """Return the time of a window without and with its embedding, each the median of alternate rounds."""
    from statistics import median

    from badc.runners.birdnet.cut_model import Network
    from badc.species.birdnet_files import model_file

    networks = Network(model_file()), Network(model_file(), embeds=True)
    window = np.random.default_rng(2).normal(0, 0.1, 144_000).astype(np.float32)
    took: tuple[list[float], list[float]] = ([], [])
    for _ in range(60):
        for network, times in zip(networks, took, strict=True):
            begin = time.perf_counter()
            network.outputs(window)
            times.append((time.perf_counter() - begin) * 1000)
    return median(took[0]), median(took[1])


if __name__ == "__main__":
    _in_this_process(Path(sys.argv[1]))
