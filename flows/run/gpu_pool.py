"""Turns at shared GPUs: a run holds a slot of one of Prefect's global concurrency limits."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import ConcurrencyLeaseHolder, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run

from badc.errors import RequestError
from badc.inference.settings import InferOptions
from flows.run.stopping import Stop

DEFAULT_POOL = "gpu"
# A run that dies silently loses its slot after this time; while it lives, Prefect renews the lease.
_LEASE_S = 120
# How long an attempt waits for a slot before it checks whether the run should stop.
_ATTEMPT_S = 2.0
_REMIND_S = 300.0
_MOST_NAMED = 5
_HOLDING = [StateType.RUNNING, StateType.CANCELLING]


@contextmanager
def turn_at_the_gpus(settings: InferOptions, uses_gpus: bool, stop: Stop, say: Callable[[str], None]) -> Iterator[None]:
    """Wait for a slot of the GPU pool, and hold it while the block runs; `say` informs the user about a wait.

    A run without GPU workers of its own (`uses_gpus`) takes part only if it names a pool. If the run is to stop, the
    block runs without a slot: it starts nothing more. Raises RequestError if the named pool does not exist, or if it is
    full and the settings say not to wait.
    """
    name = settings.gpu_pool or (DEFAULT_POOL if uses_gpus else None)
    if name is None or not _exists(name, asked_for=settings.gpu_pool is not None):
        yield
        return
    with ExitStack() as stack:
        remind_at_s = 0.0
        while not stop.requested.is_set():
            try:
                stack.enter_context(_slot(name))
                _tag_as_holder(name)
                break
            except TimeoutError:
                if settings.no_wait:
                    raise RequestError(
                        f"the GPU pool {name} is held by {_holders(name)}; leave out --no-wait to wait for it"
                    ) from None
            if time.monotonic() >= remind_at_s:
                remind_at_s = time.monotonic() + _REMIND_S
                say(f"Waiting for the GPU pool {name}, held by {_holders(name)}")
        yield


def _exists(name: str, asked_for: bool) -> bool:
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            if asked_for:
                raise RequestError(
                    f"--gpu-pool {name}: Prefect has no global concurrency limit of this name; make it with "
                    f"`prefect gcl create {name} --limit 1`"
                ) from None
            return False
    return True


def _tag_as_holder(name: str) -> None:
    """Show waiting runs who holds a slot, which Prefect itself does not."""
    with suppress(Exception), get_client(sync_client=True) as client:  # a run that has its turn can do without
        run = client.read_flow_run(UUID(str(flow_run.id)))
        client.update_flow_run(run.id, tags=[*run.tags, _tag_of(name)])


def _holders(name: str) -> str:
    """Name the runs that hold a pool, as part of a sentence."""
    with get_client(sync_client=True) as client:
        slots = client.read_global_concurrency_limit_by_name(name).active_slots
        runs = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                tags=FlowRunFilterTags(all_=[_tag_of(name)]),
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_HOLDING)),
            ),
            # A run that died may still count as running; the slots that it lost belong to later runs.
            sort=FlowRunSort.START_TIME_DESC,
            limit=max(1, min(slots, _MOST_NAMED)),
        )
    if runs:
        return ", ".join(f"{run.name} (since {run.start_time:%Y-%m-%d %H:%M} UTC)" for run in runs)
    return (
        "something other than a BADC run (Prefect's UI: Concurrency); slots that a server has forgotten are freed "
        f"with `prefect gcl update {name} --active-slots 0`"
    )


def _tag_of(name: str) -> str:
    return f"gpu-pool:{name}"


def _is_no_attempt(record: logging.LogRecord) -> bool:
    return "ConcurrencySlotAcquisition" not in record.getMessage()


@contextmanager
def _slot(name: str) -> Iterator[None]:
    # Prefect logs each attempt that times out as an error.
    logging.getLogger("prefect._internal.concurrency").addFilter(_is_no_attempt)
    holder = ConcurrencyLeaseHolder(type="flow_run", id=flow_run.id)
    # A lease that cannot be renewed must not end a night's run: the GPUs are busy whoever holds the slot.
    with concurrency(
        name,
        timeout_seconds=_ATTEMPT_S,
        lease_duration=_LEASE_S,
        strict=True,
        holder=holder,
        raise_on_lease_renewal_failure=False,
    ):
        yield
