"""What a command hands to the flow run that it starts in its own process, and what the run leaves behind.

A flow that Prefect starts from a deployment gets none of this: it plans, starts its cluster and reports by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from badc.errors import MOST_LISTED, BadcError, numbered
from badc.inference.progress import Progress
from badc.telemetry.summary import RunState, WorkerCount
from flows.run.stopping import Stop

if TYPE_CHECKING:  # importing these takes seconds, during which the server can start
    from prefect import State

    from badc.datasets.chunking.plan import DatasetPlan
    from badc.datasets.inference.plan import OrchestrationPlan
    from badc.datasets.inference.recording import RecordingToInfer
    from badc.detections.aggregate import Aggregation
    from badc.inference.plan import InferPlan
    from badc.reports.rankings.rollup import Rollup
    from tasks.infer import SharedRunner
    from tasks.workers.cluster import Cluster
    from tasks.workers.slots import WorkerSlots

CHUNKING_GRACE_PERIOD_S = 10.0

Outcome = TypeVar("Outcome")
S = TypeVar("S", bound="Session[Any]")


@dataclass(slots=True, kw_only=True)
class Session(Generic[Outcome]):
    """A flow run under way in this process; `outcome` is set when it has ended.

    `stop` heeds signals from the start if a command started the run. `say` prints a line for the user, from several
    threads. `give_up` closes the books as they are, from any thread, and returns the outcome, or None without books
    yet.
    """

    stop: Stop
    say: Callable[[str], None] = field(default=lambda line: None)
    outcome: Outcome | None = None
    give_up: Callable[[], Outcome | None] = field(default=lambda: None)


@dataclass(frozen=True, slots=True)
class ChunkRunOutcome:
    """How the chunking of a dataset ended; `done`, `failed` and `left` (not begun or not finished) count recordings.

    `failures` and `not_recorded` (chunked, but not recorded in the dataset) pair a recording's path below the dataset
    with the reason.
    """

    state: RunState
    done: int
    failed: int
    left: int
    failures: Sequence[tuple[str, str]]
    not_recorded: Sequence[tuple[str, str]] = ()

    def describe(self) -> str:
        """Return the outcome in one line."""
        done = numbered(self.done, "recording")
        return f"{done} chunked, {self.failed} failed, {self.left} not begun or not finished"

    def reasons(self) -> list[str]:
        """Return a line per failure, at most as many as a person reads."""
        return [f"{name}: {error}" for name, error in (*self.failures, *self.not_recorded)][:MOST_LISTED]


@dataclass(slots=True, kw_only=True)
class ChunkSession(Session[ChunkRunOutcome]):
    """The chunking of a dataset; the places of `plan` are checked and locked.

    `recording` says whether a DataLad dataset records it. `on_progress` gets the number of recordings that have ended,
    and of all.
    """

    plan: DatasetPlan
    recording: bool
    on_progress: Callable[[int, int], None] = field(default=lambda done, total: None)


@dataclass(frozen=True, slots=True)
class InferOutcome:
    """How a manifest's inference ended: `workers` by label, the first failures as `errors`, `left` chunks not run."""

    state: RunState
    progress: Progress
    workers: dict[str, WorkerCount]
    errors: list[str]
    left: int
    telemetry_log: Path
    output_dir: Path


@dataclass(slots=True, kw_only=True)
class InferSession(Session[InferOutcome]):
    """The inference of one manifest; the outputs of `plan` are locked.

    The command starts `cluster` while the Prefect server comes up. `slots` is set if other runs share the cluster;
    whoever made it then waited for the GPUs. `shared` is set if they share the flow run too. `on_progress` is called
    several times a second, `on_begin` once Prefect has made the flow run and its code begins. `progress_of_all` is set
    if this is a part of a larger run.
    """

    plan: InferPlan
    cluster: Cluster
    on_progress: Callable[[Progress], None] = field(default=lambda progress: None)
    slots: WorkerSlots | None = None
    shared: SharedRunner | None = None
    progress_of_all: Callable[[], Progress] | None = None
    on_begin: Callable[[], None] = field(default=lambda: None)

    @property
    def shares_cluster(self) -> bool:
        """Whether this is one of several runs on one cluster."""
        return self.slots is not None


