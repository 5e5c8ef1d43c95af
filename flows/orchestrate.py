"""The flow that analyses a dataset: a subflow per recording, several at a time, on one warm cluster."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":  # become `badc infer orchestrate … --apply`, as flows.infer does
    os.execv(sys.executable, [sys.executable, "-m", "flows", "infer", "orchestrate", *sys.argv[1:], "--apply"])

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, contextmanager, nullcontext
from contextvars import copy_context
from dataclasses import replace
from functools import partial

from prefect import State, flow
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from badc.datalad.environment import recording_wanted
from badc.datasets.inference.elsewhere import plan_with_content
from badc.datasets.inference.plan import (
    OrchestrationPlan,
    lost_since,
    require_installed,
    require_runnable,
)
from badc.datasets.inference.provenance import fetch_inputs, record_recording, require_recordable
from badc.datasets.inference.recording import RecordingToInfer
from badc.datasets.inference.settings import OrchestrateSettings
from badc.datasets.inference.staging import Stage
from badc.datasets.inference.streaming import AudioStream, require_streamable
from badc.errors import BadcError, RequestError
from badc.inference.gathering import require_gathered
from badc.inference.plan import InferPlan, plan_inference
from badc.recordings.dataset_file import keep_layout
from badc.system.threads import in_threads
from badc.telemetry.summary import RunState
from blocks.loading import filled_from_blocks
from flows.infer import InferRun, infer, infer_together
from flows.run.dataset_progress import DatasetProgress
from flows.run.gpu_pool import turn_at_the_gpus
from flows.run.one_start import OneStart
from flows.run.prefect_state import begun_before, final_state, leave_if_suspended, stop_of_own_run, stop_wanted
from flows.run.reports import DatasetReports
from flows.run.sessions import (
    InferOutcome,
    InferSession,
    OrchestrateOutcome,
    OrchestrateSession,
    RecordingOutcome,
    TogetherSession,
    current_session,
    error_of,
    handing_over,
)
from flows.run.stopping import StopReason
from flows.run.waiting_recordings import WaitingRecordings
from tasks.infer import SharedRunner
from tasks.show.dataset import tag_dataset_run, tell_if_analysed
from tasks.show.recordings_table import RecordingsTable, show_reports
from tasks.workers.cluster import open_cluster
from tasks.workers.slots import WorkerSlots, slots_of

_TICK_S = 0.25


def _name_of_run() -> str:
    return f"orchestrate {OrchestrateSettings.model_validate(flow_run.parameters['settings']).title}"


@flow(name="orchestrate", flow_run_name=_name_of_run, persist_result=False, retries=0)
def orchestrate(settings: OrchestrateSettings) -> State:
    """Analyse every incomplete recording of a dataset on one cluster, and make the requested reports.

    The flow run ends Completed, Failed (a recording failed) or Cancelled.
    """
    session = current_session(OrchestrateSession)
    with ExitStack() as stack:
        if session is None:
            session = stack.enter_context(_own_session(settings))
        stack.enter_context(session.plan.locked())
        tag_dataset_run(session.plan.settings.title, session.plan.settings.pattern)
        slots = stack.enter_context(slots_of(session.cluster))
        stack.enter_context(session.stop.while_running(stop_wanted(flow_run.id)))
        used = session.cluster.gpu_workers > 0
        stack.enter_context(turn_at_the_gpus(session.plan.settings, used, session.stop, session.say))
        stage = None
        if (folder := session.plan.settings.stage_dir) is not None:
            stage = stack.enter_context(closing(Stage(folder, session.stop.requested.is_set)))
        _OrchestrateRun(session, slots, stage).complete()
    leave_if_suspended(flow_run.id, session.stop)
    outcome = session.outcome
    assert outcome is not None
    return final_state(outcome.state, outcome.describe(), outcome.reasons())


@contextmanager
def _own_session(settings: OrchestrateSettings) -> Iterator[OrchestrateSession]:
    """Plan and prepare a run that Prefect started: from a deployment, or again after a failure."""
    say = get_run_logger().info
    settings = filled_from_blocks(settings)
    if begun := begun_before(flow_run.id):
        settings = settings.going_on(begun)
    plan = plan_with_content(settings, say)
    require_runnable(plan)
    require_installed(plan)
    require_streamable(plan)
    recording, problem = recording_wanted(settings.root, settings.record_datalad)
    if problem is not None:
        say(f"the runs are not recorded in the dataset: {problem}")
    if recording:
        require_recordable(plan)
    with open_cluster(settings) as cluster:
        say(f"Workers: {cluster.note}")
        stop = stop_of_own_run(settings.grace_period_s, say)
        yield OrchestrateSession(plan=plan, recording=recording, cluster=cluster, stop=stop, say=say)


class _OrchestrateRun:
    def __init__(self, session: OrchestrateSession, slots: WorkerSlots, stage: Stage | None) -> None:
        self._session = session
        self._stage = stage
        self._plan: OrchestrationPlan = session.plan
        self._slots = slots
        self._stop = session.stop
        self._lock = threading.Lock()
        self._progress = DatasetProgress(self._plan.todo)
        self._waiting = WaitingRecordings(self._plan, self._progress, self._stop.requested.is_set)
        self._sessions: dict[str, InferSession] = {}
        self._ended: list[RecordingOutcome] = []
        self._reports = DatasetReports(self._plan, session.say, lambda: not self._progress.total().left)
        self._starts = OneStart()
        self._stream: AudioStream | None = None
        self._table = RecordingsTable(self._plan)
        session.give_up = self._give_up

    def complete(self) -> None:
        """Run to the end, and set the session's outcome."""
        if self._plan.settings.slurm_task is None:  # the command that wrote the array has kept it
            keep_layout(self._plan.settings.root, self._plan.settings.layout)
        under_way: set[Future[None]] = set()
        logs = f"Telemetry: {self._plan.settings.telemetry_folder}, a log for each recording"
        for line in (f"Runner: {self._plan.runner.description}", logs, *self._plan.audio_notes):
            self._session.say(line)
        if self._plan.settings.streams and self._plan.todo:
            self._stream = AudioStream(self._plan, self._session.say, self._stop.requested.is_set)
        # Between recordings that DataLad records, files are fetched and saved, which takes longer.
        alone = self._session.recording or self._stream is not None
        with ThreadPoolExecutor(self._waiting.most_threads) as pool:
            while under_way or (self._waiting and not self._stop.requested.is_set()):
                while self._waiting.may_begin(len(under_way)):
                    # Through the context, Prefect makes it a subflow of this run.
                    under_way.add(pool.submit(copy_context().run, self._run_next, self._waiting.take(alone)))
                done, under_way = wait(under_way, timeout=_TICK_S, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                self._tell()
        if self._stream is not None:
            self._stream.close()
        self._look_again()
        reported, not_begun = self._reports.make_missing(self._stop.requested.is_set)
        for each in reported:
            self._table.ended(each.recording_id, each.state, each.error)
        self._ended += reported
        not_begun += self._waiting.ids
        self._session.outcome = total = self._reports.outcome(self._ended, not_begun, self._stop.interrupted)
        self._table.close()
        tell_if_analysed(self._plan.settings, total.state)
        if self._plan.settings.bundle or total.rollup is not None:
            show_reports(self._plan, self._reports.pages, total.rollup)

    def _run_next(self, recordings: Sequence[RecordingToInfer]) -> None:
        if len(recordings) == 1:
            self._run_recording(recordings[0], self._waiting.analysed)
            return
        try:
            self._run_together(recordings)
        finally:
            self._waiting.analysed()

    def _run_together(self, recordings: Sequence[RecordingToInfer]) -> None:
        """Run short recordings in one flow run; what could not be run in it waits on, or has failed."""
        at_once = self._waiting.at_once_of(recordings, self._slots.count())
        session = TogetherSession(
            runs=[partial(self._run_in, recording, at_once) for recording in recordings],
            at_once=at_once,
            cluster=self._session.cluster,
            slots=self._slots,
            stop=self._stop.part(),
            say=self._session.say,
        )
        ids = [recording.recording_id for recording in recordings]
        with handing_over(session), self._starts.turn() as session.on_begin:
            error = error_of(lambda: infer_together(self._plan.settings.title, ids, return_state=True))
        if session.outcome is None:
            reason = str(error or "its flow run ended without an outcome")
            with self._lock:
                known = {outcome.recording_id for outcome in self._ended}
            for recording in recordings:
                if recording.recording_id not in known:
                    self._take_in(RecordingOutcome.failed_to_run(recording, reason))

    def _run_in(self, recording: RecordingToInfer, at_once: int, shared: SharedRunner) -> RecordingOutcome | None:
        """Run a recording in a flow run that it shares; return None if the run stops before."""
        with self._waiting.turn_in_shared(at_once):
            if self._stop.requested.is_set():
                self._waiting.put_back(recording)
                return None
            return self._run_recording(recording, lambda: None, shared)

    def _take_in(self, outcome: RecordingOutcome) -> None:
        with self._lock:
            self._ended.append(outcome)
            self._sessions.pop(outcome.recording_id, None)
        if (progress := self._progress.end(outcome.recording_id)) is not None:
            self._table.note({outcome.recording_id: progress})
        self._table.ended(outcome.recording_id, outcome.state, outcome.error)
        if outcome.state is RunState.FAILED and self._plan.settings.fail_fast:
            self._stop.request(StopReason.FAILED)

    def _look_again(self) -> None:
        """Mark recordings as failed whose outputs or logs were deleted while the others ran."""
        complete = [n for n, outcome in enumerate(self._ended) if outcome.state is RunState.COMPLETED]
        planned = {recording.recording_id: recording for recording in self._plan.todo}
        recordings = [planned[self._ended[n].recording_id] for n in complete]
        lost = in_threads(partial(lost_since, self._plan), recordings)
        for n, reason in zip(complete, lost, strict=True):
            if reason is not None:
                self._ended[n] = replace(self._ended[n], state=RunState.FAILED, error=reason)
                self._table.ended(self._ended[n].recording_id, RunState.FAILED, reason)
                self._session.say(f"{self._ended[n].recording_id}: {reason}")

    def _give_up(self) -> OrchestrateOutcome:
        """Close the books, also of the recordings under way."""
        ended = list(self._ended)
        known = {outcome.recording_id for outcome in ended}
        for recording_id, session in self._sessions.copy().items():
            if recording_id not in known and (part := session.outcome or session.give_up()) is not None:
                ended.append(RecordingOutcome.of(recording_id, part))
        return OrchestrateOutcome(RunState.INTERRUPTED, ended, self._waiting.ids)

    def _run_recording(
        self, recording: RecordingToInfer, analysed: Callable[[], None], shared: SharedRunner | None = None
    ) -> RecordingOutcome:
        """Run a recording, call `analysed`, and do what follows; any error becomes the failure of this one alone."""
        outcome = self._tried(recording, analysed, shared)
        if self._stream is not None:
            self._stream.ended(recording)
            if outcome.state is RunState.FAILED and self._stream.again(recording):
                self._session.say(f"{recording.recording_id}: tried once more after the others")
                self._waiting.put_back(recording)
                return outcome
        self._take_in(outcome)
        return outcome

    def _tried(
        self, recording: RecordingToInfer, analysed: Callable[[], None], shared: SharedRunner | None
    ) -> RecordingOutcome:
        self._table.begun(recording.recording_id)
        try:
            try:
                outcome = self._infer(recording, shared)
            finally:
                analysed()
            return self._finished(recording, outcome)
        except RequestError as error:
            self._session.say(f"{recording.recording_id}: {error}")
            return RecordingOutcome.failed_to_run(recording, str(error), needs_mending=True)
        except BadcError as error:
            reason = str(error)
        except OSError as error:
            reason = f"{error.filename or recording.manifest}: {error.strerror or error}"
        except Exception as error:  # a bug in one recording must not end the run of the others
            reason = f"{type(error).__name__}: {error}"
        self._session.say(f"{recording.recording_id}: {reason}")
        return RecordingOutcome.failed_to_run(recording, reason)

    def _infer(self, recording: RecordingToInfer, shared: SharedRunner | None) -> InferOutcome | None:
        """Run the chunks that are left; return None if there are none."""
        if self._stream is not None:
            self._stream.wait_for(recording)
        if self._session.recording:
            fetch_inputs(self._plan, recording, self._session.say)
        plan = plan_inference(self._plan.infer_settings(recording), runner=self._plan.runner)
        if not plan.todo and not plan.unusable:
            require_gathered(plan)
            return None
        staged = nullcontext(plan) if self._stage is None else self._stage.of(plan, self._say_of(recording))
        with plan.locked(self._session.say), staged as plan:
            return self._run_plan(recording, plan, shared)

    def _run_plan(self, recording: RecordingToInfer, plan: InferPlan, shared: SharedRunner | None) -> InferOutcome:
        """Run the chunks of a recording in a flow run of its own, or in the one that `shared` belongs to."""
        session = InferSession(
            plan=plan,
            cluster=self._session.cluster,
            stop=self._stop.part(),
            on_progress=partial(self._progress.note, recording),
            say=self._say_of(recording),
            slots=self._slots,
            shared=shared,
            progress_of_all=self._progress.total,
        )
        self._sessions[recording.recording_id] = session
        if shared is not None:
            InferRun(plan, session.cluster, session).complete()
            assert session.outcome is not None
            return session.outcome
        with handing_over(session), self._starts.turn() as session.on_begin:
            error = error_of(lambda: infer(plan.settings, return_state=True))
        if session.outcome is None:  # what counts is that the chunks were run, not that the server knows
            raise error or BadcError("its flow run ended without an outcome")
        return session.outcome

    def _finished(self, recording: RecordingToInfer, outcome: InferOutcome | None) -> RecordingOutcome:
        """Record and report a recording's run, and return how it ended."""
        state = RunState.COMPLETED if outcome is None else outcome.state
        commit = None
        # Like `datalad run`, save nothing of a failed run: the run that completes it records everything.
        if self._session.recording and outcome is not None and state is RunState.COMPLETED:
            commit = record_recording(self._plan, recording)
        if outcome is None:
            ended = RecordingOutcome(recording.recording_id, state, recording.chunks, 0, 0, commit=commit)
        else:
            ended = RecordingOutcome.of(recording.recording_id, outcome, commit)
        # Also of one with failed chunks, which may never succeed: the coverage says what is missing.
        if self._plan.settings.bundle and ended.done and state in (RunState.COMPLETED, RunState.FAILED):
            try:
                self._reports.make(recording)
            except (BadcError, OSError) as error:
                if state is RunState.COMPLETED:
                    raise
                self._session.say(f"{recording.recording_id}: its tables: {error}")
        return ended

    def _say_of(self, recording: RecordingToInfer) -> Callable[[str], None]:
        return lambda line: self._session.say(f"{recording.recording_id}: {line}")

    def _tell(self) -> None:
        """Report the progress of all recordings together, and whether anything can still be done."""
        if (why := self._slots.why_lost()) is not None and not self._stop.broken_off:
            self._stop.request(StopReason.SCHEDULER_LOST, self._session.cluster.lost(why))
            self._session.say(f"{self._stop.why}")
        self._session.on_progress(self._progress.total())
        self._table.show(self._progress.under_way())
