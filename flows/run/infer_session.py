"""What a flow run and the command that started it in the same process hand to each other.

A flow that Prefect starts from a deployment has no session: it then plans, starts its cluster and reports by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from badc.inference.ledger import Progress
from badc.inference.plan import InferPlan
from badc.telemetry.summary import RunState, WorkerCount
from flows.run.handover import Handover
from flows.run.stopping import Stop
from tasks.workers.cluster import Cluster
from tasks.workers.slots import WorkerSlots


@dataclass(frozen=True, slots=True)
class InferOutcome:
    """How a run ended.

    Parameters
    ----------
    state
        `completed`, `failed` or `interrupted`.
    progress
        The counts at the end.
    workers
        What each worker did, by its label.
    errors
        The first failures, one line each.
    left
        Chunks that were not run.
    telemetry_log, output_dir
        Where things are.
    """

    state: RunState
    progress: Progress
    workers: dict[str, WorkerCount]
    errors: list[str]
    left: int
    telemetry_log: Path
    output_dir: Path


@dataclass(slots=True)
class InferSession:
    """A run that was started from the shell.

    Parameters
    ----------
    plan
        What it will do; planned, and its outputs locked, by the command.
    cluster
        Its cluster, which the command starts while the Prefect server comes up.
    stop
        Whether the run is to stop; where a command started the run, it was heeded while everything started.
    on_progress
        Called now and then with how far the run is.
    say
        Called with a line for the user.
    slots
        The slots of the cluster's workers, where other runs share them; whoever made the cluster waited for the GPUs.
    on_begin
        Called when Prefect has made the flow run, and its code begins.
    outcome
        How it ended, once it has.
    give_up
        Ends the books as they are, from any thread, and returns the outcome; None where there are no books yet.
    """

    plan: InferPlan
    cluster: Cluster
    stop: Stop
    on_progress: Callable[[Progress], None] = field(default=lambda progress: None)
    say: Callable[[str], None] = field(default=lambda line: None)
    slots: WorkerSlots | None = None
    on_begin: Callable[[], None] = field(default=lambda: None)
    outcome: InferOutcome | None = None
    give_up: Callable[[], InferOutcome | None] = field(default=lambda: None)

    @property
    def shares_cluster(self) -> bool:
        """Whether this is one of several runs on one cluster."""
        return self.slots is not None


_handover: Handover[InferSession] = Handover("infer_session")
handing_over, current_session = _handover.giving, _handover.taken
