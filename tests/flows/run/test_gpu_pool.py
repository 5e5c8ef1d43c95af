"""Turns at the GPUs: a run waits for those that hold the pool, and says so."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from badc.errors import RequestError
from badc.inference.plan import plan_inference
from badc.inference.settings import InferSettings
from badc.telemetry.summary import RunState
from flows.cli.launch import launch_inference
from flows.server.local import PrefectApi

pytestmark = pytest.mark.slow


@pytest.fixture
def pool(prefect_api: str) -> Iterator[str]:
    """A pool for one run at a time."""
    from prefect.client.orchestration import get_client

    name = f"pool-{time.monotonic_ns()}"
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(name, limit=1)
    yield name
    with get_client(sync_client=True) as client:
        client.delete_global_concurrency_limit_by_name(name)


@pytest.fixture
def planned(dask_scheduler: str, make_recording: Any, make_manifest: Any, fake: Any, tmp_path: Path) -> Any:
    """Return a function that plans a run of two chunks of a recording of its own."""

    def plan(name: str, seconds: float = 0, **settings: Any) -> Any:
        manifest = make_manifest(make_recording(f"{name}.wav", 2))
        given = {
            "runner_cmd": fake("detector", "--seconds", seconds),
            "scheduler": dask_scheduler,
            "output_dir": tmp_path / name,
            "telemetry_log": tmp_path / f"{name}.jsonl",
        }
        return plan_inference(InferSettings(manifest=manifest, **given | settings))

    return plan


def test_a_run_waits_for_the_pool_and_says_so(planned: Any, pool: str, tmp_path: Path) -> None:
    from prefect.concurrency.sync import concurrency

    said: list[str] = []
    begun = threading.Event()

    def free_later(release: threading.Event) -> None:
        while not any("Waiting for the GPU pool" in line for line in said):
            time.sleep(0.1)
        assert not (tmp_path / "B.jsonl").exists()
        begun.set()
        release.set()

    release = threading.Event()

    def hold() -> None:
        with concurrency(pool, strict=True):
            holding.set()
            release.wait(60)

    holding = threading.Event()
    threads = [threading.Thread(target=hold), threading.Thread(target=free_later, args=(release,))]
    threads[0].start()
    assert holding.wait(30)
    threads[1].start()
    outcome, _ = launch_inference(planned("B", gpu_pool=pool), lambda progress: None, said.append)
    for thread in threads:
        thread.join()
    assert begun.is_set()
    assert outcome.state is RunState.COMPLETED


def _die_holding(pool: str) -> None:
    """Leave a flow run that is said to run and to hold the pool, but is dead: its lease has ended."""
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.states import Running

    with get_client(sync_client=True) as client:
        client.create_flow_run(
            flow(lambda: None, name="infer"), name="the dead", tags=[f"gpu-pool:{pool}"], state=Running()
        )


@pytest.mark.long
def test_who_waits_is_told_who_holds_the_pool(planned: Any, pool: str, tmp_path: Path) -> None:
    said: list[str] = []
    first, second = planned("A", seconds=4, gpu_pool=pool), planned("B", gpu_pool=pool)
    outcomes: list[Any] = []
    holder = threading.Thread(
        target=lambda: outcomes.append(launch_inference(first, lambda progress: None, lambda line: None)[0])
    )
    _die_holding(pool)
    holder.start()
    end = time.monotonic() + 60
    while not (tmp_path / "A.jsonl").exists():
        assert time.monotonic() < end
        time.sleep(0.1)
    outcome, _ = launch_inference(second, lambda progress: None, said.append)
    holder.join()
    assert [outcome.state for outcome in (*outcomes, outcome)] == [RunState.COMPLETED] * 2
    (waiting,) = [line for line in said if line.startswith("Waiting for the GPU pool")]
    assert waiting.startswith(f"Waiting for the GPU pool {pool}, held by infer A (since 20")


@pytest.mark.long
def test_the_slot_of_a_run_that_died_is_free_again_after_a_restart_of_the_server(
    badc: Any, free_port: Any, make_recording: Any, make_manifest: Any, fake: Any, tmp_path: Path
) -> None:
    """A server that forgot the lease would keep the slot taken for ever."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    variables = {"PREFECT_API_URL": url, "PREFECT_API_AUTH_STRING": "badc:x", "PREFECT_HOME": str(tmp_path / "home")}

    def server() -> Any:
        started = badc("server", "start", "--port", port, PREFECT_SERVER_API_AUTH_STRING="badc:x", **variables)
        end = time.monotonic() + 60
        while not PrefectApi(url, None).answers():
            assert time.monotonic() < end
        return started

    words = ["infer", "run", make_manifest(make_recording()), "--gpu-pool", "gpu", "--max-gpus", 0]
    first = server()
    made = subprocess.run(
        [sys.executable, "-m", "prefect", "gcl", "create", "gpu", "--limit", "1"], env=os.environ | variables
    )
    assert made.returncode == 0
    command = fake("detector", "--seconds", 300)
    log = tmp_path / "dead.jsonl"
    dead = badc(*words, "--output-dir", "dead", "--telemetry-log", log, "--runner-cmd", command, **variables)
    end = time.monotonic() + 60
    while not log.exists():
        assert time.monotonic() < end
        time.sleep(0.1)
    time.sleep(2)
    dead.kill()
    first.kill()
    first.wait()
    second = server()
    try:
        process = badc(*words, "--output-dir", "out", **variables)
        _, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        assert "Waiting for the GPU pool gpu, held by infer REC (since " in err
    finally:
        second.kill()


def test_no_wait_refuses_and_leaves_nothing(planned: Any, pool: str, tmp_path: Path) -> None:
    from prefect.concurrency.sync import concurrency

    plan = planned("C", gpu_pool=pool, no_wait=True)
    with concurrency(pool, strict=True), pytest.raises(RequestError, match=f"pool {pool} is held by something"):
        launch_inference(plan, lambda progress: None, lambda line: None)
    assert not (tmp_path / "C.jsonl").exists()
    # The pool is free again, and so is the recording.
    assert launch_inference(plan, lambda progress: None, lambda line: None)[0].state is RunState.COMPLETED


def test_a_pool_that_is_not_there_is_named_with_the_way_out(planned: Any, prefect_api: str) -> None:
    with pytest.raises(RequestError, match="prefect gcl create nowhere --limit 1"):
        launch_inference(planned("D", gpu_pool="nowhere"), lambda progress: None, lambda line: None)


def test_a_run_without_gpus_takes_no_turn_unless_it_names_a_pool(planned: Any, prefect_api: str) -> None:
    from prefect.client.orchestration import get_client
    from prefect.concurrency.sync import concurrency

    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name("gpu", limit=1)
    try:
        with concurrency("gpu", strict=True):
            plan = planned("E", no_wait=True)
            assert launch_inference(plan, lambda progress: None, lambda line: None)[0].state is RunState.COMPLETED
    finally:
        with get_client(sync_client=True) as client:
            client.delete_global_concurrency_limit_by_name("gpu")
