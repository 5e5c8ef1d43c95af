"""Runs of the inference flow: in this process on the warm cluster, or as a command of its own that can be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest

from tests.fakes.postgresql import postgresql as run_postgresql
from tests.fakes.postgresql import programs


@pytest.fixture
def infer(prefect_api: str, dask_scheduler: str, tmp_path: Path) -> Callable[..., Any]:
    """Return a function that runs a manifest in this process, on the session's server and cluster."""
    from badc.inference.plan import plan_inference
    from badc.inference.settings import InferSettings
    from flows.cli.launch import launch_inference

    def run(manifest: Path, **settings: Any) -> Any:
        values = {"scheduler": dask_scheduler, "output_dir": tmp_path / "out", "telemetry_log": tmp_path / "run.jsonl"}
        plan = plan_inference(InferSettings(manifest=manifest, **(values | settings)))
        return launch_inference(plan, lambda progress: None, lambda line: None)[0]

    return run


@pytest.fixture
def badc(prefect_api: str, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Return a function that starts `badc` with some words, in `tmp_path`, on the session's Prefect server.

    `before` are the words of a program that is to start it.
    """

    def start(*words: object, before: Sequence[str] = (), **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*before, sys.executable, "-m", "flows", *map(str, words)],
            cwd=tmp_path,
            env=os.environ | {"PREFECT_API_URL": prefect_api} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=_on_two_cores,
        )

    return start


def _on_two_cores() -> None:
    """Let a run have as many workers by itself, one, on every machine."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])


@pytest.fixture
def dask(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start `dask …` in a folder of its own; everything is stopped at the end."""
    started: list[subprocess.Popen[bytes]] = []
    (tmp_path / "elsewhere").mkdir()

    def start(*words: object, **environment: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", *map(str, words)],
            cwd=tmp_path / "elsewhere",
            env=os.environ | environment,
            stderr=subprocess.DEVNULL,
        )
        started.append(process)
        return process

    yield start
    # Not terminate: a worker whose scheduler goes at the same moment waits for it to answer its farewell.
    for process in started:
        process.kill()
    for process in started:
        process.wait()


@pytest.fixture
def postgresql(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[str]:
    """A real PostgreSQL of this test's own: its URL for Prefect."""
    if programs() is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    with run_postgresql(tmp_path, free_port()) as url:
        yield url


@pytest.fixture
def frozen() -> Iterator[Callable[[psutil.Process], None]]:
    """Return a function that stops a process in its tracks; what still lives goes on at the end."""
    stopped: list[psutil.Process] = []

    def freeze(process: psutil.Process) -> None:
        process.send_signal(signal.SIGSTOP)
        stopped.append(process)

    yield freeze
    for process in stopped:
        if process.is_running():
            process.send_signal(signal.SIGCONT)


def read_summary(log: Path) -> dict[str, Any]:
    """Return the summary beside a telemetry log."""
    document: dict[str, Any] = orjson.loads(log.with_name(f"{log.name}.summary.json").read_bytes())
    return document


def unended_starts(log: Path) -> list[str]:
    """Return the chunks of a telemetry log whose starts are not each followed by exactly one end."""
    from badc.telemetry.events import EventStatus, read_events

    open_attempts: dict[str, int] = {}
    for event in read_events(log):
        if event.status is EventStatus.SKIPPED or event.status.is_of_worker:
            continue
        step = 1 if event.status is EventStatus.START else -1
        open_attempts[event.chunk_id] = open_attempts.get(event.chunk_id, 0) + step
        if open_attempts[event.chunk_id] not in (0, 1):
            return [event.chunk_id]
    return [chunk for chunk, count in open_attempts.items() if count]
