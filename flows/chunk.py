"""The flow that cuts the recordings of a dataset into chunks, a batch of recordings per task run."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":  # become `badc chunk orchestrate … --apply`, as flows.infer does
    os.execv(sys.executable, [sys.executable, "-m", "flows", "chunk", "orchestrate", *sys.argv[1:], "--apply"])

import queue
import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Any

from prefect import State, flow
from prefect.futures import PrefectFuture
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner

from badc.datalad.environment import recording_wanted
from badc.datalad.record import record
from badc.datasets.chunking.decision import RecordingToChunk
from badc.datasets.chunking.elsewhere import plan_with_manifests
from badc.datasets.chunking.provenance import batch_run, batches, prepared, save_failures
from badc.datasets.chunking.recording import ChunkOutcome
from badc.datasets.chunking.settings import ChunkSettings
from badc.errors import BadcError
from badc.telemetry.summary import RunState
from blocks.loading import filled_from_blocks
from flows.run.prefect_state import final_state, leave_if_suspended, stop_wanted
from flows.run.sessions import CHUNKING_GRACE_PERIOD_S, ChunkRunOutcome, ChunkSession, current_session
from flows.run.stopping import Stop
from flows.server.local import note_task_run
from tasks.chunk import BatchChunker, batch_parameters, show_failures
from tasks.show.dataset import tag_dataset_run

_TICK_S = 0.25


def _name_of_run() -> str:
    settings = flow_run.parameters["settings"]
    return f"chunk {ChunkSettings.model_validate(settings).title}"


@flow(name="chunk", flow_run_name=_name_of_run, persist_result=False, retries=0)
def chunk(settings: ChunkSettings) -> State:
    """Chunk a dataset's recordings; the flow run ends Completed, Failed (a recording failed) or Cancelled."""
    session = current_session(ChunkSession)
    with ExitStack() as stack:
        if session is None:
            settings, say = filled_from_blocks(settings), get_run_logger().info
            recording, _ = recording_wanted(settings.root, settings.record_datalad)
            plan = plan_with_manifests(settings, recording, say)
            for note in plan.notes("--include-existing"):
                say(note)
            session = ChunkSession(plan=plan, recording=recording, stop=Stop(CHUNKING_GRACE_PERIOD_S, say), say=say)
            stack.enter_context(prepared(plan, recording, session.say))
        tag_dataset_run(session.plan.settings.title, session.plan.settings.pattern)
        _ChunkRun(session).complete()
    leave_if_suspended(flow_run.id, session.stop)
    outcome = session.outcome
    assert outcome is not None
    return final_state(outcome.state, outcome.describe(), outcome.reasons())


class _ChunkRun:
    def __init__(self, session: ChunkSession) -> None:
        self._session = session
        self._plan = session.plan
        self._todo = session.plan.todo
        self._lock = threading.Lock()
        self._done: set[str] = set()
        self._failures: dict[str, str] = {}
        self._not_recorded: list[tuple[str, str]] = []
        self._ended: queue.SimpleQueue[PrefectFuture[Any]] = queue.SimpleQueue()
        session.give_up = self._outcome

    def complete(self) -> None:
        """Run to the end, and set the session's outcome."""
        workers = self._plan.settings.workers
        stop = self._session.stop
        chunker = BatchChunker(
            self._plan.order,
            self._take_in,
            self._record,
            self._take_in_not_recorded,
            stopping=stop.requested.is_set,
            giving_up=lambda: stop.out_of_patience,
        )
        task = chunker.task()
        waiting = batches(self._todo, self._session.recording)
        under_way: dict[PrefectFuture[Any], Sequence[RecordingToChunk]] = {}
        runner: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=workers)
        with stop.while_running(stop_wanted(flow_run.id)), runner:
            while True:
                # One more than there are workers, so that no worker waits for a task to start.
                while len(under_way) <= workers and not stop.requested.is_set():
                    if (batch := next(waiting, None)) is None:
                        break
                    future = runner.submit(task, batch_parameters(batch))
                    under_way[future] = batch
                    future.add_done_callback(self._ended.put)
                if not under_way:
                    break
                self._wait(under_way)
        self._save_failures()
        self._session.outcome = outcome = self._outcome()
        show_failures(self._plan.settings.title, outcome.describe(), outcome.failures)

    def _save_failures(self) -> None:
        if self._session.recording and self._failures:
            try:
                save_failures(self._plan, self._failures.keys())
            except BadcError as error:  # the recordings have failed, which is what to report
                self._session.say(f"the chunk statuses of what failed are not saved: {error}")

    def _wait(self, under_way: dict[PrefectFuture[Any], Sequence[RecordingToChunk]]) -> None:
        with suppress(queue.Empty):
            future = self._ended.get(timeout=_TICK_S)
            self._account_for(future, under_way.pop(future))
        with self._lock:
            ended = len(self._done) + len(self._failures)
        self._session.on_progress(ended, len(self._todo))

    def _account_for(self, future: PrefectFuture[Any], batch: Sequence[RecordingToChunk]) -> None:
        """Count recordings as failed that an unstopped task run left undone: Prefect itself failed it."""
        future.wait()
        if future.state.is_final():
            note_task_run(str(flow_run.id))
        if self._session.stop.interrupted:
            return
        with self._lock:
            for recording in batch:
                if recording.audio not in self._done and recording.audio not in self._failures:
                    self._failures[recording.audio] = f"Prefect did not run it: {future.state.message}"

    def _take_in(self, outcome: ChunkOutcome) -> None:
        with self._lock:
            if outcome.error is None:
                self._done.add(outcome.audio)
            else:
                self._failures[outcome.audio] = outcome.error

    def _record(self, recordings: Sequence[RecordingToChunk]) -> None:
        if self._session.recording:
            record(batch_run(self._plan.settings, self._plan.order, recordings))

    def _take_in_not_recorded(self, recordings: Sequence[RecordingToChunk], reason: str) -> None:
        with self._lock:
            self._not_recorded += [(recording.audio, reason) for recording in recordings]

    def _outcome(self) -> ChunkRunOutcome:
        done, failed = len(self._done), len(self._failures)
        left = len(self._todo) - done - failed
        state = RunState.FAILED if failed or self._not_recorded else RunState.COMPLETED
        if self._session.stop.interrupted and left:
            state = RunState.INTERRUPTED
        failures = sorted(self._failures.items())
        return ChunkRunOutcome(state, done, failed, left, failures, sorted(self._not_recorded))
