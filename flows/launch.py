"""A flow run started from the shell: API, cluster and flow, with the slow starts side by side."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from badc.errors import BadcError
from badc.infer import InferPlan
from badc.ledger import Progress
from badc.output_lock import output_lock
from flows.server import PrefectApi


def launch_inference(
    plan: InferPlan, on_progress: Callable[[Progress], None], say: Callable[[str], None]
) -> "InferOutcome":  # noqa: F821, UP037 - importing it here would import Prefect before the server is started
    """Run a plan as a flow run, and return how it ended.

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
    """
    with ExitStack() as stack:
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
        api.ready()
        say(f"Workers: {cluster.note}")
        from flows.session import InferSession, handing_over

        session = InferSession(plan, cluster, on_progress, say)
        with handing_over(session):
            state = infer(plan.settings, return_state=True)
        if session.outcome is None:
            raise BadcError(f"the flow run ended before the chunks did: {state.message}")
        return session.outcome
