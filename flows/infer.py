"""The flow that runs every chunk of a manifest on the workers, and keeps the run's books."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    # Become `badc infer run` before the imports below: Dask's workers import their parent's main module again, which
    # would import Prefect with it.
    os.execv(sys.executable, [sys.executable, "-m", "flows", "infer", "run", *sys.argv[1:]])

import queue
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from pathlib import Path
from typing import Any, Literal

from prefect import State, Task, flow
from prefect.exceptions import Pause
from prefect.futures import PrefectFuture
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from badc.errors import MOST_LISTED, RequestError, numbered
from badc.inference.full_disk import FullDisk
from badc.inference.gathering import gather_embeddings
from badc.inference.ledger import RunLedger
from badc.inference.plan import InferPlan, PlannedChunk, plan_inference
from badc.inference.progress import Progress
from badc.inference.settings import InferSettings
from badc.system.paths import absolute, find_dataset_root, telemetry_log_named
from badc.telemetry.summary import RunState, resumable
from blocks.loading import filled_from_blocks
from flows.run.gpu_pool import turn_at_the_gpus
from flows.run.prefect_state import begun_before, final_state, leave_if_suspended, stop_of_own_run, stop_wanted
from flows.run.sessions import (
    InferOutcome,
    InferSession,
    OrchestrateOutcome,
    TogetherSession,
    current_session,
    state_of,
)
from flows.run.stopping import StopReason
from flows.server.local import note_task_run
from tasks.infer import InferTasks, batch_parameters, open_runner
from tasks.plain_log import log_plainly
from tasks.show.artifacts import RunArtifacts, run_title, show_recordings, shown, tag_flow_run
from tasks.silent_workers import SilentWorkers
from tasks.workers.body import begin_no_more
from tasks.workers.cluster import Cluster, WorkerLabels, open_cluster
from tasks.workers.signs import GONE
from tasks.workers.task_runner import ChunkTaskRunner

# Two tasks per slot: while one runs, the next one's engine is up and waits for the worker. More gains nothing.
_IN_FLIGHT_PER_SLOT = 2
# Tasks that wait for their retry need no worker, but each holds a thread.
MOST_UNDER_WAY = 512
_TICK_S = 0.25
# By `--chunks-per-task auto` a run of more chunks has up to twice as many task runs: each costs Prefect 20 kB and some
# 50 ms of a core.
_FEWEST_TASK_RUNS = 500
# And no batch is more than this part of a worker's share of what is left, so that all workers end at the same time.
_MOST_OF_SHARE = 0.25


def name_of_run(manifest: Path, dataset_root: Path | None) -> str:
    """Return the name of a run: `infer DATASET/MANIFEST`, or `infer MANIFEST` outside a dataset."""
    return f"infer {run_title(manifest, dataset_root or find_dataset_root(manifest))}"


def _name_of_run() -> str:
    settings = InferSettings.model_validate(flow_run.parameters["settings"])
    return name_of_run(settings.manifest, settings.dataset_root)


# retries=0: only runs of deployments are retried; whoever started one from a shell has its resume command.
@flow(name="infer", flow_run_name=_name_of_run, persist_result=False, retries=0)
def infer(settings: InferSettings) -> State:
    """Analyse a manifest's chunks; the flow run ends Completed, Failed (a chunk failed for good) or Cancelled."""
    log_plainly()
    session = current_session(InferSession)
    with ExitStack() as stack:
        if session is None:
            session = stack.enter_context(_own_session(settings))
        session.on_begin()
        stack.enter_context(session.stop.while_running(stop_wanted(flow_run.id)))
        if not session.shares_cluster:
            used = session.cluster.gpu_workers > 0
            stack.enter_context(turn_at_the_gpus(session.plan.settings, used, session.stop, session.say))
        InferRun(session.plan, session.cluster, session).complete()
    leave_if_suspended(flow_run.id, session.stop)
    outcome = session.outcome
    assert outcome is not None
    done = numbered(outcome.progress.done, "chunk")
    message = f"{done} done, {outcome.progress.failed} failed, {outcome.left} not run"
    if outcome.progress.skipped:
        message += f", {outcome.progress.skipped} done before"
    return final_state(outcome.state, message, outcome.errors)


def _name_of_together() -> str:
    parameters = flow_run.parameters
    return f"infer {parameters['dataset']}/{parameters['recordings'][0]} … {parameters['recordings'][-1]}"


