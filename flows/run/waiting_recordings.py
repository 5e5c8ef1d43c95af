"""The recordings of a dataset that wait for their run: which begin next, and how many at a time."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from badc.datasets.inference.plan import OrchestrationPlan
from badc.datasets.inference.recording import RecordingToInfer
from flows.run.dataset_progress import DatasetProgress

_TICK_S = 0.25
# Recordings whose chunks are done and whose record and reports are being made, which needs no worker.
_MOST_FOLLOWING = 4
# Recordings share a flow run up to so many chunks: to start one takes half a second of a core.
_CHUNKS_OF_A_FLOW_RUN = 100
_MOST_TOGETHER = 32
_CHUNKS_PER_SLOT = 3  # one that runs, and two that are ready
# Unless their number is given, so many flow runs are begun while what is begun lasts for less than that.
_MOST_AHEAD, _AHEAD_S = 4, 20.0


class WaitingRecordings:
    """Hands out the recordings that wait, in their order, as long as the run is not `stopped`.

    `progress` learns of each that is handed out or put back. Any thread may call this.
    """

    def __init__(self, plan: OrchestrationPlan, progress: DatasetProgress, stopped: Callable[[], bool]) -> None:
        self._at_once = plan.settings.concurrent_recordings
        self._at_once_given = "concurrent_recordings" in plan.settings.model_fields_set
        self._progress = progress
        self._stopped = stopped
        self._left = deque(plan.todo)
        self._lock = threading.Lock()
        self._analysing = 0
        self._in_shared = 0
        self._ended_in_shared = threading.Condition()

    def __bool__(self) -> bool:
        return bool(self._left)

    @property
    def ids(self) -> list[str]:
        """The ids of those that still wait."""
        return [recording.recording_id for recording in self._left.copy()]

    @property
    def most_threads(self) -> int:
        """How many flow runs are under way at most, with those whose reports are being made."""
        return max(self._at_once, _MOST_AHEAD) + _MOST_FOLLOWING

    def may_begin(self, under_way: int) -> bool:
        """Whether to begin a flow run beside those that are under way."""
        most = self._at_once
        with self._lock:
            analysing = self._analysing
        if not self._at_once_given and most <= analysing < _MOST_AHEAD and self._progress.ahead_s() < _AHEAD_S:
            most = analysing + 1  # so that the queue of chunks does not run dry while one starts
        return bool(self._left) and analysing < most and under_way < most + _MOST_FOLLOWING and not self._stopped()

    def take(self, alone: bool) -> list[RecordingToInfer]:
        """Take the recordings of the next flow run: one, or, unless it is to be `alone`, several that are short.

        `analysed` is to be called when their chunks are done.
        """
        with self._lock:
            self._analysing += 1
            taken = [self._left.popleft()]
            chunks = taken[0].chunks
            while self._left and not alone:
                chunks += self._left[0].chunks
                if chunks > _CHUNKS_OF_A_FLOW_RUN:
                    break
                taken.append(self._left.popleft())
        for recording in taken:
            self._progress.hand_out(recording)
        return taken

    def analysed(self) -> None:
        """Count a flow run as one whose chunks are done."""
        with self._lock:
            self._analysing -= 1

    def put_back(self, recording: RecordingToInfer) -> None:
        """Let a recording wait that was taken and has not begun."""
        self._progress.put_back(recording)
        with self._lock:
            self._left.append(recording)

    def at_once_of(self, recordings: Sequence[RecordingToInfer], slots: int) -> int:
        """Return how many of the recordings of a shared flow run are run at once, to keep so many slots busy."""
        chunks_of_each = sum(recording.chunks for recording in recordings) / len(recordings)
        wanted = math.ceil(_CHUNKS_PER_SLOT * slots / chunks_of_each)
        return min(self._at_once if self._at_once_given else _MOST_TOGETHER, max(2, wanted))

    @contextmanager
    def turn_in_shared(self, at_once: int) -> Iterator[None]:
        """Wait until fewer than `at_once` are run in all shared flow runs together: the next one is only ready."""
        with self._ended_in_shared:
            while self._in_shared >= at_once and not self._stopped():
                self._ended_in_shared.wait(_TICK_S)
            self._in_shared += 1
        try:
            yield
        finally:
            with self._ended_in_shared:
                self._in_shared -= 1
                self._ended_in_shared.notify()
