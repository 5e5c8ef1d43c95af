"""Workers that start while something else is still being done."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from typing import Self

from badc.inference.settings import InferOptions
from tasks.workers.cluster import Cluster, open_cluster


class WorkersAhead:
    """Workers that may be started before they are needed; the block ends them, if they were."""

    def __init__(self, settings: InferOptions, chunks: int | None = None) -> None:
        self._settings = settings
        self._chunks = chunks
        self._stack = ExitStack()
        self._opening: Future[Cluster] | None = None

    def start(self) -> None:
        """Start them without waiting for them."""
        if self._opening is None:
            thread = ThreadPoolExecutor(1, "workers")
            self._opening = thread.submit(self._stack.enter_context, open_cluster(self._settings, self._chunks))
            thread.shutdown(wait=False)

    def ready(self) -> Cluster:
        """Return them once they are there; raises as `open_cluster` does."""
        self.start()
        assert self._opening is not None
        return self._opening.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._opening is not None:
            wait([self._opening])
        self._stack.close()
