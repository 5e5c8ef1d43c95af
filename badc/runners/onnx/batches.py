"""How many windows a model takes at once, found out while it works."""

from __future__ import annotations

_LEAST_GAIN = 1.05
_BATCHES_PER_SIZE = 3  # of which the first pays for memory and the choice of algorithms
MOST = 512


class BatchSize:
    """The number of windows to give a model at once, doubled while each takes less time.

    `size` is the number now, and `settled` whether it stays.
    """

    def __init__(self, size: int = 1, settled: bool = False) -> None:
        self.size = size
        self.settled = settled
        self._times_s: list[float] = []
        self._best: tuple[int, float] | None = None
        self._most_windows = 0

    def took(self, count: int, seconds: float, windows: int) -> None:
        """Note how long a batch of `count` windows took, of a chunk that has `windows`."""
        self._most_windows = max(self._most_windows, windows)
        # The rest of a chunk says nothing of this size.
        if self.settled or count < min(self.size, windows) or (self._best is not None and count <= self._best[0]):
            return
        self._times_s.append(seconds / count)
        if len(self._times_s) < _BATCHES_PER_SIZE:
            return
        window_s = min(self._times_s[1:])
        self._times_s = []
        if self._best is not None and window_s * _LEAST_GAIN > self._best[1]:
            self.size, self.settled = self._best[0], True
        elif self.size >= min(self._most_windows, MOST):
            self.settled = True
        else:
            self._best = (self.size, window_s)
            self.size *= 2

    def too_large(self, count: int) -> None:
        """Note that the memory does not hold so many: half of them from now on."""
        self.size, self.settled = max(1, count // 2), True