@flow(name="infer-together", flow_run_name=_name_of_together, persist_result=False, retries=0)
def infer_together(dataset: str, recordings: list[str]) -> State:
    """Analyse short recordings of a dataset, for which a flow run each would take longer than the analysis.

    Each keeps its own outputs, telemetry, summary and lock, and fails alone. Only `orchestrate` starts it.
    """
    log_plainly()
    session = current_session(TogetherSession)
    if session is None:
        raise RequestError("only a run of a dataset starts this; start orchestrate")
    session.on_begin()
    tags = [f"dataset:{dataset}", *(f"recording:{recording}" for recording in recordings)]
    shown(lambda: tag_flow_run(str(flow_run.id), tags))
    with (
        session.stop.while_running(stop_wanted(flow_run.id)),
        open_runner(session.cluster, MOST_UNDER_WAY, session.slots) as shared,
        ThreadPoolExecutor(session.at_once) as pool,
    ):
        # Through the context, Prefect makes their task runs those of this flow run.
        under_way = [pool.submit(copy_context().run, run, shared) for run in session.runs]
        session.outcome = [outcome for future in under_way if (outcome := future.result()) is not None]
    leave_if_suspended(flow_run.id, session.stop)
    show_recordings(session.outcome)
    known = {outcome.recording_id for outcome in session.outcome}
    not_begun = [recording for recording in recordings if recording not in known]
    failed = any(outcome.state is RunState.FAILED for outcome in session.outcome)
    total = OrchestrateOutcome(state_of(session.outcome, not_begun, not failed), session.outcome, not_begun)
    return final_state(total.state, total.describe(), total.reasons())


@contextmanager
def _own_session(settings: InferSettings) -> Iterator[InferSession]:
    """Plan and prepare a run that Prefect started: from a deployment, or again after a failure."""
    say = get_run_logger().info
    plan = plan_inference(_continued(filled_from_blocks(settings)))
    stop = stop_of_own_run(plan.settings.grace_period_s, say)
    with (
        plan.locked(say),
        open_cluster(plan.settings, len(plan.todo)) as cluster,
    ):
        say(f"Workers: {cluster.note}")
        yield InferSession(plan=plan, cluster=cluster, say=say, stop=stop)


def _continued(settings: InferSettings) -> InferSettings:
    """Return the settings that resume what this flow run did before, if it is run again."""
    root = settings.dataset_root or find_dataset_root(settings.manifest)
    # Named after the flow run, so that a retry finds it.
    log = settings.telemetry_log or telemetry_log_named(
        settings.manifest, root and absolute(root), str(flow_run.id).split("-", maxsplit=1)[0]
    )
    again = settings.telemetry_log is None or begun_before(flow_run.id)
    resume = (resumable(log) if again else None) or settings.resume_summary
    return settings.model_copy(update={"telemetry_log": log, "resume_summary": resume})


