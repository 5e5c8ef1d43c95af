"""Datasets of many short recordings: recordings a second, how busy the workers are, and the run's memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median

import numpy as np
import psutil
import soundfile as sf

from tests.bench.gpus import stand_in
from tests.conftest import find_free_port
from tests.fakes.postgresql import postgresql, programs

TRIVIAL = 1000
RECORDINGS, MINUTES, HOST_S = 2000, 3, 0.05
WORKERS = 2
_RATE_HZ = 1000  # samples cost nothing here
_SAMPLES_OF_MEMORY = 5


@dataclass(frozen=True, slots=True)
class _Run:
    """A run of a dataset: its chunks, the seconds from the first start to the last end, all seconds, MiB over time."""

    chunks: int
    span_s: float
    all_s: float
    memory_mib: list[float]


def measure(scratch: Path) -> str:
    """Run a dataset of trivial recordings on SQLite and on PostgreSQL, and one whose host takes 50 ms a chunk."""
    trivial = _dataset(scratch / "trivial", TRIVIAL, seconds=2)
    runs = {"SQLite": _run(trivial, scratch, "sqlite", "--stub-runner")}
    if programs() is not None:
        with postgresql(scratch, find_free_port()) as url:
            runs["PostgreSQL"] = _run(
                trivial, scratch, "postgresql", "--stub-runner", PREFECT_API_DATABASE_CONNECTION_URL=url
            )
    rows = [
        f"| {name} | {TRIVIAL / run.span_s:.1f} | {run.all_s:.0f} | {_over_time(run)} |" for name, run in runs.items()
    ]
    busy = _busy(scratch)
    share = busy.chunks * HOST_S / (WORKERS * busy.span_s)
    return (
        "## Short recordings\n\n"
        f"`python -m tests.bench short`: `badc infer orchestrate --apply` on {WORKERS} CPU workers, with a "
        "private server. Memory is that of the command's process, in MiB in each fifth of the run, from first chunk "
        "to last.\n\n"
        f"{TRIVIAL:,} recordings of one chunk each, stub runner; recordings a second from the first chunk's start to "
        "the last one's end:\n\n"
        "| database | recordings a second | seconds, from start to exit | memory |\n|---|---|---|---|\n"
        + "\n".join(rows)
        + ("" if "PostgreSQL" in runs else "\n\nPostgreSQL is not installed here.")
        + f"\n\n{RECORDINGS:,} recordings of {MINUTES} one-minute chunks each, with a host that takes "
        f"{HOST_S * 1000:.0f} ms a chunk: the hosts are busy for {share:.0%} of the workers' time. "
        f"{busy.all_s:.0f} s from start to exit; memory {_over_time(busy)} MiB."
    )


def _over_time(run: _Run) -> str:
    return " → ".join(f"{mib:.0f}" for mib in run.memory_mib)


def _dataset(root: Path, recordings: int, seconds: int) -> Path:
    """Make a chunked dataset whose recordings are one file under many names."""
    (root / "audio").mkdir(parents=True)
    first = root / "audio" / "SITE-00000_20230509_094500.wav"
    sf.write(first, np.zeros(seconds * _RATE_HZ, dtype=np.int16), _RATE_HZ)
    for number in range(1, recordings):
        os.link(first, root / "audio" / f"SITE-{number:05}_20230509_094500.wav")
    subprocess.run(
        [sys.executable, "-m", "flows", "chunk", "orchestrate", str(root), "--apply"],
        env=_environment(root.parent, "chunk"),
        check=True,
        capture_output=True,
    )
    return root


def _busy(scratch: Path) -> _Run:
    dataset = _dataset(scratch / "busy", RECORDINGS, MINUTES * 60)
    return _run(dataset, scratch, "busy", *stand_in(scratch), HAWKEARS2_SLEEP_S=str(HOST_S))


def _run(dataset: Path, scratch: Path, name: str, *words: str, **environment: str) -> _Run:
    from badc.telemetry.events import EventStatus, read_events

    places = ["--output-dir", f"artifacts/{name}", "--telemetry-dir", f"artifacts/telemetry-{name}"]
    command = [
        "infer",
        "orchestrate",
        str(dataset),
        "--apply",
        "--max-gpus",
        "0",
        "--cpu-workers",
        str(WORKERS),
        *places,
    ]
    begin = time.perf_counter()
    with (scratch / f"{name}.log").open("wb") as log:
        process = psutil.Popen(
            [sys.executable, "-m", "flows", *command, *words],
            env=_environment(scratch, name) | environment,
            stdout=log,
            stderr=log,
        )
    memory: list[tuple[float, float]] = []
    while process.poll() is None:
        memory.append((time.time(), _mib(process)))
        time.sleep(0.5)
    all_s = time.perf_counter() - begin
    if process.returncode != 0:
        raise RuntimeError((scratch / f"{name}.log").read_text()[-2000:])
    starts, ends = [], []
    for log_file in (dataset / f"artifacts/telemetry-{name}").rglob("*.jsonl"):
        for event in read_events(log_file):
            if event.status is EventStatus.START:
                starts.append(datetime.fromisoformat(event.timestamp).timestamp())
            elif event.status is EventStatus.SUCCESS:
                ends.append(datetime.fromisoformat(str(event.finished_at)).timestamp())
    return _Run(len(ends), max(ends) - min(starts), all_s, _at_intervals(memory, min(starts), max(ends)))


def _mib(process: psutil.Popen) -> float:
    try:
        return float(process.memory_info().rss) / (1 << 20)
    except psutil.NoSuchProcess:
        return 0.0


def _at_intervals(memory: list[tuple[float, float]], begin: float, end: float) -> list[float]:
    """Return the median of the memory in each of a few equal parts of the run."""
    step = (end - begin) / _SAMPLES_OF_MEMORY
    parts = [
        [mib for at, mib in memory if begin + number * step <= at <= begin + (number + 1) * step]
        for number in range(_SAMPLES_OF_MEMORY)
    ]
    return [median(part) for part in parts if part]


def _environment(scratch: Path, name: str) -> dict[str, str]:
    """Return the environment of a command with a Prefect of its own."""
    known = {key: value for key, value in os.environ.items() if key != "PREFECT_API_URL"}
    return known | {"PREFECT_HOME": str(scratch / f"prefect-{name}")}
