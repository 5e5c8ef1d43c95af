"""What the flow run of a dataset's chunking is handed by the command that starts it, and leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from badc.datasets.chunking.plan import DatasetPlan
from badc.errors import MOST_LISTED
from badc.telemetry.summary import RunState
from flows.run.handover import Handover
from flows.run.stopping import Stop

GRACE_PERIOD_S = 10.0


@dataclass(frozen=True, slots=True)
class ChunkRunOutcome:
    """How the chunking of a dataset ended.

    Parameters
    ----------
    state
        `completed`, `failed` or `interrupted`.
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


@dataclass(slots=True)
class ChunkSession:
    """A run that is under way in this process.

    Parameters
    ----------
    plan
        What it will do; its places are checked and locked.
    recording
        Whether it is recorded in a DataLad dataset.
    stop
        Whether it is to stop.
    on_progress
        Called with the number of recordings that have ended, and of all.
    say
        Called with a line for the user.
    outcome
        How it ended, once it has.
    give_up
        Ends the books as they are, from any thread, and returns the outcome; None where there are no books yet.
    """

    plan: DatasetPlan
    recording: bool
    stop: Stop
    on_progress: Callable[[int, int], None] = field(default=lambda done, total: None)
    say: Callable[[str], None] = field(default=lambda line: None)
    outcome: ChunkRunOutcome | None = None
    give_up: Callable[[], ChunkRunOutcome | None] = field(default=lambda: None)


_handover: Handover[ChunkSession] = Handover("chunk_session")
handing_over, current_session = _handover.giving, _handover.taken