@dataclass(frozen=True, slots=True)
class RecordingOutcome:
    """How one recording's run ended.

    `state` is also `failed` if what follows the run failed. The counts are of chunks: `done` before or now, `left` not
    run. `error` is the first thing that went wrong, `commit` the record in the DataLad dataset. It `needs_mending` if
    nothing could be begun, such as because its audio cannot be read.
    """

    recording_id: str
    state: RunState
    done: int
    failed: int
    left: int
    error: str | None = None
    commit: str | None = None
    needs_mending: bool = False

    @classmethod
    def of(cls, recording_id: str, outcome: InferOutcome, commit: str | None = None) -> RecordingOutcome:
        """Return how a recording ended whose chunks were run."""
        progress = outcome.progress
        done = progress.done + progress.skipped
        error = outcome.errors[0] if outcome.errors else None
        return cls(recording_id, outcome.state, done, progress.failed, outcome.left, error, commit)

    @classmethod
    def failed_to_run(cls, recording: RecordingToInfer, reason: str, needs_mending: bool = False) -> RecordingOutcome:
        """Return the failure of a recording of which nothing was done."""
        left = recording.chunks - recording.done
        state = RunState.FAILED
        return cls(recording.recording_id, state, recording.done, 0, left, reason, needs_mending=needs_mending)


def state_of(ended: Sequence[RecordingOutcome], not_begun: Sequence[str], interrupted: bool) -> RunState:
    """Return how a run of several recordings ended; `interrupted` says what one that is not complete is."""
    if not not_begun and all(outcome.state is RunState.COMPLETED for outcome in ended):
        return RunState.COMPLETED
    return RunState.INTERRUPTED if interrupted else RunState.FAILED


@dataclass(slots=True, kw_only=True)
class TogetherSession(Session[Sequence[RecordingOutcome]]):
    """The inference of several short recordings in one flow run.

    `runs` are functions that run a recording each, `at_once` of them at the same time; None of one that was not begun.
    """

    runs: Sequence[Callable[[SharedRunner], RecordingOutcome | None]]
    at_once: int
    cluster: Cluster
    slots: WorkerSlots
    on_begin: Callable[[], None] = field(default=lambda: None)


@dataclass(frozen=True, slots=True)
class OrchestrateOutcome:
    """How the inference of a dataset ended; `recordings` are in the order of their ends, `not_begun` are ids.

    `rollup` holds the leaderboards, if requested and made; `rollup_error` says why they could not be made.
    """

    state: RunState
    recordings: Sequence[RecordingOutcome]
    not_begun: Sequence[str]
    rollup: Rollup | None = None
    rollup_error: str | None = None

    @property
    def unfinished(self) -> int:
        """The number of recordings that are not complete."""
        return len(self.not_begun) + sum(r.state is not RunState.COMPLETED for r in self.recordings)

    @property
    def needs_mending(self) -> bool:
        """Whether resuming can do nothing until somebody puts right what the errors name."""
        left = [r for r in self.recordings if r.state is not RunState.COMPLETED]
        return bool(left) and not self.not_begun and all(r.needs_mending for r in left)

    def describe(self) -> str:
        """Return the outcome in one line."""
        failed = sum(r.state is RunState.FAILED for r in self.recordings)
        run = numbered(len(self.recordings), "recording")
        return f"{run} run, {failed} of them failed, {len(self.not_begun)} not begun"

    def reasons(self) -> list[str]:
        """Return a line per failure, at most as many as a person reads."""
        lines = [f"{r.recording_id}: {r.error}" for r in self.recordings if r.state is RunState.FAILED]
        if self.rollup_error is not None:
            lines.append(f"the leaderboards could not be made: {self.rollup_error}")
        return lines[:MOST_LISTED]


