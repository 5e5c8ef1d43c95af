"""What a command hands to the flow run that it starts in its own process, and what the run leaves behind.

A flow that Prefect starts from a deployment gets nothing: it plans, starts its cluster and reports by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from badc.errors import MOST_LISTED, BadcError
from badc.inference.ledger import Progress
from badc.telemetry.summary import RunState, WorkerCount
from flows.run.stopping import Stop

if TYPE_CHECKING:  # importing these takes seconds, during which the server can start
    from prefect import State

    from badc.datasets.chunking.plan import DatasetPlan
    from badc.datasets.inference.plan import OrchestrationPlan
    from badc.inference.plan import InferPlan
    from badc.reports.rankings.rollup import Rollup
    from tasks.workers.cluster import Cluster
    from tasks.workers.slots import WorkerSlots

CHUNKING_GRACE_PERIOD_S = 10.0

Outcome = TypeVar("Outcome")
S = TypeVar("S", bound="Session[Any]")


@dataclass(slots=True, kw_only=True)
class Session(Generic[Outcome]):
    """A flow run that is under way in this process.

    Attributes
    ----------
    stop
        Whether it is to stop. Where a command started the run, signals were heeded while everything started.
    say
        Called with a line for the user; from several threads.
    outcome
        How it ended, once it has.
    give_up
        Closes the books as they are, from any thread, and returns the outcome; None where there are no books yet.
    """

    stop: Stop
    say: Callable[[str], None] = field(default=lambda line: None)
    outcome: Outcome | None = None
    give_up: Callable[[], Outcome | None] = field(default=lambda: None)


@dataclass(frozen=True, slots=True)
class ChunkRunOutcome:
    """How the chunking of a dataset ended.

    Attributes
    ----------
    done, failed, left
        Recordings that were chunked, that failed, and that were not begun or not finished.
    failures
        Recording (its path below the dataset) and reason, of each that failed.
    not_recorded
        Recordings that were chunked but not recorded in the dataset, by path, with the reason.
    """

    state: RunState
    done: int
    failed: int
    left: int
    failures: Sequence[tuple[str, str]]
    not_recorded: Sequence[tuple[str, str]] = ()

    def describe(self) -> str:
        """Return it in one line."""
        return f"{self.done} recordings chunked, {self.failed} failed, {self.left} not begun or not finished"

    def reasons(self) -> list[str]:
        """Return a line for everything that failed, but not for more than a person reads."""
        return [f"{name}: {error}" for name, error in (*self.failures, *self.not_recorded)][:MOST_LISTED]


@dataclass(slots=True, kw_only=True)
class ChunkSession(Session[ChunkRunOutcome]):
    """The chunking of a dataset.

    Attributes
    ----------
    plan
        What it will do; its places are checked and locked.
    recording
        Whether it is recorded in a DataLad dataset.
    on_progress
        Called with the number of recordings that have ended, and of all.
    """

    plan: DatasetPlan
    recording: bool
    on_progress: Callable[[int, int], None] = field(default=lambda done, total: None)


@dataclass(frozen=True, slots=True)
class InferOutcome:
    """How the inference of one manifest ended.

    Attributes
    ----------
    workers
        What each worker did, by its label.
    errors
        The first failures, one line each.
    left
        Chunks that were not run.
    """

    state: RunState
    progress: Progress
    workers: dict[str, WorkerCount]
    errors: list[str]
    left: int
    telemetry_log: Path
    output_dir: Path


@dataclass(slots=True, kw_only=True)
class InferSession(Session[InferOutcome]):
    """The inference of one manifest.

    Attributes
    ----------
    plan
        What it will do; its outputs are locked.
    cluster
        Its cluster, which the command starts while the Prefect server comes up.
    on_progress
        Called several times a second with how far the run is.
    slots
        The slots of the cluster's workers, where other runs share them; whoever made the cluster waited for the GPUs.
    on_begin
        Called when Prefect has made the flow run, and its code begins.
    """

    plan: InferPlan
    cluster: Cluster
    on_progress: Callable[[Progress], None] = field(default=lambda progress: None)
    slots: WorkerSlots | None = None
    on_begin: Callable[[], None] = field(default=lambda: None)

    @property
    def shares_cluster(self) -> bool:
        """Whether this is one of several runs on one cluster."""
        return self.slots is not None


@dataclass(frozen=True, slots=True)
class RecordingOutcome:
    """How one recording's run ended.

    Attributes
    ----------
    state
        As of its run; `failed` also where what follows the run failed.
    done, failed, left
        Chunks that are done (before or now), that failed, and that were not run.
    error
        The first thing that went wrong, or None.
    commit
        The record in the DataLad dataset, or None.
    """

    recording_id: str
    state: RunState
    done: int
    failed: int
    left: int
    error: str | None = None
    commit: str | None = None


@dataclass(frozen=True, slots=True)
class OrchestrateOutcome:
    """How the inference of a dataset ended.

    Attributes
    ----------
    recordings
        How each recording ended that was begun, in the order of their ends.
    not_begun
        Ids of the recordings that were not begun.
    rollup
        The leaderboards, where they were asked for and made.
    rollup_error
        Why they could not be made, or None.
    """

    state: RunState
    recordings: Sequence[RecordingOutcome]
    not_begun: Sequence[str]
    rollup: Rollup | None = None
    rollup_error: str | None = None

    def describe(self) -> str:
        """Return it in one line."""
        failed = sum(r.state is RunState.FAILED for r in self.recordings)
        return f"{len(self.recordings)} recordings run, {failed} of them failed, {len(self.not_begun)} not begun"

    def reasons(self) -> list[str]:
        """Return a line for everything that failed, but not for more than a person reads."""
        lines = [f"{r.recording_id}: {r.error}" for r in self.recordings if r.state is RunState.FAILED]
        if self.rollup_error is not None:
            lines.append(f"the leaderboards could not be made: {self.rollup_error}")
        return lines[:MOST_LISTED]


@dataclass(slots=True, kw_only=True)
class OrchestrateSession(Session[OrchestrateOutcome]):
    """The inference of a dataset.

    Attributes
    ----------
    plan
        What it will do.
    recording
        Whether it is recorded in a DataLad dataset.
    cluster
        The one cluster of all its recordings.
    on_progress
        Called now and then with how far all recordings together are; from several threads.
    """

    plan: OrchestrationPlan
    recording: bool
    cluster: Cluster
    on_progress: Callable[[Progress], None] = field(default=lambda progress: None)


@dataclass(frozen=True, slots=True)
class PipelineOutcome:
    """How a pipeline ended.

    Attributes
    ----------
    chunked
        How the chunking ended; None where all was chunked before.
    plan
        The plan of the inference; None where it came to none.
    inferred
        How the inference ended; None where nothing was left to do, or it was not begun.
    """

    state: RunState
    chunked: ChunkRunOutcome | None
    plan: OrchestrationPlan | None
    inferred: OrchestrateOutcome | None


@dataclass(slots=True, kw_only=True)
class PipelineSession(Session[PipelineOutcome]):
    """A pipeline.

    Attributes
    ----------
    on_chunked
        Called with the number of recordings whose chunking has ended, and of all.
    on_progress
        Called now and then with how far the inference is.
    chunking, inferring
        The sessions of its two steps, once they have begun.
    """

    on_chunked: Callable[[int, int], None] = field(default=lambda done, total: None)
    on_progress: Callable[[Progress], None] = field(default=lambda progress: None)
    chunking: ChunkSession | None = None
    inferring: OrchestrateSession | None = None


_sessions: ContextVar[Mapping[type, Session[Any]]] = ContextVar("sessions", default={})  # noqa: B039 - never changed


@contextmanager
def handing_over(session: Session[Any]) -> Iterator[None]:
    """Let the next flow run of this kind in this context have `session`."""
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
    """Run a flow, which returns its final state, to its end; return why it ended badly, or None."""
    from prefect.exceptions import Pause

    try:
        state = run()
        if state.is_completed():
            return None
        error = state.result(raise_on_failure=False)
    except Exception as caught:  # such as a server that is gone when the run's end is to be reported
        error = caught
        state = None
    except Pause:
        return BadcError("the flow run was suspended in Prefect")
    if isinstance(error, BadcError):
        return error
    reason = f"{type(error).__name__}: {error}" if isinstance(error, Exception) else state and state.message
    return BadcError(f"the flow run ended early: {reason}")
