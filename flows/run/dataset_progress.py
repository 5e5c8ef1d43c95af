"""How far the recordings of a dataset are, taken together."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import replace

from badc.datasets.inference.recording import RecordingToInfer
from badc.inference.progress import Progress


class DatasetProgress:
    """The progress of a dataset's recordings; what it costs to ask does not grow with their number.

    A recording is first handed out, then its own progress is noted, and then it ends. Any thread may call this.
    """

    def __init__(self, recordings: Iterable[RecordingToInfer]) -> None:
        recordings = list(recordings)
        self._lock = threading.Lock()
        self._begin = time.monotonic()
        self._not_handed_out = sum(r.chunks for r in recordings)
        self._not_noted = _no_progress(self._not_handed_out, sum(r.audio_ms for r in recordings))
        self._noted: dict[str, Progress] = {}
        self._ended = _no_progress(0, 0)

    def hand_out(self, recording: RecordingToInfer) -> None:
        """Count a recording among those that are begun or will be at once."""
        with self._lock:
            self._not_handed_out -= recording.chunks

    def put_back(self, recording: RecordingToInfer) -> None:
        """Count a recording that was handed out as one that waits."""
        with self._lock:
            self._not_handed_out += recording.chunks

    def note(self, recording: RecordingToInfer, progress: Progress) -> None:
        """Take in how far a recording is."""
        with self._lock:
            if recording.recording_id not in self._noted:
                self._not_noted += _no_progress(-recording.chunks, -recording.audio_ms)
            self._noted[recording.recording_id] = progress

    def end(self, recording_id: str) -> Progress | None:
        """Return how far a recording was that has ended; None if nothing was noted of it."""
        with self._lock:
            progress = self._noted.pop(recording_id, None)
            if progress is not None:
                self._ended += replace(progress, troubles=())
        return progress

    def under_way(self) -> dict[str, Progress]:
        """Return what was noted of the recordings that have not ended, by id."""
        with self._lock:
            return dict(self._noted)

    def total(self) -> Progress:
        """Return the progress of all recordings together."""
        with self._lock:
            total = sum(self._noted.values(), self._ended + self._not_noted)
        return replace(total, elapsed_s=time.monotonic() - self._begin)

    def ahead_s(self) -> float:
        """Return for how many seconds what is handed out keeps the workers busy, at the speed so far."""
        total = self.total()
        if not total.done:
            return float("inf")
        return (total.left - self._not_handed_out) / total.done * total.elapsed_s


def _no_progress(chunks: int, audio_ms: int) -> Progress:
    """Return the progress of chunks with so much audio, of which none has begun."""
    return Progress(chunks, 0, 0, 0, 0, audio_ms, 0.0, 0)
