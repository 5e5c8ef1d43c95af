"""A pipeline started from the shell: what its flow run is handed, and the start of that run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from badc.errors import BadcError
from badc.ledger import Progress
from badc.orchestration.plan import OrchestrationPlan
from badc.summary import RunState
from flows.handover import Handover, error_of
from flows.server import PrefectApi
from flows.stopping import Stop

if TYPE_CHECKING:  # importing them imports Prefect, for which the server must not wait
    from badc.orchestration.pipeline_settings import PipelineSettings
    from flows.chunk_session import ChunkRunOutcome
    from flows.orchestrate_session import OrchestrateOutcome


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
    outcome
        How it ended, once it has.
    """

    stop: Stop
    on_chunked: Callable[[int, int], None] = field(default=lambda done, total: None)
    on_progress: Callable[[Progress], None] = field(default=lambda progress: None)
    say: Callable[[str], None] = field(default=lambda line: None)
    outcome: PipelineOutcome | None = None


_handover: Handover[PipelineSession] = Handover("pipeline_session")
handing_over, current_session = _handover.giving, _handover.taken


def launch_pipeline(
    settings: PipelineSettings,
    on_chunked: Callable[[int, int], None],
    on_progress: Callable[[Progress], None],
    say: Callable[[str], None],
) -> tuple[PipelineOutcome, bool]:
    """Run a pipeline as a flow run; return how it ended, and whether Prefect could be told.

    Parameters
    ----------
    settings
        What to do.
    on_chunked, on_progress, say
        See `PipelineSession`.

    Raises
    ------
    BadcError
        When the request cannot be carried out, or the configured Prefect API does not answer.
    KeyboardInterrupt
        When a signal asked to stop before anything of the run was written.
    """
    stop = Stop(settings.grace_period_s, say)
    with ExitStack() as stack:
        stack.enter_context(stop.heeding_signals())
        say("Starting: Prefect")
        api = PrefectApi.begin()
        from flows.pipeline import pipeline

        api.ready(give_up=stop.requested.is_set)
        if stop.requested.is_set():
            raise KeyboardInterrupt
        session = PipelineSession(stop, on_chunked, on_progress, say)
        with handing_over(session):
            error = error_of(lambda: pipeline(settings, return_state=True))
        if session.outcome is None:
            raise error or BadcError("the flow run ended without an outcome")
        return session.outcome, api.answers()
