"""The Prefect task that analyses a batch of chunks, with Prefect's own retries."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from distributed import KilledWorker
from distributed.client import FutureCancelledError
from prefect import State, Task
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext
from prefect.runtime import task_run
from prefect.states import Cancelled, Completed
from prefect.utilities.annotations import quote

from badc.errors import BadcError, numbered
from badc.inference.attempt import Attempt
from badc.inference.ledger import RunLedger
from badc.inference.plan import InferOrder, PlannedChunk
from badc.telemetry.events import FailureKind
from tasks.silent_workers import RETIRED, tell_of_worker
from tasks.workers.body import infer_chunks
from tasks.workers.cluster import Cluster
from tasks.workers.slots import WorkerSlots
from tasks.workers.task_runner import ChunkTaskRunner, WorkersDiedError


class CallsWorker(Protocol):
    """A function that runs on a worker: on the first free one, or on a certain one."""

    def __call__(self, *args: Any) -> list[dict[str, Any]]:
        """Call it there."""

    def bound(
        self,
        preferred: str | None,
        avoided: Collection[str],
        reported: Callable[[], list[dict[str, Any]] | None],
        left: Callable[[], Sequence[PlannedChunk]],
    ) -> CallsWorker:
        """Return the same for the `preferred` worker, or none of the `avoided` ones if there are others.

        `reported` stands in for a result that does not come, and `left` for the first argument.
        """


_LONGEST_BACKOFF_S = 60.0


class ChunksFailedError(BadcError):
    """Chunks of a task failed in this attempt; the text says why for each."""


def backoffs_s(max_retries: int) -> list[float]:
    """Return the delay before each retry in seconds: 2, 4, 8, … up to a minute."""
    return [min(2.0 ** (number + 1), _LONGEST_BACKOFF_S) for number in range(max_retries)]


@dataclass(frozen=True, slots=True)
class _Reported:
    """What workers reported of the ends of an attempt at some chunks; `awaited` is what comes in, under the `lock`."""

    keys: Sequence[str]
    awaited: dict[str, dict[str, Any] | None]
    lock: threading.Lock

    def so_far(self) -> dict[str, dict[str, Any]]:
        """Return the reports by the chunks' keys."""
        with self.lock:
            return {key: report for key in self.keys if (report := self.awaited[key]) is not None}

    def if_all(self) -> list[dict[str, Any]] | None:
        """Return the reports once all are there, None until then."""
        reports = self.so_far()
        return list(reports.values()) if len(reports) == len(self.keys) else None

    def without(self, chunks: Sequence[PlannedChunk]) -> list[PlannedChunk]:
        """Return those of the chunks that have no report."""
        reports = self.so_far()
        return [planned for planned in chunks if planned.key not in reports]

    def together_with(self, returned: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return all reports, with those that a worker returned: events are not certain to arrive."""
        by_key = self.so_far() | {Attempt.from_message(each["attempt"]).key: each for each in returned}
        return [by_key[key] for key in self.keys if key in by_key]


class InferTasks:
    """What surrounds each attempt of a task in the flow's process: the books, and whether to start.

    `label_of` turns a worker's Dask address, its name and whether it has a GPU into its label. Once `stopping` is set,
    no attempt starts. `wake` is called when a task begins to wait for its retry, so that its worker can have another.
    `slots`, set before the first attempt, learn how many chunks at once a worker takes, and how chunks ended there.
    """

    def __init__(
        self,
        ledger: RunLedger,
        label_of: Callable[[str, object, bool], str],
        max_retries: int,
        stopping: threading.Event,
        wake: Callable[[], None],
        say: Callable[[str], None],
    ) -> None:
        self._ledger = ledger
        self._label_of = label_of
        self._backoffs_s = backoffs_s(max_retries)
        self._stopping = stopping
        self._lock = threading.Lock()
        self._waiting: set[str] = set()
        self._wake = wake
        self._say = say
        self.slots = WorkerSlots(dict)
        self._warned: set[tuple[str, str]] = set()
        self._same_worker_again: dict[str, str] = {}
        self._addresses: dict[str, str] = {}  # by the workers' labels
        # The workers on which a task has failed: the next attempt is made on another, if there is one.
        self._failed_on: defaultdict[str, set[str]] = defaultdict(set)
        # The chunks that workers have now, each with the reported end of its attempt, or None.
        self._awaited: dict[str, dict[str, Any] | None] = {}

    @property
    def waiting(self) -> int:
        """The number of tasks that wait for their retry, and so need no worker now."""
        with self._lock:
            return len(self._waiting)

    def task(self) -> Task[..., Any]:
        """Return the Prefect task that runs a batch of chunks."""
        return Task(
            fn=infer_chunks,
            name="infer-chunks",
            task_run_name=_name_of_batch,  # type: ignore[arg-type] # Prefect types its callback as a class
            retries=len(self._backoffs_s),
            retry_delay_seconds=list(self._backoffs_s),
            retry_condition_fn=lambda task, run, state: not self._stopping.is_set(),
            cache_policy=NO_CACHE,
            persist_result=False,
        )

    def around(
        self,
        on_worker: CallsWorker,
        batch: Sequence[PlannedChunk],
        order: InferOrder,
        topic: str,
        run: str,
    ) -> State[Any]:
        """Run one attempt at the chunks of `batch` that are not done yet; return the state of the task run.

        That is Cancelled if the run is stopping. Raises ChunksFailedError if a chunk failed: Prefect then retries.
        """
        name = batch[0].key
        with self._lock:
            self._waiting.discard(name)
            preferred = self._same_worker_again.pop(name, None)
            avoided = frozenset(self._failed_on.get(name, ()))
        if self._stopping.is_set():
            return Cancelled(message="The run was stopped before this began.")
        _tag_task_run(batch, order)
        todo = self._ledger.undone(batch)
        keys = [planned.key for planned in todo]
        backoff_s = self._backoff_after_this_attempt()
        self._ledger.expect(keys, backoff_s)
        try:
            # A retry takes the chunks one by one, and alone, so that one that broke the call, or the runner's process,
            # for others too cannot do so again.
            order = order if (task_run.run_count or 1) == 1 else replace(order, in_one_call=False, alone=True)
            with self._reports_of(keys) as reported:
                # A worker that takes over from one that died does not do again what that one had ended.
                bound = on_worker.bound(preferred, avoided, reported.if_all, lambda: reported.without(todo))
                reports = reported.together_with(bound(todo, order, topic, run))
                ended = self._settle(name, reports)
        except FutureCancelledError:
            self._ledger.close_open(keys, "interrupted before it ended")
            return Cancelled(message="The run was stopped while a worker was busy with this.")
        except CancelledError:
            return Cancelled(message="The run was stopped before this began.")
        except (WorkersDiedError, KilledWorker) as error:
            # The second is Dask's, of a worker that came back each time, at the same address.
            self._ledger.close_open(keys, "the worker died during this attempt")
            raise self._retried_later(name, backoff_s, str(error)) from None
        if len(reports) < len(todo):
            return Cancelled(message=f"{_described(ended)}; then the run was stopped.")
        if left := self._ledger.undone(todo):
            reasons = self._ledger.errors_of(planned.key for planned in left)
            raise self._retried_later(name, backoff_s, "\n".join(reasons))
        with self._lock:
            self._failed_on.pop(name, None)
        return Completed(message=_described(ended))

    def may_start(self) -> bool:
        """Whether a task that waits for a worker may still begin."""
        return not self._stopping.is_set()

    def silence_s(self, label: str) -> float | None:
        """Return for how long a worker has given no sign of life; None if it is not there, or never reported."""
        with self._lock:
            address = self._addresses.get(label)
        return None if address is None else self.slots.silence_s(address)

    def report(self, event: tuple[float, dict[str, Any]]) -> None:
        """Handle a worker's report of a start or an end, as Dask delivers it."""
        worker, attempt = self._read(event[1])
        if attempt.ok is None:
            self._ledger.started(attempt, worker)
            return
        is_new = self._ledger.ended(attempt, worker)
        self._heed(worker, event[1]["worker"], attempt)
        with self._lock:
            if is_new and attempt.key in self._awaited:
                self._awaited[attempt.key] = event[1]

    @contextmanager
    def _reports_of(self, keys: Sequence[str]) -> Iterator[_Reported]:
        """Keep the reported ends of attempts at these chunks during the block."""
        with self._lock:
            self._awaited |= dict.fromkeys(keys)
        try:
            yield _Reported(keys, self._awaited, self._lock)
        finally:
            with self._lock:
                for key in keys:
                    del self._awaited[key]

    def _settle(self, name: str, reports: Sequence[dict[str, Any]]) -> list[tuple[str, Attempt]]:
        """Enter the ends of attempts in the books; return them, each with its worker."""
        ended = [self._read(report) for report in reports]
        for report, (worker, attempt) in zip(reports, ended, strict=True):
            _tag(f"worker:{worker}")
            self._ledger.ended(attempt, worker)
            self._heed(worker, report["worker"], attempt)
            self._judge(name, worker, report["worker"], attempt)
            if attempt.details.get("failure_kind") == FailureKind.GPU_OUT_OF_MEMORY:
                # Its runner was ended, so the memory is free again; another GPU would be no larger.
                with self._lock:
                    self._same_worker_again[name] = report["worker"]
        return ended

    def _judge(self, name: str, worker: str, address: str, attempt: Attempt) -> None:
        """Remember on which workers a task failed, and tell of those that from now on get no more."""
        if attempt.ok:
            for label, text in self.slots.succeeded(address, attempt.key):
                self._say(f"{self._ledger.named(label)}: gets no more chunks in this run: {text}")
                self._ledger.worker_is_retired(label, attempt.key, text)
                tell_of_worker(RETIRED, label, attempt.key)
            return
        with self._lock:
            self._failed_on[name].add(address)
        self.slots.failed(address, worker, attempt.key, str(attempt.details.get("error", "")))

    def _heed(self, worker: str, address: str, attempt: Attempt) -> None:
        """Pass on what an attempt says of its worker, each thing once."""
        details = attempt.details
        if (trouble := details.get("gpu_trouble")) is not None:
            self._say_once(worker, "gpu", trouble)
        if (note := details.get("note")) is not None:
            self._say_once(worker, "note", f"{attempt.key}: {note} (said once; the chunks' notes have the others)")
        if (engine := details.get("engine")) is not None:
            # The same on most workers, so once for all of them.
            self._say_once("", engine, f"{worker}: the model runs in {engine}")
        if (reason := details.get("why_fewer_at_once")) is not None:
            at_once = details["chunks_at_once"]
            self.slots.limit(address, at_once)
            chunks = numbered(at_once, "chunk")
            self._say_once(worker, f"at once: {at_once}", f"from now on {chunks} at once, no more: {reason}")

    def _say_once(self, worker: str, what: str, text: str) -> None:
        """Say a text of a worker, or of all of them (""), unless the same was said of it."""
        with self._lock:
            is_new = (worker, what) not in self._warned
            self._warned.add((worker, what))
        if is_new:
            self._say(f"{worker}: {text}" if worker else text)

    def _read(self, report: dict[str, Any]) -> tuple[str, Attempt]:
        attempt = Attempt.from_message(report["attempt"])
        label = self._label_of(report["worker"], report["name"], attempt.gpu_index is not None)
        with self._lock:
            self._addresses[label] = report["worker"]
        return label, attempt

    def _backoff_after_this_attempt(self) -> float | None:
        number = (task_run.run_count or 1) - 1
        return self._backoffs_s[number] if number < len(self._backoffs_s) else None

    def _retried_later(self, name: str, backoff_s: float | None, reason: str) -> ChunksFailedError:
        if backoff_s is not None and not self._stopping.is_set():
            with self._lock:
                self._waiting.add(name)
            self._wake()
        return ChunksFailedError(reason)


class RunsTogether:
    """The runs that share a task runner: each attempt, and each report of a worker, belongs to one of them."""

    def __init__(self) -> None:
        self._tasks: dict[str, InferTasks] = {}

    @contextmanager
    def one(self, run: str, tasks: InferTasks) -> Iterator[None]:
        """Let a run of this name have its part of them during the block."""
        self._tasks[run] = tasks
        try:
            yield
        finally:
            del self._tasks[run]

    def around(
        self, on_worker: CallsWorker, batch: Sequence[PlannedChunk], order: InferOrder, topic: str, run: str
    ) -> State[Any]:
        """Run one attempt (see `InferTasks.around`)."""
        return self._tasks[run].around(on_worker, batch, order, topic, run)

    def may_start(self, batch: Sequence[PlannedChunk], order: InferOrder, topic: str, run: str) -> bool:
        """Whether a task that waits for a worker may still begin."""
        return self._tasks[run].may_start()

    def report(self, event: tuple[float, dict[str, Any]]) -> None:
        """Handle a worker's report (see `InferTasks.report`); one of a run elsewhere, or that has ended, is ignored."""
        if (tasks := self._tasks.get(event[1]["run"])) is not None:
            tasks.report(event)


@dataclass(frozen=True, slots=True)
class SharedRunner:
    """A task runner that is open, and the runs that have it."""

    runner: ChunkTaskRunner
    runs: RunsTogether


@contextmanager
def open_runner(cluster: Cluster, engine_threads: int, slots: WorkerSlots | None) -> Iterator[SharedRunner]:
    """Yield a task runner on a cluster, for one run or several; see `ChunkTaskRunner`."""
    runs = RunsTogether()
    runner = ChunkTaskRunner(
        address=cluster.address,
        client_kwargs={"security": cluster.security},
        engine_threads=engine_threads,
        around=runs.around,
        may_start=runs.may_start,
        slots=slots,
        most_at_once=cluster.most_at_once,
        spare_threads=cluster.spare_threads,
        scheduler_patience_s=cluster.scheduler_patience_s,
    )
    with runner:
        runner.client.subscribe_topic(cluster.topic, runs.report)
        yield SharedRunner(runner, runs)


def _described(ended: Sequence[tuple[str, Attempt]]) -> str:
    """Say what a task run's last attempt did: its worker, how many chunks if several, seconds, detections."""
    worker = ended[0][0] if ended else "no worker"
    took_s = sum(attempt.runtime_s or 0.0 for _, attempt in ended)
    detections = sum(count for _, attempt in ended for count, *_ in attempt.found.values())
    chunks = "" if len(ended) == 1 else f"{numbered(len(ended), 'chunk')} in "
    return f"{worker}: {chunks}{took_s:.1f} s, {numbered(detections, 'detection')}"


def _tag_task_run(batch: Sequence[PlannedChunk], order: InferOrder) -> None:
    _tag(f"runner:{order.runner.name}")
    recordings = {planned.chunk.recording_id for planned in batch}
    if len(recordings) == 1:
        _tag(f"recording:{recordings.pop()}")


def _tag(tag: str) -> None:
    """Tag the task run of this thread; the server learns of it with the task's next state.

    Not before it runs: Prefect asks the server for a concurrency limit for each tag that a task run begins with.
    """
    context = TaskRunContext.get()
    if context is not None and tag not in context.task_run.tags:
        context.task_run.tags.append(tag)


def batch_parameters(batch: Sequence[PlannedChunk], order: InferOrder, topic: str, run: str) -> dict[str, Any]:
    """Return the parameters of a task run, quoted so that Prefect does not search them for futures."""
    return {"batch": quote(tuple(batch)), "order": quote(order), "topic": topic, "run": run}


def _name_of_batch(parameters: dict[str, Any]) -> str:
    batch = parameters["batch"]
    chunks = batch.unquote() if isinstance(batch, quote) else batch
    return chunks[0].key if len(chunks) == 1 else f"{chunks[0].key} and {len(chunks) - 1} more"
