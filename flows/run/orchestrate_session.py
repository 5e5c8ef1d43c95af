"""What the flow run of a dataset's inference is handed by the command that starts it, and leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from badc.datasets.inference.plan import OrchestrationPlan
from badc.errors import MOST_LISTED
from badc.inference.ledger import Progress
from badc.telemetry.summary import RunState
from flows.run.handover import Handover
from flows.run.stopping import Stop

if TYPE_CHECKING:  # importing them imports Dask or DuckDB, for which the server must not wait
    from badc.reports.rankings.rollup import Rollup
    from tasks.workers.cluster import Cluster


@dataclass(frozen=True, slots=True)
class RecordingOutcome:
    """How one recording's run ended.

    Parameters
    ----------
    recording_id
        The recording.
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

    Parameters
    ----------
    state
        `completed`, `failed` or `interrupted`.
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


@dataclass(slots=True)
class OrchestrateSession:
    """A run that is under way in this process.

    Parameters
    ----------
    plan
        What it will do.
    recording
        Whether it is recorded in a DataLad dataset.
    cluster
        The one cluster of all its recordings.
    stop
        Whether it is to stop.
    on_progress
        Called now and then with how far all recordings together are; from several threads.
    say
        Called with a line for the user; from several threads.
    outcome
        How it ended, once it has.
    give_up
        Ends the books as they are, from any thread, and returns the outcome; None where there are no books yet.
    """

    plan: OrchestrationPlan
    recording: bool
    cluster: Cluster
    stop: Stop
    on_progress: Callable[[Progress], None] = field(default=lambda progress: None)
    say: Callable[[str], None] = field(default=lambda line: None)
    outcome: OrchestrateOutcome | None = None
    give_up: Callable[[], OrchestrateOutcome | None] = field(default=lambda: None)


_handover: Handover[OrchestrateSession] = Handover("orchestrate_session")
handing_over, current_session = _handover.giving, _handover.taken
