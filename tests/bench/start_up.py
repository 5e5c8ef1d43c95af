"""How long a user waits: for help, and for the first chunk of a run to start."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile as sf

HELP_RUNS = 5
RUNS = 5


def measure(scratch: Path) -> str:
    """Measure `badc --help`, and a run of 10 chunks with and without a running server."""
    from badc.chunks.cutting import plan_chunks, write_virtual_manifest

    sf.write(scratch / "REC.wav", np.zeros(80_000, dtype=np.int16), 8000)
    write_virtual_manifest(plan_chunks(scratch / "REC.wav", 1), scratch / "m.csv", hash_chunks=False)
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    environment["PREFECT_HOME"] = str(scratch / "prefect")
    first = _run(scratch, environment, "first")
    alone = _median(scratch, environment, "alone")
    from flows.server.local import PrefectApi

    api = PrefectApi.begin()
    api.ready()
    let_in = {name: os.environ[name] for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING")}
    served = _median(scratch, environment | let_in, "served")
    rows = [
        f"| {what} | {alone[what]:.1f} | {served[what]:.1f} |"
        for what in (
            "the command reads and checks its input",
            "API and workers come up",
            "the flow run begins",
            "the first chunk starts",
            "in all",
        )
    ]
    return (
        "## Start-up\n\n"
        f"`python -m tests.bench start`: `badc --help` takes {_help_cpu_s():.2f} s of CPU (median of {HELP_RUNS}).\n\n"
        "Seconds from `badc infer run` to the start of its first chunk, two CPU workers, stub runner; the run with the "
        f"median of {RUNS}:\n\n"
        "| until | no server | server running |\n|---|---|---|\n" + "\n".join(rows) + "\n\n"
        f"The first run ever of a user without a server, in which Prefect makes its database: {first['in all']:.1f}."
    )


def _help_cpu_s() -> float:
    times = []
    for _ in range(HELP_RUNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "flows", "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return sorted(times)[len(times) // 2]


def _median(scratch: Path, environment: dict[str, str], name: str) -> dict[str, float]:
    runs = [_run(scratch, environment, f"{name}-{number}") for number in range(RUNS)]
    return sorted(runs, key=lambda run: run["in all"])[RUNS // 2]


def _run(scratch: Path, environment: dict[str, str], name: str) -> dict[str, float]:
    """Return the seconds that each stage of the start took."""
    import orjson

    from badc.telemetry.events import read_events

    log = scratch / f"{name}.jsonl"
    words = ["infer", "run", "m.csv", "--cpu-workers", "2", "--output-dir", name, "--telemetry-log", str(log)]
    begin = time.time()
    said = {}
    with subprocess.Popen(
        [sys.executable, "-m", "flows", *words],
        cwd=scratch,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        stdout=subprocess.DEVNULL,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            said.setdefault(line.split(":")[0], time.time())
    assert process.returncode == 0
    summary = orjson.loads(log.with_name(f"{log.name}.summary.json").read_bytes())
    moments = [
        begin,
        said["Starting"],
        said["Workers"],
        datetime.fromisoformat(summary["started_at"]).timestamp(),
        min(datetime.fromisoformat(event.timestamp).timestamp() for event in read_events(log)),
    ]
    stages = [later - earlier for earlier, later in pairwise(moments)]
    names = ("the command reads and checks its input", "API and workers come up", "the flow run begins")
    return dict(zip((*names, "the first chunk starts"), stages, strict=True)) | {"in all": moments[-1] - begin}
