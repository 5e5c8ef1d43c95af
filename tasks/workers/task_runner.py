"""The task runner: Prefect's engine in the flow's process, the body of each task on a Dask worker."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from copy import copy
from dataclasses import dataclass, replace
from functools import partial, wraps
from typing import Any

from distributed import Future
from distributed.client import FutureCancelledError
from prefect.client.schemas.objects import RunInput
from prefect.context import FlowRunContext
from prefect.futures import PrefectConcurrentFuture, PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.tasks import Task
from prefect_dask.task_runners import DaskTaskRunner

from tasks.workers.signs import SignsOfLife
from tasks.workers.slots import WorkerSlots

Call = Callable[..., Any]

# How often a wait for a worker or a scheduler checks whether it still makes sense.
_LOOK_S = 2.0
# A result is small: a worker that has reported its end, but does not hand over the result in this time, hangs.
_RESULT_PATIENCE_S = 10.0
_CLOSE_TIMEOUT_S = 5.0


# A task that lost so many workers does not get another: it may be what ended them. Dask's own limit is the same.
_MOST_WORKERS = 4


def _forget(engine: ThreadPoolTaskRunner[Any], flow: FlowRunContext | None, future: PrefectFuture[Any]) -> None:
    """Have Prefect forget a task run that has ended: it would keep 2 kB of each until the flow run's end."""
    getattr(engine, "_cancel_events", {}).pop(future.task_run_id, None)
    getattr(flow, "task_run_assets", {}).pop(future.task_run_id, None)


class _WorkerGoneError(Exception):
    """The worker that had a task has left the cluster."""


class WorkersDiedError(Exception):
    """Every worker that got the task has left the cluster."""


class _Turn:
    """The slot of a task run's first attempt, which it waits for before Prefect's engine calls it Running."""

    def __init__(self) -> None:
        self._held = ExitStack()
        self._worker: str | None = None

    def wait(self, slot: AbstractContextManager[str]) -> None:
        """Wait for a slot and hold it; do without if the run is stopping."""
        with suppress(CancelledError):
            self._worker = self._held.enter_context(slot)

    @contextmanager
    def slot(self, another: AbstractContextManager[str]) -> Iterator[str]:
        """Yield the worker of the slot that is held, and then release it; without one, that of `another`."""
        worker, self._worker = self._worker, None
        if worker is None:
            with another as worker:
                yield worker
        else:
            with self._held:
                yield worker

    def release(self) -> None:
        """Release the slot, if it is held."""
        self._held.close()


@dataclass(frozen=True, slots=True)
class OnWorker:
    """Calls a function on the first free worker, by means of the task runner's `run`; raises WorkersDiedError.

    `preferred` is the address of the worker to do it, if that still lives; those of `avoided` do not, if there are
    others. `reported` returns the function's result once it is known in another way, None until then; it replaces a
    result that the worker then does not hand over. `left` returns what is left to do of the function's first argument,
    as another worker may have died in the midst of it.
    """

    run: Call
    function: Call
    turn: _Turn
    preferred: str | None = None
    avoided: Collection[str] = ()
    reported: Callable[[], Any] = lambda: None
    left: Callable[[], Any] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(self, args, kwargs)

    def bound(
        self,
        preferred: str | None,
        avoided: Collection[str],
        reported: Callable[[], Any],
        left: Callable[[], Any],
    ) -> OnWorker:
        """Return the same with these."""
        return replace(self, preferred=preferred, avoided=avoided, reported=reported, left=left)


