"""A flow run started from the shell: API, cluster and flow, with the slow starts side by side."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

from badc.errors import BadcError
from badc.infer import InferPlan
from badc.ledger import Progress
from badc.output_lock import output_lock
from flows.handover import error_of
from flows.server import PrefectApi
from flows.stopping import Stop

if TYPE_CHECKING:  # importing it imports Prefect, for which the server must not wait
    from flows.session import InferOutcome


def launch_inference(
    plan: InferPlan, on_progress: Callable[[Progress], None], say: Callable[[str], None]
) -> tuple[InferOutcome, bool]:
    """Run a plan as a flow run; return how it ended, and whether Prefect could be told.

    Parameters
    ----------
    plan
        What to do.
    on_progress
        Called several times a second with how far the run is.
    say
        Called with a line for the user.

    Raises
    ------
    RequestError
        When another run writes the same outputs, or the configured Prefect API does not answer.
    KeyboardInterrupt
        When a signal asked to stop before anything of the run was written.
    """
    stop = Stop(plan.settings.grace_period_s, say)
    with ExitStack() as stack:
        stack.enter_context(stop.heeding_signals())
        stack.enter_context(output_lock(plan.order.output_dir, plan.recordings, plan.telemetry_log))
        say("Starting: Prefect and the workers")
        api = PrefectApi.begin()
        from blocks.cluster import open_cluster

        opening = open_cluster(plan.settings)
        with ThreadPoolExecutor(1) as pool:
            entering = pool.submit(opening.__enter__)
            from flows.infer import infer

            cluster = entering.result()
        stack.push(opening)
        api.ready(give_up=stop.requested.is_set)
        if stop.requested.is_set():
            raise KeyboardInterrupt
        say(f"Workers: {cluster.note}")
        from flows.session import InferSession, handing_over

        session = InferSession(plan, cluster, stop, on_progress, say)
        with handing_over(session):
            error = error_of(lambda: infer(plan.settings, return_state=True))
        if session.outcome is None:
            raise error or BadcError("the flow run ended without an outcome")
        return session.outcome, api.answers()