class InferRun:
    """The inference of one manifest within a flow run, which may be that of several."""

    def __init__(self, plan: InferPlan, cluster: Cluster, session: InferSession) -> None:
        settings = plan.settings
        self._plan = plan
        self._cluster = cluster
        self._session = session
        self._ledger = RunLedger(plan)
        if not session.shares_cluster:
            for line in (f"Telemetry: {plan.telemetry_log}", *plan.audio_notes):
                session.say(line)
        # A flow run that several share has a table of them instead.
        self._artifacts = RunArtifacts(plan, of_dataset=session.shares_cluster) if session.shared is None else None
        self._full_disk = FullDisk(self._ledger, session.say)
        self._stop = session.stop
        self._wakeups: queue.SimpleQueue[PrefectFuture[Any] | None] = queue.SimpleQueue()
        self._run = uuid.uuid4().hex
        self._batches = InferTasks(
            self._ledger,
            WorkerLabels(cluster.labels).label_of,
            settings.max_retries,
            self._stop.requested,
            lambda: self._wakeups.put(None),
            session.say,
        )
        self._silent_workers = SilentWorkers(
            self._ledger, session.say, self._batches.silence_s, cluster.worker_timeout_s
        )
        self._said_no_worker = self._told_workers = False
        self._under_way: dict[PrefectFuture[Any], Sequence[PlannedChunk]] = {}
        self._errors = self._ledger.errors_of(planned.key for planned, _ in plan.unusable)[:MOST_LISTED]
        session.give_up = self._give_up

    def complete(self) -> None:
        """Run to the end, and set the session's outcome."""
        state = RunState.FAILED
        if self._artifacts is not None:
            self._artifacts.show_begin()
        try:
            if self._plan.todo:
                self._run_chunks()
            self._full_disk.wait(lambda: self._stop.out_of_patience)
            state = self._state([*self._ledger.check_disk(), *gather_embeddings(self._plan)])
        finally:
            self._ledger.finish(state)
        self._session.outcome = self._outcome()
        self._session.on_progress(self._session.outcome.progress)
        if self._artifacts is not None:
            self._artifacts.show_end(self._ledger)

    def _give_up(self) -> InferOutcome:
        self._ledger.finish(RunState.INTERRUPTED)
        return self._outcome()

    def _outcome(self) -> InferOutcome:
        progress = self._ledger.progress()
        return InferOutcome(
            state=self._ledger.summary.state,
            progress=progress,
            workers=self._ledger.summary.workers,
            errors=[*self._full_disk.errors, *self._errors][:MOST_LISTED],
            left=progress.total - progress.done - progress.failed,
            telemetry_log=self._plan.telemetry_log,
            output_dir=self._plan.order.output_dir,
        )

    def _run_chunks(self) -> None:
        with ExitStack() as stack:
            shared = self._session.shared or stack.enter_context(
                open_runner(self._cluster, MOST_UNDER_WAY, self._session.slots)
            )
            runner = shared.runner
            self._batches.slots = runner.slots
            stack.enter_context(shared.runs.one(self._run, self._batches))
            task = self._batches.task()
            size, whole = self._plan.settings.chunks_per_task, self._session.progress_of_all
            batches = _batches(self._plan.todo, size, runner.worker_count, whole)
            self._fill(runner, task, batches)
            while self._under_way:
                self._tick(runner)
                self._fill(runner, task, batches)

    def _fill(self, runner: ChunkTaskRunner, task: Task[..., Any], batches: Iterator[Any]) -> None:
        """Start just enough tasks for every worker, so that a failure stops the rest and memory stays flat."""
        window = _IN_FLIGHT_PER_SLOT * max(1, runner.worker_count())
        while not self._stop.requested.is_set():
            busy = len(self._under_way) - self._batches.waiting
            if busy >= window or len(self._under_way) >= MOST_UNDER_WAY:
                return
            batch = next(batches, None)
            if batch is None:
                return
            order, topic = self._plan.order, self._cluster.topic
            future = runner.submit(task, batch_parameters(batch, order, topic, self._run))
            self._under_way[future] = batch
            future.add_done_callback(self._wakeups.put)

    def _tick(self, runner: ChunkTaskRunner) -> None:
        """Wait a moment for tasks to end, account for those that did, and show the progress."""
        try:
            future = self._wakeups.get(timeout=_TICK_S)
            while True:
                if future is not None:
                    self._take_in(future)
                future = self._wakeups.get_nowait()
        except queue.Empty:
            pass
        if (why := runner.slots.why_lost()) is not None:
            self._lose_scheduler(why)
        if self._stop.requested.is_set() and not self._told_workers:
            self._told_workers = True
            runner.tell_workers(begin_no_more, self._run)
        if self._stop.out_of_patience:
            runner.abandon()
        if runner.worker_count() == 0 and not (self._said_no_worker or self._stop.requested.is_set()):
            self._said_no_worker = True
            self._session.say("No Dask worker is connected; the run continues as soon as one is")
        self._ledger.save()
        if self._full_disk.is_final():
            self._stop.request(StopReason.FAILED)
        self._silent_workers.look()
        progress = self._ledger.progress()
        self._session.on_progress(progress)
        if self._artifacts is not None:
            self._artifacts.show_progress(progress, self._ledger.gpu_utilization())

    def _lose_scheduler(self, why: str) -> None:
        if not self._stop.broken_off:
            self._stop.request(StopReason.SCHEDULER_LOST, self._cluster.lost(why))

    def _take_in(self, future: PrefectFuture[Any]) -> None:
        batch = self._under_way.pop(future)
        try:
            future.wait()
        except Pause:  # Prefect starts no task of a suspended run
            self._stop.request(StopReason.SUSPENDED)
            return
        if future.state.is_final():
            note_task_run(str(flow_run.id))
        if future.state.is_completed():
            return
        if future.state.is_cancelled() and not self._stop.requested.is_set():
            self._lose_scheduler(GONE)  # nobody else cancels what a worker does
        if self._stop.broken_off or future.state.is_cancelled():
            return  # no verdict on these chunks: they had attempts left
        left = [planned.key for planned in self._ledger.undone(batch)]
        self._ledger.failed_for_good(left)
        if len(self._errors) < MOST_LISTED:
            self._errors += self._ledger.errors_of(left) or [f"{batch[0].key}: {future.state.message}"]
        if not self._plan.settings.keep_going:
            self._stop.request(StopReason.FAILED)

    def _state(self, missing: Sequence[str]) -> RunState:
        lost = [self._stop.why] if self._stop.why is not None else []
        self._errors = [*lost, *missing, *self._errors][:MOST_LISTED]
        progress = self._ledger.progress()
        if progress.done == progress.total and not missing:
            return RunState.COMPLETED
        return RunState.INTERRUPTED if self._stop.interrupted else RunState.FAILED


def _batches(
    chunks: Sequence[PlannedChunk],
    size: int | Literal["auto"],
    workers: Callable[[], int],
    progress_of_all: Callable[[], Progress] | None = None,
) -> Iterator[tuple[PlannedChunk, ...]]:
    """Cut the chunks into the batches of task runs.

    `workers` returns how many tasks are done at once now, and `progress_of_all` how far the run is that these chunks
    are a part of.
    """
    begin = 0
    while left := len(chunks) - begin:
        all_left, total = left, len(chunks)
        if progress_of_all is not None:
            all_left, total = (whole := progress_of_all()).left, whole.total
        share = all_left / max(1, workers())
        auto = max(1, min(total // _FEWEST_TASK_RUNS, int(share * _MOST_OF_SHARE)))
        end = min(len(chunks), begin + (auto if size == "auto" else size))
        yield tuple(chunks[begin:end])
        begin = end