class ChunkTaskRunner(DaskTaskRunner):
    """Runs a task's engine (states, retries, logs) on a thread here, and its function on a Dask worker.

    The stock `DaskTaskRunner` sends the engine along: each submission serialises all settings, each task opens an HTTP
    client on its worker, and a task that waits for its retry holds the worker. Here workers need no Prefect, and a
    waiting retry holds only a thread. docs/benchmarks.md compares the two.

    A task run is Pending until a worker is free for it, if it is named by a function: that is what Prefect calls last
    before it says Running.

    Up to `engine_threads` task runs are under way at once, waiting retries included. If given, `around(on_worker,
    *args, **kwargs)` is called in the task's thread in place of `on_worker(*args, **kwargs)`, which runs the function
    on a worker: for what must happen here before and after. `may_start`, with the same arguments, is asked while a task
    waits for a free worker; when it says no, the call ends with CancelledError. `slots` are the workers' slots, if
    several runners share them; else see `WorkerSlots` for `most_at_once` and `spare_threads`, and `SignsOfLife` for
    `scheduler_patience_s`. The others are arguments of `DaskTaskRunner`, such as `address`.
    """

    def __init__(
        self,
        engine_threads: int = 64,
        around: Callable[..., Any] | None = None,
        may_start: Callable[..., bool] = lambda *args, **kwargs: True,
        slots: WorkerSlots | None = None,
        most_at_once: int = 1,
        spare_threads: int = 0,
        scheduler_patience_s: float | None = None,
        **dask: Any,
    ) -> None:
        super().__init__(**dask)
        self._engine_threads = engine_threads
        self._around = around
        self._may_start = may_start
        self._lock = threading.Lock()
        self._waited_for: set[Future[Any]] = set()
        self._abandoned = threading.Event()
        self._shared_slots = slots
        self._own_slots = {"most_at_once": most_at_once, "spare_threads": spare_threads}
        self._scheduler_patience_s = scheduler_patience_s
        signs = SignsOfLife(lambda: self.client, scheduler_patience_s)
        self._slots = slots or WorkerSlots(signs.threads, **self._own_slots, signs=signs)
        self._engine: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=engine_threads)

    def duplicate(self) -> ChunkTaskRunner:
        """Return a new runner with the same settings."""
        return type(self)(
            engine_threads=self._engine_threads,
            around=self._around,
            may_start=self._may_start,
            slots=self._shared_slots,
            **self._own_slots,
            scheduler_patience_s=self._scheduler_patience_s,
            address=self.address,
            cluster_class=self.cluster_class,
            cluster_kwargs=self.cluster_kwargs,
            adapt_kwargs=self.adapt_kwargs,
            client_kwargs=self.client_kwargs,
            performance_report_path=self.performance_report_path,
        )

    # Unlike Dask's runner, it returns the engine's future, not the worker's.
    def submit(  # type: ignore[override]
        self,
        task: Task[..., Any],
        parameters: dict[str, Any],
        wait_for: Iterable[PrefectFuture[Any]] | None = None,
        dependencies: dict[str, set[RunInput]] | None = None,
    ) -> PrefectConcurrentFuture[Any]:
        """Start a task run; return its future at once."""
        here, turn = copy(task), _Turn()
        here.fn = self._from_here(task.fn, turn)
        if callable(task.task_run_name):
            here.task_run_name = self._named_in_turn(task.task_run_name, turn)
        future = self._engine.submit(here, parameters, wait_for, dependencies)
        future.add_done_callback(partial(_forget, self._engine, FlowRunContext.get()))
        future.add_done_callback(lambda _: turn.release())
        return future

    def worker_count(self) -> int:
        """Return how many tasks the workers can have now."""
        return self._slots.count()

    @property
    def slots(self) -> WorkerSlots:
        """The slots of the workers."""
        return self._slots

    def tell_workers(self, function: Call, *args: Any) -> None:
        """Call a function on every worker, busy or not; nobody waits for it, or hears that it failed."""

        def tell() -> None:
            with suppress(Exception):  # a scheduler that is gone or hangs
                self.client.run(function, *args)

        threading.Thread(target=tell, daemon=True).start()

    def abandon(self) -> None:
        """Cancel everything that workers are doing; each task's wait for its worker ends with CancelledError."""
        self._abandoned.set()
        with self._lock:
            waited_for = list(self._waited_for)
        if waited_for:
            self.client.cancel(waited_for, force=True)

    def _from_here(self, function: Call, turn: _Turn) -> Call:
        on_worker = OnWorker(self._run, function, turn)

        @wraps(function)
        def body(*args: Any, **kwargs: Any) -> Any:
            try:
                return on_worker(*args, **kwargs) if self._around is None else self._around(on_worker, *args, **kwargs)
            finally:  # also if it did not go to a worker
                turn.release()

        return body

    def _named_in_turn(self, name: Call, turn: _Turn) -> Call:
        def named(parameters: dict[str, Any]) -> str:
            turn.wait(self._slot(None, (), **parameters))
            return str(name(parameters=parameters))

        return named

    def _slot(
        self, preferred: str | None, avoided: Collection[str], *args: Any, **kwargs: Any
    ) -> AbstractContextManager[str]:
        def may_wait() -> bool:
            return not self._abandoned.is_set() and self._may_start(*args, **kwargs)

        return self._slots.one(may_wait, preferred, avoided)

    def _run(self, call: OnWorker, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for _ in range(_MOST_WORKERS):
            another = self._slot(call.preferred, call.avoided, *args, **kwargs)
            with call.turn.slot(another) as worker, suppress(_WorkerGoneError):
                # The worker is chosen here: Dask would also give a second task to one that is slow. Not its
                # allow_other_workers: a task that loses its worker while no other is up stays unassigned.
                # Dask keeps what it knows of each group of tasks; that of such a key is its first part.
                key = (call.function.__name__, uuid.uuid4().hex)
                now = args if call.left is None else (call.left(), *args[1:])
                future = self.client.submit(call.function, *now, key=key, workers=[worker], **kwargs)
                return self._result(future, call.reported, worker)
        raise WorkersDiedError(f"{_MOST_WORKERS} workers that had it died, one after the other")

    def _result(self, future: Future[Any], reported: Callable[[], Any], worker: str) -> Any:
        """Return a future's result, fetched only if it was not reported.

        Raises `_WorkerGoneError` once its worker has left the cluster.
        """
        with self._lock:
            self._waited_for.add(future)
        reported_since_s: float | None = None
        ended = threading.Event()
        future.add_done_callback(lambda _: ended.set())
        try:
            while True:
                if ended.wait(_LOOK_S):
                    # Reports come by the same way as the end, and before it: with them, nothing has to be fetched.
                    if future.status == "finished" and (known := reported()) is not None:
                        return known
                    with suppress(TimeoutError):
                        return self._fetched(future)
                if self._abandoned.is_set():  # a scheduler that hangs confirms nothing
                    raise FutureCancelledError(future.key, "abandoned")
                if worker not in self._slots.workers():
                    future.cancel(force=True)
                    if (known := reported()) is not None:
                        return known
                    raise _WorkerGoneError
                if (known := reported()) is not None:
                    reported_since_s = reported_since_s or time.monotonic()
                    if time.monotonic() - reported_since_s > _RESULT_PATIENCE_S:
                        future.cancel(force=True)
                        return known
        finally:
            with self._lock:
                self._waited_for.discard(future)

    def _fetched(self, future: Future[Any]) -> Any:
        """Return a future's result from its worker; raise TimeoutError if that takes too long."""
        try:
            return future.result(timeout=_LOOK_S)
        except UnboundLocalError:
            # Dask fetches what several threads ask for in one go. If the time of the first of them is up while that
            # waits for its turn, it is cancelled for all, and for all that ask later: the others get this error, from
            # inside `distributed.utils.sync`.
            self.client._gather_future = None
            raise TimeoutError from None

    def __enter__(self) -> ChunkTaskRunner:
        super().__enter__()  # type: ignore[no-untyped-call]
        self._engine.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._engine.__exit__(*exception)
        with suppress(TimeoutError):  # Dask itself would wait a minute for a scheduler that hangs
            self.client.close(timeout=_CLOSE_TIMEOUT_S)
        super().__exit__(*exception)