@dataclass(slots=True, kw_only=True)
class OrchestrateSession(Session[OrchestrateOutcome]):
    """The inference of a dataset, with one cluster for all its recordings.

    `recording` says whether a DataLad dataset records it; `on_progress` gets the progress of all recordings together,
    from several threads.
    """

    plan: OrchestrationPlan
    recording: bool
    cluster: Cluster
    on_progress: Callable[[Progress], None] = field(default=lambda progress: None)


@dataclass(frozen=True, slots=True)
class ReportsOfAll:
    """The tables and the page of all recordings; without a page, `error` says why."""

    tables: Aggregation | None
    page: Path | None
    error: str | None = None

    @property
    def state(self) -> RunState:
        """Whether everything is in them."""
        return RunState.COMPLETED if self.page is not None and self.tables and not self.tables.bad else RunState.FAILED

    def reasons(self) -> list[str]:
        """Return a line if they could not be made."""
        return [] if self.error is None else [f"the tables and the page of all recordings: {self.error}"]


@dataclass(frozen=True, slots=True)
class PipelineOutcome:
    """How a pipeline ended.

    `chunked` is None if all was chunked before, `plan` if the inference was never planned, `inferred` if nothing was
    left to analyse or report, or it was not begun, `reports` if those that are there are up to date, or if there is
    nothing to make them of.
    """

    state: RunState
    chunked: ChunkRunOutcome | None
    plan: OrchestrationPlan | None
    inferred: OrchestrateOutcome | None
    reports: ReportsOfAll | None = None


@dataclass(slots=True, kw_only=True)
class PipelineSession(Session[PipelineOutcome]):
    """A pipeline; `chunking` and `inferring` are the sessions of its steps, once these have begun.

    `on_chunked` gets the number of recordings whose chunking has ended, and of all. `not_possible` recordings could not
    even be tried. `to_chunk` and `to_infer` are the plans of the steps, as far as they are made already.
    """

    on_chunked: Callable[[int, int], None] = field(default=lambda done, total: None)
    on_progress: Callable[[Progress], None] = field(default=lambda progress: None)
    not_possible: int = 0
    to_chunk: DatasetPlan | None = None
    to_infer: OrchestrationPlan | None = None
    chunking: ChunkSession | None = None
    inferring: OrchestrateSession | None = None


_sessions: ContextVar[Mapping[type, Session[Any]]] = ContextVar("sessions", default={})  # noqa: B039 - never changed


@contextmanager
def handing_over(session: Session[Any]) -> Iterator[None]:
    """Hand `session` to the flow runs of its kind that start in this context."""
    token = _sessions.set({**_sessions.get(), type(session): session})
    try:
        yield
    finally:
        _sessions.reset(token)


def current_session(kind: type[S]) -> S | None:
    """Return the session that whoever started this flow run handed over, or None."""
    session = _sessions.get().get(kind)
    return session if isinstance(session, kind) else None


def error_of(run: Callable[[], State[Any]]) -> BadcError | None:
    """Run a flow to its final state; return why it ended badly, or None."""
    from prefect.exceptions import Pause

    try:
        state = run()
        if state.is_completed():
            return None
        error = state.result(raise_on_failure=False)
    except Exception as caught:  # such as a server that is gone at the run's end
        error = caught
        state = None
    except Pause:
        return BadcError("the flow run was suspended in Prefect")
    if isinstance(error, BadcError):
        return error
    if isinstance(error, OSError) and error.filename is not None:
        return BadcError(f"{error.filename}: {error.strerror}")
    reason = f"{type(error).__name__}: {error}" if isinstance(error, Exception) else state and state.message
    return BadcError(f"the flow run ended early: {reason}")
