"""How many threads run at once, and work that waits for a disk or the network, on several of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_THREADS = 8  # opening files is waiting for the disk or the network
_BATCH_ITEMS = 64
_BATCHES_PER_THREAD = 8
Item = TypeVar("Item")
Made = TypeVar("Made")


def cores() -> int:
    """Return the number of cores that this process may use: those of the machine, or fewer, as in a Slurm job."""
    return len(os.sched_getaffinity(0))


def in_threads(function: Callable[[Item], Made], items: Sequence[Item], threads: int = _THREADS) -> Iterator[Made]:
    """Apply a function that opens files to each item on several threads; yield the results in order.

    Many items are handed over in batches, since handing one over takes longer than opening a small file; few go one by
    one, so that all threads have some.
    """
    batch_items = max(1, min(_BATCH_ITEMS, len(items) // (threads * _BATCHES_PER_THREAD)))
    batches = [items[start : start + batch_items] for start in range(0, len(items), batch_items)]
    with ThreadPoolExecutor(threads) as pool:
        for made in pool.map(lambda batch: [function(item) for item in batch], batches):
            yield from made
