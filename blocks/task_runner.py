"""The task runner: Prefect's engine in the flow's process, the body of each task on a Dask worker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from copy import copy
from functools import wraps
from typing import Any

from distributed import Future
from prefect.client.schemas.objects import RunInput
from prefect.futures import PrefectConcurrentFuture, PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.tasks import Task
from prefect_dask import DaskTaskRunner

Call = Callable[..., Any]

_COUNT_INTERVAL_S = 2.0


class ChunkTaskRunner(DaskTaskRunner):
    """Runs a task's engine (states, retries, logs) on a thread here, and its function on a Dask worker.

    The stock `DaskTaskRunner` sends the engine along: each submission serialises all settings, each task opens an HTTP
    client on its worker, and a task that waits for its retry holds the worker. Here workers need no Prefect at all, and
    a waiting retry holds only a thread. `benchmarks` compares the two.

    Parameters
    ----------
    engine_threads
        Task runs that may be under way at once, waiting retries included.
    around
        Called in the task's thread as `around(on_worker, *args, **kwargs)` in place of `on_worker(*args, **kwargs)`,
        which runs the task's function on a worker: for what has to happen here, before and after.
    **dask
        Arguments of `DaskTaskRunner`, such as `address`.
    """

    def __init__(self, engine_threads: int = 64, around: Callable[..., Any] | None = None, **dask: Any) -> None:
        super().__init__(**dask)
        self._engine_threads = engine_threads
        self._around = around
        self._lock = threading.Lock()
        self._waited_for: set[Future] = set()
        self._workers = 0
        self._next_count = 0.0
        self._engine: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=engine_threads)

    def duplicate(self) -> ChunkTaskRunner:
        """Return a new runner with the same settings."""
        return type(self)(
            engine_threads=self._engine_threads,
            around=self._around,
            address=self.address,
            cluster_class=self.cluster_class,
            cluster_kwargs=self.cluster_kwargs,
            adapt_kwargs=self.adapt_kwargs,
            client_kwargs=self.client_kwargs,
            performance_report_path=self.performance_report_path,
        )

    def submit(
        self,
        task: Task[..., Any],
        parameters: dict[str, Any],
        wait_for: Iterable[PrefectFuture[Any]] | None = None,
        dependencies: dict[str, set[RunInput]] | None = None,
    ) -> PrefectConcurrentFuture[Any]:
        """Start a task run; return its future at once."""
        here = copy(task)
        here.fn = self._from_here(task.fn)
        return self._engine.submit(here, parameters, wait_for, dependencies)

    def worker_count(self) -> int:
        """Return how many threads of workers there are now, looked up every few seconds: workers come and go."""
        if time.monotonic() >= self._next_count:
            self._workers = sum(self.client.nthreads().values())
            self._next_count = time.monotonic() + _COUNT_INTERVAL_S
        return self._workers

    def abandon(self) -> None:
        """Take back everything that workers are doing; each task's wait for its worker ends with CancelledError."""
        with self._lock:
            waited_for = list(self._waited_for)
        if waited_for:
            self.client.cancel(waited_for, force=True)

    def _from_here(self, function: Call) -> Call:
        def on_worker(*args: Any, **kwargs: Any) -> Any:
            # pure=False: two chunks of equal content are still two tasks.
            future = self.client.submit(function, *args, pure=False, **kwargs)
            with self._lock:
                self._waited_for.add(future)
            try:
                return future.result()
            finally:
                with self._lock:
                    self._waited_for.discard(future)

        @wraps(function)
        def body(*args: Any, **kwargs: Any) -> Any:
            return on_worker(*args, **kwargs) if self._around is None else self._around(on_worker, *args, **kwargs)

        return body

    def __enter__(self) -> ChunkTaskRunner:
        super().__enter__()
        self._engine.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._engine.__exit__(*exception)
        super().__exit__(*exception)
