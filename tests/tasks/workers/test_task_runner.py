"""The task runner: bodies on Dask workers, Prefect's engine here."""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from distributed import Client
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext

from tasks.workers.slots import WorkerSlots
from tasks.workers.task_runner import ChunkTaskRunner
from tests.fakes.bodies import fail_until, sleep, where_am_i


@pytest.fixture
def runner(prefect_api, dask_scheduler):
    with ChunkTaskRunner(address=dask_scheduler) as started:
        yield started


def test_bodies_run_on_workers_that_never_import_prefect(runner):
    body = task(where_am_i, cache_policy=NO_CACHE, persist_result=False)

    @flow
    def three() -> list[tuple[int, bool, int]]:
        return [future.result() for future in [runner.submit(body, {"number": n}) for n in range(3)]]

    results = three()
    assert [number for _, _, number in results] == [0, 1, 2]
    assert all(pid != os.getpid() for pid, _, _ in results)
    assert not any(prefect for _, prefect, _ in results)


def test_prefects_own_retries_apply(runner, tmp_path):
    body = task(fail_until, retries=2, retry_delay_seconds=0, cache_policy=NO_CACHE, persist_result=False)

    @flow
    def once() -> int:
        return runner.submit(body, {"path": str(tmp_path / "tries"), "times": 2}).result()

    assert once() == 3


def test_a_final_failure_is_the_tasks_state(runner, tmp_path):
    body = task(fail_until, cache_policy=NO_CACHE, persist_result=False)

    @flow
    def once() -> tuple[bool, str]:
        future = runner.submit(body, {"path": str(tmp_path / "tries"), "times": 5})
        future.wait()
        return future.state.is_failed(), future.state.message

    failed, message = once()
    assert failed
    assert "ValueError: try 1" in message


def test_prefect_keeps_nothing_of_a_task_run_that_has_ended(runner):
    body = task(where_am_i, cache_policy=NO_CACHE, persist_result=False)

    @flow
    def three() -> tuple[int, int]:
        for future in [runner.submit(body, {"number": n}) for n in range(3)]:
            future.wait()
        return len(runner._engine._cancel_events), len(FlowRunContext.get().task_run_assets)

    assert three() == (0, 0)


def test_around_sees_each_attempt_in_this_process(prefect_api, dask_scheduler):
    seen = []

    def around(on_worker, number):
        seen.append((os.getpid(), number))
        return on_worker(number)[2] * 10

    body = task(where_am_i, cache_policy=NO_CACHE, persist_result=False)

    @flow
    def once() -> int:
        with ChunkTaskRunner(address=dask_scheduler, around=around) as runner:
            return runner.submit(body, {"number": 4}).result()

    assert once() == 40
    assert seen == [(os.getpid(), 4)]


def test_a_task_run_is_running_only_once_a_worker_is_free_for_it(prefect_api, dask_scheduler):
    running = []
    body = task(
        sleep,
        task_run_name=lambda parameters: f"{parameters['seconds']:g} s",
        on_running=[lambda task, run, state: running.append(run.name)],
        cache_policy=NO_CACHE,
        persist_result=False,
    )
    with Client(dask_scheduler) as client:
        worker = next(iter(client.nthreads()))

    @flow
    def two() -> list[bool]:
        with ChunkTaskRunner(address=dask_scheduler, slots=WorkerSlots(lambda: {worker: 1})) as runner:
            futures = [runner.submit(body, {"seconds": 1})]
            end = time.monotonic() + 20
            while not running:
                assert time.monotonic() < end
                time.sleep(0.01)
            futures.append(runner.submit(body, {"seconds": 0.1}))
            time.sleep(0.5)
            assert running == ["1 s"]
            for future in futures:
                future.wait()
            return [future.state.is_completed() for future in futures]

    assert two() == [True, True]
    assert running == ["1 s", "0.1 s"]


def test_a_result_is_fetched_again_if_another_thread_gave_up_fetching_both(dask_scheduler, monkeypatch):
    with ChunkTaskRunner(address=dask_scheduler) as runner:
        mine, other = (runner.client.submit(pow, 2, exponent) for exponent in (5, 6))
        while not (mine.done() and other.done()):
            time.sleep(0.01)
        fetch = runner.client._gather_remote

        async def wait_for_its_turn(*args, **kwargs):
            await asyncio.sleep(0.8)
            return await fetch(*args, **kwargs)

        monkeypatch.setattr(runner.client, "_gather_remote", wait_for_its_turn)
        worker = next(iter(runner.client.scheduler_info()["workers"]))
        with ThreadPoolExecutor(1) as pool:
            giving_up = pool.submit(other.result, timeout=0.4)
            time.sleep(0.2)  # its fetching has begun, and the other joins it
            assert runner._result(mine, lambda: None, worker) == 32
            assert isinstance(giving_up.exception(), TimeoutError)


def test_a_result_that_was_reported_is_not_fetched(dask_scheduler, monkeypatch):
    with ChunkTaskRunner(address=dask_scheduler) as runner:
        future = runner.client.submit(pow, 2, 7)
        monkeypatch.setattr(runner.client, "_gather_remote", None)
        worker = next(iter(runner.client.scheduler_info()["workers"]))
        assert runner._result(future, lambda: "as reported", worker) == "as reported"


def test_abandoned_tasks_end_at_once(prefect_api, dask_scheduler):
    body = task(sleep, cache_policy=NO_CACHE, persist_result=False)

    @flow
    def once() -> float:
        with ChunkTaskRunner(address=dask_scheduler) as runner:
            future = runner.submit(body, {"seconds": 5})
            time.sleep(0.5)
            begin = time.monotonic()
            runner.abandon()
            future.wait()
            return time.monotonic() - begin

    assert once() < 3


def test_a_duplicate_has_the_same_settings(dask_scheduler):
    runner = ChunkTaskRunner(address=dask_scheduler, engine_threads=7)
    copy = runner.duplicate()
    assert copy == runner
    assert copy is not runner
