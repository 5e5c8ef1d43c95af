"""What the flow run of a pipeline is handed by the command that starts it, and leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from badc.datasets.inference.plan import OrchestrationPlan
from badc.inference.ledger import Progress
from badc.telemetry.summary import RunState
from flows.run.handover import Handover
from flows.run.stopping import Stop

if TYPE_CHECKING:  # importing them imports Prefect, for which the server must not wait
    from flows.run.chunk_session import ChunkRunOutcome, ChunkSession
    from flows.run.orchestrate_session import OrchestrateOutcome, OrchestrateSession


@dataclass(frozen=True, slots=True)
class PipelineOutcome:
    """How a pipeline ended.

    Parameters
    ----------
    state
        `completed`, `failed` or `interrupted`.
    chunked
        How the chunking ended; None where all was chunked before.
    plan
        The plan of the inference, or None where it came to none.
    inferred
        How the inference ended; None where nothing was left to do, or it was not begun.
    """

    state: RunState
    chunked: ChunkRunOutcome | None
    plan: OrchestrationPlan | None
    inferred: OrchestrateOutcome | None


@dataclass(slots=True)
class PipelineSession:
    """A pipeline that is under way in this process.

    Parameters
    ----------
    stop
        Whether it is to stop.
    on_chunked
        Called with the number of recordings whose chunking has ended, and of all.
    on_progress
        Called now and then with how far the inference is.
    say
        Called with a line for the user.
    chunking, inferring
        The sessions of its two steps, once they have begun.
    outcome
        How it ended, once it has.
    give_up
        Ends the books as they are, from any thread, and returns the outcome; None where there are no books yet.
    """

    stop: Stop
    on_chunked: Callable[[int, int], None] = field(default=lambda done, total: None)
    on_progress: Callable[[Progress], None] = field(default=lambda progress: None)
    say: Callable[[str], None] = field(default=lambda line: None)
    chunking: ChunkSession | None = None
    inferring: OrchestrateSession | None = None
    outcome: PipelineOutcome | None = None
    give_up: Callable[[], PipelineOutcome | None] = field(default=lambda: None)


_handover: Handover[PipelineSession] = Handover("pipeline_session")
handing_over, current_session = _handover.giving, _handover.taken
