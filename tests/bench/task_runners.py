"""Tasks per second: the stock DaskTaskRunner, BADC's task runner, and the whole inference flow."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf

TASKS = 500
WORKERS = 2


def measure(scratch: Path) -> str:
    """Run the same 500 trivial tasks three ways on two workers."""
    from flows.server.local import PrefectApi

    PrefectApi.begin().ready()
    from prefect_dask import DaskTaskRunner

    from badc.inference.settings import InferSettings
    from tasks.workers.cluster import open_cluster
    from tasks.workers.task_runner import ChunkTaskRunner

    settings = InferSettings(manifest=scratch / "m.csv", cpu_workers=WORKERS, max_gpus=0)
    with open_cluster(settings) as cluster:
        credentials = {"security": cluster.security}
        stock = _rate(DaskTaskRunner(address=cluster.address, client_kwargs=credentials))
        ours = _rate(ChunkTaskRunner(address=cluster.address, client_kwargs=credentials))
    flow = _flow_rate(scratch)
    return (
        "## Task runs per second\n\n"
        f"`python -m tests.bench tasks`: {TASKS} trivial tasks on {WORKERS} Dask workers, after a warm-up of 40.\n\n"
        "| what | tasks/s | against stock |\n|---|---|---|\n"
        f"| stock `DaskTaskRunner` | {stock:.1f} | 1 |\n"
        f"| `ChunkTaskRunner` | {ours:.1f} | {ours / stock:.1f} |\n"
        f"| the `infer` flow on {TASKS} chunks of 0.1 s, stub runner; telemetry, outputs and summary included "
        f"| {flow:.1f} | {flow / stock:.1f} |"
    )


def _rate(runner: Any) -> float:
    from prefect import flow, task
    from prefect.cache_policies import NO_CACHE

    from tests.fakes.bodies import sleep

    trivial = task(sleep, cache_policy=NO_CACHE, persist_result=False)

    @flow(task_runner=runner)
    def many() -> float:
        _all(trivial, 40)
        begin = time.perf_counter()
        _all(trivial, TASKS)
        return TASKS / (time.perf_counter() - begin)

    return many()


def _all(trivial: Any, number: int) -> None:
    futures = [trivial.submit(0.0) for _ in range(number)]
    for future in futures:
        future.wait()
    assert all(future.state.is_completed() for future in futures)


def _flow_rate(scratch: Path) -> float:
    from badc.chunks.cutting import plan_chunks, write_virtual_manifest
    from badc.inference.plan import plan_inference
    from badc.inference.settings import InferSettings
    from badc.telemetry.events import EventStatus, read_events
    from flows.cli.launch import launch_inference

    sf.write(scratch / "REC.wav", np.zeros(TASKS * 800, dtype=np.int16), 8000)
    write_virtual_manifest(plan_chunks(scratch / "REC.wav", 0.1), scratch / "m.csv", hash_chunks=False)
    settings = InferSettings(
        manifest=scratch / "m.csv",
        cpu_workers=WORKERS,
        max_gpus=0,
        output_dir=scratch / "out",
        telemetry_log=scratch / "run.jsonl",
    )
    launch_inference(plan_inference(settings), lambda progress: None, lambda line: None)
    from datetime import datetime

    events = list(read_events(scratch / "run.jsonl"))
    ends = [datetime.fromisoformat(str(e.finished_at)) for e in events if e.status is EventStatus.SUCCESS]
    assert len(ends) == TASKS
    begin = min(datetime.fromisoformat(e.timestamp) for e in events)
    return TASKS / (max(ends) - begin).total_seconds()
