"""How many tasks the workers get at a time: what they can do now, so that the next goes to the first that is free."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from tasks.workers.cluster import Cluster
from tasks.workers.signs import SignsOfLife
from tasks.workers.suspicions import Suspicions

_LOOK_INTERVAL_S = 2.0
_FIRST_LOOK_S = 15.0
_CLOSE_TIMEOUT_S = 5.0
_WAIT_S = 0.25
# A worker whose tasks take less gets the next one ahead. At the end of a run it holds that up by no more, and for
# longer tasks the time between two of them is nothing.
_QUICK_S = 2.0


@contextmanager
def slots_of(cluster: Cluster) -> Iterator[WorkerSlots]:
    """Yield the slots of a cluster's workers, for several runs at once."""
    from distributed import Client

    client = Client(cluster.address, security=cluster.security, set_as_default=False)
    try:
        signs = SignsOfLife(lambda: client, cluster.scheduler_patience_s)
        yield WorkerSlots(signs.threads, cluster.most_at_once, cluster.spare_threads, signs)
    finally:
        with suppress(TimeoutError):  # Dask itself would wait a minute for a scheduler that hangs
            client.close(timeout=_CLOSE_TIMEOUT_S)


@dataclass(slots=True, eq=False)
class _Ticket:
    """The place of a task in the queue for a slot, and the worker it has got."""

    preferred: str | None
    avoided: Collection[str] = ()
    worker: str | None = None


class WorkerSlots:
    """A slot for each task that a worker can do now, and one for the next if it is quick and has a thread left.

    A worker can do as many at once as it has threads besides `spare_threads`, but no more than `most_at_once`, or than
    `limit` said of it. One that fails what others can do (see `Suspicions`) gets no more, as long as there are others.

    Dask would deal out tasks in advance, and one behind a slow worker's chunk would wait there although a fast worker
    is free. With no more tasks in Dask than slots, each goes to an idle one, and the others wait here, first come first
    served. `look` returns the addresses of the present workers, with their threads, as `signs` learns of them.
    """

    def __init__(
        self,
        look: Callable[[], Mapping[str, int]],
        most_at_once: int = 1,
        spare_threads: int = 0,
        signs: SignsOfLife | None = None,
    ) -> None:
        self._signs = signs
        self._look = look
        self._most_at_once = most_at_once
        self._spare_threads = spare_threads
        self._limits: dict[str, int] = {}
        self._suspicions = Suspicions()
        self._retired: set[str] = set()
        self._condition = threading.Condition()
        self._queue: deque[_Ticket] = deque()
        self._workers: Mapping[str, int] = {}
        self._taken: Counter[str] = Counter()
        self._quick: set[str] = set()
        self._looking: threading.Thread | None = None
        self._next_look = 0.0

    def workers(self) -> Collection[str]:
        """Return the workers' addresses, looked up every few seconds: they come and go.

        A separate thread does that, for which only the first call waits, so a scheduler that hangs holds up nobody.
        """
        with self._condition:
            if self._looking is None or (not self._looking.is_alive() and time.monotonic() >= self._next_look):
                is_first = self._looking is None
                self._looking = threading.Thread(target=self._look_now, daemon=True)
                self._looking.start()
                if is_first:
                    self._condition.wait_for(lambda: self._next_look > 0, _FIRST_LOOK_S)
            return self._workers

    def silence_s(self, worker: str) -> float | None:
        """Return for how long a worker has given no sign of life; None if it is not there, or that is not known."""
        return None if self._signs is None else self._signs.silence_s(worker)

    def why_lost(self) -> str | None:
        """Return why nothing can be expected of the scheduler any more, or None. To be asked several times a second."""
        return None if self._signs is None else self._signs.why_lost()

    def count(self) -> int:
        """Return the number of slots."""
        self.workers()
        with self._condition:
            return sum(map(self._slots_of, self._in_use()))

    def limit(self, worker: str, at_once: int) -> None:
        """Give a worker no more than so many tasks at once from now on."""
        with self._condition:
            self._limits[worker] = at_once

    def failed(self, worker: str, label: str, chunk: str, error: str) -> None:
        """Note that a chunk failed on a worker, which people know by its `label`."""
        with self._condition:
            self._suspicions.failed(worker, label, chunk, error)

    def succeeded(self, worker: str, chunk: str) -> list[tuple[str, str]]:
        """Note that a worker did a chunk; return the labels of those that get no more from now on, and why."""
        with self._condition:
            bad = self._suspicions.succeeded(worker, chunk)
            self._retired |= bad.keys()
            return list(bad.values())

    @contextmanager
    def one(
        self, may_wait: Callable[[], bool], preferred: str | None = None, avoided: Collection[str] = ()
    ) -> Iterator[str]:
        """Hold a slot during the block; yield its worker, which is `preferred` as long as that is there.

        It is none of the `avoided` as long as there is another.

        Raises CancelledError if `may_wait`, asked several times a second, says no.
        """
        ticket = _Ticket(preferred, avoided)
        with self._condition:
            self._queue.append(ticket)
            try:
                while may_wait():
                    self._deal()
                    if ticket.worker is not None:
                        break
                    self._condition.wait(_WAIT_S)
                else:
                    raise CancelledError
            except BaseException:
                self._give_back(ticket)
                raise
            worker = ticket.worker
            waiting_for = max(1.0, self._taken[worker] / self._at_once(worker))
        begin_s = time.monotonic()
        try:
            yield worker
        finally:
            took_s = (time.monotonic() - begin_s) / waiting_for
            with self._condition:
                (self._quick.add if took_s < _QUICK_S else self._quick.discard)(worker)
                self._give_back(ticket)

    def _deal(self) -> None:
        """Give the free slots to those who wait, in the order in which they came."""
        for ticket in tuple(self._queue):
            worker = self._free(ticket)
            if worker is not None:
                ticket.worker = worker
                self._taken[worker] += 1
                self._queue.remove(ticket)
            elif ticket.preferred is None and not ticket.avoided:
                return  # no worker is free, for anybody

    def _give_back(self, ticket: _Ticket) -> None:
        if ticket.worker is None:
            self._queue.remove(ticket)
            return
        self._taken[ticket.worker] -= 1
        self._deal()
        self._condition.notify_all()

    def _in_use(self) -> Collection[str]:
        return [worker for worker in self._workers if worker not in self._retired] or self._workers

    def _free(self, ticket: _Ticket) -> str | None:
        """Return the worker that can begin a task first, or None if all have enough."""
        workers = self.workers()
        if ticket.preferred is not None and ticket.preferred in workers:
            workers = [ticket.preferred]
        else:
            workers = self._in_use()
            workers = [worker for worker in workers if worker not in ticket.avoided] or workers
        free = [worker for worker in workers if self._taken[worker] < self._slots_of(worker)]
        return min(free, key=lambda worker: self._taken[worker] / self._at_once(worker), default=None)

    def _at_once(self, worker: str) -> int:
        threads = max(1, self._workers.get(worker, 1) - self._spare_threads)
        return min(threads, self._most_at_once, self._limits.get(worker, threads))

    def _slots_of(self, worker: str) -> int:
        return min(self._workers.get(worker, 1), self._at_once(worker) + (worker in self._quick))

    def _look_now(self) -> None:
        with suppress(Exception):  # a closed client knows no workers, and nobody needs them
            workers = dict(self._look())
            with self._condition:
                self._workers = workers
        with self._condition:
            self._next_look = time.monotonic() + _LOOK_INTERVAL_S
            self._condition.notify_all()
