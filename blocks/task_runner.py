"""The task runner: Prefect's engine in the flow's process, the body of each task on a Dask worker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from copy import copy
from functools import partial, wraps
from typing import Any

from distributed import Future
from prefect.client.schemas.objects import RunInput
from prefect.futures import PrefectConcurrentFuture, PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.tasks import Task
from prefect_dask import DaskTaskRunner

from blocks.worker_slots import WorkerSlots

Call = Callable[..., Any]

_LOOK_AFTER_WORKER_S = 2.0


class _WorkerGoneError(Exception):
    """The worker that a task was bound to has left the cluster."""


class OnWorker:
    """Calls a function on whichever worker is free first.

    Parameters
    ----------
    run
        The task runner's way to do so.
    function
        The function.
    preferred
        Address of the worker that is to do it, if it still lives.
    """

    def __init__(self, run: Call, function: Call, preferred: str | None = None) -> None:
        self._run = run
        self._function = function
        self._preferred = preferred

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._run(self._function, self._preferred, args, kwargs)

    def preferring(self, address: str | None) -> OnWorker:
        """Return the same for one certain worker."""
        return OnWorker(self._run, self._function, address)


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
    may_start
        Asked while a task waits for a free worker; when it says no, the wait ends with CancelledError.
    slots
        The slots of the workers, where several runners share these; by default its own.
    **dask
        Arguments of `DaskTaskRunner`, such as `address`.
    """

    def __init__(
        self,
        engine_threads: int = 64,
        around: Callable[..., Any] | None = None,
        may_start: Callable[[], bool] = lambda: True,
        slots: WorkerSlots | None = None,
        **dask: Any,
    ) -> None:
        super().__init__(**dask)
        self._may_start = may_start
        self._engine_threads = engine_threads
        self._around = around
        self._lock = threading.Lock()
        self._waited_for: set[Future] = set()
        self._abandoned = threading.Event()
        self._shared_slots = slots
        self._slots = slots or WorkerSlots(lambda: len(self.client.nthreads()))
        self._engine: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=engine_threads)

    def duplicate(self) -> ChunkTaskRunner:
        """Return a new runner with the same settings."""
        return type(self)(
            engine_threads=self._engine_threads,
            around=self._around,
            may_start=self._may_start,
            slots=self._shared_slots,
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
        """Return how many tasks the workers can do at once, now."""
        return self._slots.count()

    def abandon(self) -> None:
        """Take back everything that workers are doing; each task's wait for its worker ends with CancelledError."""
        self._abandoned.set()
        with self._lock:
            waited_for = list(self._waited_for)
        if waited_for:
            self.client.cancel(waited_for, force=True)

    def _from_here(self, function: Call) -> Call:
        on_worker = OnWorker(self._run, function)

        @wraps(function)
        def body(*args: Any, **kwargs: Any) -> Any:
            return on_worker(*args, **kwargs) if self._around is None else self._around(on_worker, *args, **kwargs)

        return body

    def _run(self, function: Call, preferred: str | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # pure=False: two chunks of equal content are still two tasks.
        submit = partial(self.client.submit, function, *args, pure=False, **kwargs)
        with self._slots.one(self._may_wait):
            if preferred is not None:
                with suppress(_WorkerGoneError):
                    return self._result_from(preferred, submit(workers=[preferred]))
            with self._waited(submit()) as future:
                return future.result()

    def _result_from(self, worker: str, future: Future) -> Any:
        """Return the result of a future that is bound to a worker, as long as that lives.

        Dask's allow_other_workers would not do: a task that loses its worker while no other is up stays unassigned.
        """
        with self._waited(future):
            while True:
                if worker not in self.client.nthreads():
                    future.cancel(force=True)
                    raise _WorkerGoneError
                with suppress(TimeoutError):
                    return future.result(timeout=_LOOK_AFTER_WORKER_S)

    @contextmanager
    def _waited(self, future: Future) -> Iterator[Future]:
        """Keep the future where `abandon` finds it, while somebody waits for it."""
        with self._lock:
            self._waited_for.add(future)
        try:
            yield future
        finally:
            with self._lock:
                self._waited_for.discard(future)

    def _may_wait(self) -> bool:
        return not self._abandoned.is_set() and self._may_start()

    def __enter__(self) -> ChunkTaskRunner:
        super().__enter__()
        self._engine.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._engine.__exit__(*exception)
        super().__exit__(*exception)
