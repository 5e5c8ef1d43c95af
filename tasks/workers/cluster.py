"""The Dask cluster of a run: a worker per GPU, CPU workers beside them, or a scheduler that already runs."""

from __future__ import annotations

import logging
import os
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

from badc.errors import numbered
from badc.inference.plan import chunks_at_once, workers_wanted
from badc.inference.settings import InferOptions
from badc.runners.interface import AtOnce
from badc.system import leash
from badc.system.gpus import NoGpuError, usable_gpus
from badc.system.scratch import Scratch
from badc.system.threads import cores
from tasks.workers.scheduler import address_of, note_on, require_scheduler

if TYPE_CHECKING:
    from distributed.security import Security

_LOCAL = "127.0.0.1"
_PROTOCOL = "tls"
# Nobody waits for the work of a worker that is still busy when the run is over.
_CLOSE_TIMEOUT_S = 2.0
# One more than the chunks at once: the next task is on the worker before the last one's result has come back.
_SPARE_THREADS = 1


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster that is up; `address` is its scheduler's.

    A worker does as many tasks at once as it has threads besides `spare_threads`, but no more than `most_at_once`.

    `labels` has each worker's label by its Dask name, such as `gpu-0`; it is empty, and `gpu_workers` 0, if the workers
    are not ours. Our own are given up after `worker_timeout_s` without a sign of life; a scheduler that is not ours is
    given up if it does not answer for `scheduler_patience_s`. `note` is for the user, such as why no GPU is
    used. `security` holds the credentials of a cluster started here, and is None if Dask's own configuration has them.
    Workers report under `topic`, of all runs on it: the scheduler keeps the last events of each topic for as long as it
    lives.
    """

    address: str
    labels: Mapping[object, str]
    note: str
    gpu_workers: int = 0
    most_at_once: int = 1
    spare_threads: int = 0
    worker_timeout_s: float | None = None
    scheduler_patience_s: float | None = None
    security: Security | None = field(default=None, repr=False)
    topic: str = field(default_factory=lambda: f"badc-{uuid.uuid4().hex}")

    def lost(self, why: str) -> str:
        """Return for the user that the scheduler is lost, and why, and the way out."""
        return f"the Dask scheduler at {self.address} is lost: {why}; resume the run with another one, or without"


# Anyone who can talk to a scheduler or a worker can run code as its owner, and every user of the machine reaches its
# ports. So a run's cluster speaks TLS, with its own credentials, which are never written down; and its web servers,
# which check no credentials, have no pages.
_CLOSED: dict[str, list[str]] = {
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}

# Dask watches itself: each process samples its own stacks every 10 ms and ticks every 20 ms, which costs a worker
# some 5 % of a core. The workers' work is in other processes, so there is nothing for it to see.
_UNWATCHED = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.tick.limit": "10s",
    "distributed.admin.system-monitor.interval": "5s",
    # Its own look at the GPUs fails the cluster's start, or fills the log, when the driver refuses or a GPU is lost.
    "distributed.diagnostics.nvml": False,
    # Of the last thousand messages to each worker it would keep copies, with all chunks that they ask for.
    "distributed.admin.low-level-log-length": 20,
}

# Dask gives a worker up for good that is not back so long after it was lost. On a busy machine its restart takes more
# than Dask's own 15 s.
_LOST = {"distributed.deploy.lost-worker-timeout": "60s"}
_REPLACE_INTERVAL_S = 5.0

# What torch, LiteRT and the libraries of linear algebra take their number of threads from.
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def import_dask(settings: InferOptions) -> None:
    """Import what `open_cluster` needs; call this before another thread imports anything that uses Dask.

    A hook of dask-cuda (rapids_dask_dependency) waits for Dask's modules while it holds the lock of all imports: two
    threads that import them at the same time may deadlock.
    """
    import distributed  # noqa: F401

    if settings.scheduler is None and _find_gpus()[0]:
        import dask_cuda  # noqa: F401


@contextmanager
def open_cluster(settings: InferOptions, chunks: int | None = None) -> Iterator[Cluster]:
    """Start the workers that the settings request, and stop them in the end; or join the scheduler that they name.

    `chunks` is how many there are to analyse, where that is known.

    Raises RequestError if no scheduler answers at `--scheduler`.
    """
    if settings.scheduler is not None:
        address = address_of(settings.scheduler)
        require_scheduler(address)
        # That its connection is lost the run says itself, without a traceback.
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
        yield Cluster(
            address,
            {},
            note_on(address),
            most_at_once=settings.chunks_at_once or 1,
            scheduler_patience_s=settings.worker_timeout_s,
        )
        return
    import dask
    from distributed.security import Security

    with ExitStack() as stack:
        # Not Dask's default temporary folder: its name is known, so another user may own it; workers import from it.
        scratch = stack.enter_context(closing(Scratch()))
        # The scheduler looks as often as this, so it finds out after one to two times it.
        silent_too_long = {"distributed.scheduler.worker-ttl": f"{settings.worker_timeout_s / 2:g}s"}
        dask.config.set(_UNWATCHED | _CLOSED | _LOST | silent_too_long)
        stack.enter_context(dask.config.set({"temporary-directory": str(scratch.path)}))
        security = Security.temporary()
        gpus, reason = _find_gpus()
        runner = settings.runner()
        if gpus and settings.max_gpus != 0 and runner.gpu_advice is not None:
            reason = runner.gpu_advice
        gpu_workers, cpu_workers = workers_wanted(settings, len(gpus), chunks)
        at_once = chunks_at_once(settings, runner)
        environment = _environment(settings, gpu_workers + cpu_workers)
        _keep_prefect_from_workers()
        resource_tracker.ensure_running()  # its start unblocks signals, so not with the first worker
        with leash.children_hear_no_signals():  # until tasks.workers.preload has handlers for them
            cluster = (
                _gpu_cluster(gpus[:gpu_workers], cpu_workers, at_once, security, environment)
                if gpu_workers
                else _cpu_cluster(cpu_workers, at_once, security, environment)
            )
        stack.enter_context(_closed_in_the_end(cluster))
        stack.enter_context(_lost_workers_replaced(cluster))
        labels: dict[object, str] = {gpu: f"gpu-{number}" for number, gpu in enumerate(gpus[:gpu_workers])}
        labels |= {f"cpu-{number}": f"cpu-{number}" for number in range(cpu_workers)}
        counts = [numbered(n, f"{kind} worker") for n, kind in ((gpu_workers, "GPU"), (cpu_workers, "CPU")) if n]
        note = " and ".join(counts) + (f" ({reason})" if reason else "")
        if cpu_workers and settings.cpu_workers is None:
            note += f"; {numbered(cores(), 'core')}, --cpu-workers sets how many to use"
        most = max(at_once.gpu, at_once.cpu)
        timeout_s = settings.worker_timeout_s
        yield Cluster(
            cluster.scheduler_address, labels, note, gpu_workers, most, _SPARE_THREADS, timeout_s, security=security
        )


def _keep_prefect_from_workers() -> None:
    """Hide the main module if it is Prefect's, as in runs of deployments: each worker would import it again.

    That takes a worker seconds and a hundred MiB; a main module of ours or of a user stays.
    """
    main = sys.modules["__main__"]
    if getattr(main.__spec__, "name", "").partition(".")[0] == "prefect":
        main.__spec__ = None
        vars(main).pop("__file__", None)


@contextmanager
def _closed_in_the_end(cluster: Any) -> Iterator[None]:
    """Close a cluster after the block. Workers that take too long on a busy machine end with this process."""
    cluster.__enter__()
    try:
        yield
    finally:
        with suppress(TimeoutError):  # the run is over, and what it did is written
            cluster.close()


@contextmanager
def _lost_workers_replaced(cluster: Any) -> Iterator[None]:
    """Start workers anew that Dask has given up; without them a run could lose one after the other, and then wait."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(_REPLACE_INTERVAL_S):
            cluster.scale(len(cluster.worker_spec))

    thread = threading.Thread(target=look, daemon=True, name="badc-lost-workers")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _environment(settings: InferOptions, workers: int) -> dict[str, str]:
    """Return the variables of each worker from which what it starts takes its number of threads (Dask says 1)."""
    wanted = settings.threads_per_worker
    share = max(1, cores() // workers)
    return {name: str(wanted or os.environ.get(name) or share) for name in _THREADS}


def _find_gpus() -> tuple[list[int | str], str]:
    """Return the usable GPUs, as CUDA_VISIBLE_DEVICES names them, and why there are none."""
    try:
        return [gpu.uuid if gpu.is_slice else gpu.index for gpu in usable_gpus()], ""
    except NoGpuError as error:
        return [], error.brief


def _cpu_cluster(workers: int, at_once: AtOnce, security: Security, environment: Mapping[str, str]) -> Any:
    from distributed import Scheduler, SpecCluster

    options = {
        "host": _LOCAL,
        "protocol": _PROTOCOL,
        "security": security,
        "dashboard": False,
        "dashboard_address": f"{_LOCAL}:0",
    }
    return SpecCluster(
        scheduler={"cls": Scheduler, "options": options},
        workers=_cpu_workers(workers, at_once, security, environment),
        security=security,
        silence_logs=logging.ERROR,
    )


def _gpu_cluster(
    gpus: list[int | str], cpu_workers: int, at_once: AtOnce, security: Security, environment: Mapping[str, str]
) -> Any:
    from dask_cuda import LocalCUDACluster

    class WithoutCudaContext(LocalCUDACluster):  # type: ignore[misc] # dask_cuda has no types
        """Workers only hand chunks on: a CUDA context of their own would cost each GPU hundreds of MiB."""

        def new_worker_spec(self) -> Any:
            spec = super().new_worker_spec()
            for worker in spec.values():
                options = worker["options"]
                options["preload_argv"] = [a for a in options["preload_argv"] if a != "--create-cuda-context"]
                options["env"] = {**options.get("env", {}), **environment}
                worker["cls"] = _nanny()
            return spec

    cluster = WithoutCudaContext(
        CUDA_VISIBLE_DEVICES=gpus,
        threads_per_worker=at_once.gpu + _SPARE_THREADS,
        memory_limit=None,
        device_memory_limit=None,
        host=_LOCAL,
        protocol=_PROTOCOL,
        security=security,
        scheduler_kwargs={"dashboard": False},
        dashboard_address=f"{_LOCAL}:0",
        silence_logs=logging.ERROR,
        preload=["tasks.workers.preload"],
    )
    if cpu_workers:
        cluster.worker_spec.update(_cpu_workers(cpu_workers, at_once, security, environment))
        cluster.scale(len(cluster.worker_spec))
    return cluster


def _cpu_workers(
    number: int, at_once: AtOnce, security: Security, environment: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Return the specification of CPU workers, which see no GPU."""
    options = {
        "nthreads": at_once.cpu + _SPARE_THREADS,
        # Dask would pause or kill a worker by its share of the memory; the models are in processes of their own.
        "memory_limit": None,
        "host": _LOCAL,
        "protocol": _PROTOCOL,
        "security": security,
        "dashboard": False,
        "dashboard_address": f"{_LOCAL}:0",
        "env": {"CUDA_VISIBLE_DEVICES": "", **environment},
        "preload": ["tasks.workers.preload"],
        "silence_logs": logging.ERROR,
    }
    return {f"cpu-{n}": {"cls": _nanny(), "options": options | {"name": f"cpu-{n}"}} for n in range(number)}


@cache
def _nanny() -> Any:
    """Return the class of the workers' keepers: Dask's own, less patient with a worker that should end."""
    from distributed import Nanny

    class Keeper(Nanny):
        # Nanny's signature, which is not its base class's.
        async def close(self, timeout: float = _CLOSE_TIMEOUT_S, reason: str = "nanny-close") -> Any:  # type: ignore[override]
            return await super().close(timeout=min(timeout, _CLOSE_TIMEOUT_S), reason=reason)

    return Keeper


class WorkerLabels:
    """Labels of workers by Dask address; `names` is `Cluster.labels`, and other workers are numbered as they appear."""

    def __init__(self, names: Mapping[object, str]) -> None:
        self._names = names
        self._known: dict[str, str] = {}

    def label_of(self, address: str, name: object, has_gpu: bool) -> str:
        """Return a worker's label; `has_gpu` decides between `gpu-N` and `cpu-N` if the worker is not ours."""
        if name in self._names:
            return self._names[name]
        if address not in self._known:
            kind = "gpu" if has_gpu else "cpu"
            taken = sum(label.startswith(kind) for label in self._known.values())
            self._known[address] = f"{kind}-{taken}"
        return self._known[address]
