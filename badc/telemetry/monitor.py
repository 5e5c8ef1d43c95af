"""Watching a telemetry log, possibly huge, that another process writes: what is new, counted per worker.

Nothing here draws; `flows.cli.commands.monitor` does. Each look reads only what was added since the last one. Of what
the log held before the first look, the end is read first; the rest is counted later, a slice per look.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from badc.system.clock import epoch_s
from badc.system.texts import one_line
from badc.telemetry.events import EventStatus, FailureKind
from badc.telemetry.summary import RunState, summary_path
from badc.telemetry.summary_scan import SummaryReader
from badc.telemetry.tail import LogChange, LogReader
from badc.telemetry.worker_stats import TREND_BUCKET_S, TREND_BUCKETS, TrendBucket, WorkerStats

RATE_WINDOWS_S = (300, 3600)  # the second if too few chunks ended in the first: a chunk may take minutes
_FEWEST_FOR_RATE = 3
_STATUSES = frozenset(EventStatus)
_NEWS = frozenset(status for status in EventStatus if status.is_of_worker)


@dataclass(frozen=True, slots=True)
class ShownEvent:
    """One event as the screen shows it; what the log does not say is None."""

    at: str
    status: str
    chunk_id: str
    worker: str
    runtime_s: float | None
    attempt: int | None
    utilization_mean: float | None
    vram_peak_mib: float | None


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast chunks succeed, as a mean over the last `window_s` seconds."""

    chunks_per_min: float
    audio_h_per_h: float
    window_s: float


class MonitorState:
    """Counts of all events seen, per worker and for the run, and the last `tail` events."""

    def __init__(self, tail: int) -> None:
        self.workers: dict[str, WorkerStats] = {}
        self.events: deque[ShownEvent] = deque(maxlen=tail)
        self.successes = self.skipped = self.unreadable_lines = self.audio_ms = 0
        self.first_live_s: float | None = None
        self.last_live_s: float | None = None
        # second -> chunks that succeeded in it, and their audio in ms; the last hour only
        self._per_second: dict[int, list[int]] = {}

    def add(self, line: bytes, live: bool) -> None:
        """Count the event on a line. One from the older part (not `live`) counts in no trend and is not shown."""
        try:
            raw = orjson.loads(line)
            status, chunk_id, details = raw["status"], raw["chunk_id"], raw.get("details") or {}
            at, attempt = raw.get("finished_at") or raw["timestamp"], details.get("attempt")
            metrics = details.get("gpu_metrics") or {}
            at_s = epoch_s(at) if live else None
            readings = _readings(metrics)
            failed_for_good = status == "failure" and _is_final(details)
        except (ValueError, KeyError, TypeError, AttributeError):
            self.unreadable_lines += bool(line.strip())
            return
        known = isinstance(chunk_id, str) and isinstance(at, str) and isinstance(status, str) and status in _STATUSES
        if not known or (live and at_s is None):
            self.unreadable_lines += 1
            return
        runtime_s, label = _number(raw.get("runtime_s")), _label(raw)
        self._count_run(status, chunk_id, at_s)
        chunk_id = one_line(chunk_id)
        if live:
            shown = ShownEvent(at, status, chunk_id, label, runtime_s, _whole(attempt), readings.mean, readings.vram)
            self.events.append(shown)
        if status == "skipped":
            return  # no worker had it
        stats = self.workers.get(label) or self.workers.setdefault(label, WorkerStats())
        stats.host = stats.host or _host(raw)
        if status in _NEWS:
            if live or not stats.is_live:
                stats.take_news(EventStatus(status), epoch_s(at) or 0.0, details)
            return
        if live or not stats.is_live:
            stats.last_chunk_id, stats.last_at, stats.is_live = chunk_id, at, live
            stats.silent_since_s = None
        is_retry = status == "start" and (_whole(attempt) or 1) > 1
        _count_worker(stats, status, runtime_s, is_retry, failed_for_good)
        _count_gpu(stats, readings)
        if at_s is not None:
            _count_trend(stats.bucket(at_s), readings, is_retry)

    def pace(self, end_s: float, started_s: float | None) -> Pace | None:
        """Return the pace of the last minutes up to `end_s`, or None if no chunk succeeded in them."""
        begin_s = max(self.first_live_s or end_s, started_s or 0.0)
        chunks, audio_ms, window_s = 0, 0, 1.0
        for longest_s in RATE_WINDOWS_S:
            window_s = max(1.0, min(end_s - begin_s, longest_s))
            within = [pair for second, pair in self._per_second.items() if second >= int(end_s - window_s)]
            chunks, audio_ms = sum(pair[0] for pair in within), sum(pair[1] for pair in within)
            if chunks >= _FEWEST_FOR_RATE:
                break
        return Pace(chunks * 60 / window_s, audio_ms / 1000 / window_s, window_s) if chunks else None

    def successes_after(self, at_s: float) -> int:
        """Return how many chunks succeeded after a time within the last hour, to the second."""
        return sum(pair[0] for second, pair in self._per_second.items() if second > at_s)

    def forget_old(self) -> None:
        """Drop what is older than the longest window."""
        if self.last_live_s is not None:
            oldest = self.last_live_s - RATE_WINDOWS_S[-1]
            for second in [second for second in self._per_second if second < oldest]:
                del self._per_second[second]

    def _count_run(self, status: str, chunk_id: str, at_s: float | None) -> None:
        if at_s is not None:
            self.first_live_s = at_s if self.first_live_s is None else min(self.first_live_s, at_s)
            self.last_live_s = max(self.last_live_s or at_s, at_s)
        self.skipped += status == "skipped"
        if status != "success":
            return
        audio_ms = chunk_ms(chunk_id)
        self.successes += 1
        self.audio_ms += audio_ms
        if at_s is not None:
            pair = self._per_second.setdefault(int(at_s), [0, 0])
            pair[0] += 1
            pair[1] += audio_ms


class Monitor:
    """A log, its counts and last `tail` events, and the summary beside it; raises RequestError as `LogReader` does.

    `refresh` brings all of it up to date.
    """

    def __init__(self, log: Path, tail: int) -> None:
        self.log = log
        self.reader = LogReader(log)
        self.state = MonitorState(tail)
        self.summary = SummaryReader(summary_path(log))
        self.rotations = self.truncations = 0
        self.is_missing = False
        self._tail = tail

    def refresh(self, budget_s: float | None = None) -> None:
        """Read what is new, then the summary and the older part while the budget lasts; None reads to the end.

        At least one block of each is read, so that every look gets further.
        """
        until_s = float("inf") if budget_s is None else time.monotonic() + budget_s
        change = self.reader.check()
        self.is_missing = change is LogChange.MISSING
        self.rotations += change is LogChange.ROTATED
        if change is LogChange.TRUNCATED:
            self.truncations += 1
            self.state = MonitorState(self._tail)
        self._take(self.reader.new_lines, until_s, live=True)
        self.state.forget_old()
        self.summary.step(until_s)
        self._take(self.reader.older_lines, until_s, live=False)

    @property
    def is_over(self) -> bool:
        """Whether the summary says that the run has ended; one without a state, of another program, is written then."""
        counts = self.summary.counts
        return counts is not None and counts.state is not RunState.RUNNING

    @property
    def done(self) -> int:
        """Chunks that succeeded: those in the summary and later ones in the log; without a summary, all in the log."""
        counts = self.summary.counts
        if counts is None:
            return self.state.successes + self.state.skipped
        if self.is_over or counts.updated_s is None:
            return counts.success
        return min(counts.total - counts.failure, counts.success + self.state.successes_after(counts.updated_s))

    def pace(self, now_s: float) -> Pace | None:
        """Return the pace of the last minutes: up to now, or up to the last event of a run that has ended."""
        end_s = (self.state.last_live_s or now_s) if self.is_over else now_s
        return self.state.pace(end_s, self.summary.counts.started_s if self.summary.counts else None)

    def trends_end_s(self, now_s: float) -> float:
        """Return the end of the time that trends cover: that of the last event once the run has ended or rests.

        It rests when nothing has happened in the whole time that trends cover, so that they would be empty.
        """
        last_s = self.state.last_live_s
        rests = last_s is not None and now_s - last_s > TREND_BUCKET_S * TREND_BUCKETS
        return last_s if last_s is not None and (self.is_over or rests) else now_s

    def left_s(self, now_s: float) -> float | None:
        """Return the seconds until all chunks are done at the present pace, or None if that is unknown."""
        counts, pace = self.summary.counts, self.pace(now_s)
        if counts is None or pace is None or self.is_over:
            return None
        return max(0, counts.total - counts.failure - self.done) * 60 / pace.chunks_per_min

    def _take(self, lines_of: Callable[[], list[bytes]], until_s: float, live: bool) -> None:
        add = self.state.add
        while lines := lines_of():
            for line in lines:
                add(line, live)
            if time.monotonic() >= until_s:
                return


class _Readings(NamedTuple):
    mean: float | None
    low: float | None
    high: float | None
    vram: float | None
    vram_total: float | None


_MOST_DIGITS = 15  # of the ms of a chunk: more is no time
_NOTHING_READ = _Readings(None, None, None, None, None)


def chunk_ms(chunk_id: str) -> int:
    """Return the length in ms from an id of the form `…_chunk_<start>_<end>`, or 0 for another form."""
    start, _, end = chunk_id.rpartition("_chunk_")[2].partition("_")
    are_times = start.isdecimal() and end.isdecimal() and len(end) <= _MOST_DIGITS
    return max(0, int(end) - int(start)) if are_times else 0


def _readings(metrics: dict[str, Any]) -> _Readings:
    if not metrics:
        return _NOTHING_READ
    low = high = vram = vram_total = None
    for kind in metrics.values():  # one pass by hand: this runs a million times on a large log
        if not kind:
            continue
        load, used, total = kind.get("utilization"), kind.get("memory_used_mb"), kind.get("memory_total_mb")
        for value in (load, used, total):
            if value is not None and not isinstance(value, int | float):
                raise TypeError("a reading is no number")
        if load is not None:
            low = load if low is None or load < low else low
            high = load if high is None or load > high else high
        if used is not None and (vram is None or used > vram):
            vram = used
        vram_total = total if total is not None else vram_total
    mean = (metrics.get("mean") or {}).get("utilization")
    if mean is None and low is not None:  # a log written without means
        mean = (low + high) / 2
    return _Readings(mean, low, high, vram, vram_total)


def _is_final(details: dict[str, Any]) -> bool:
    """Whether no attempt follows a failed one: otherwise telemetry has the delay before it, or says the worker died."""
    return details.get("backoff_s") is None and details.get("failure_kind") != FailureKind.WORKER_LOST


def _label(raw: dict[str, Any]) -> str:
    if raw.get("worker"):
        return one_line(str(raw["worker"]))
    return "(none)" if raw.get("gpu_index") is None else one_line(f"gpu-{raw['gpu_index']}")


def _host(raw: dict[str, Any]) -> str:
    host = raw.get("host")
    return one_line(host) if isinstance(host, str) else ""


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _count_worker(stats: WorkerStats, status: str, runtime_s: float | None, is_retry: bool, is_final: bool) -> None:
    stats.events += 1
    if status == "start":
        stats.retry_attempts += is_retry
        return
    stats.successes += status == "success"
    stats.failed_attempts += status == "failure"
    stats.failures += is_final
    if runtime_s is not None:
        stats.runtime_sum_s += runtime_s
        stats.runtime_count += 1


def _count_gpu(stats: WorkerStats, readings: _Readings) -> None:
    if readings.mean is not None and readings.low is not None and readings.high is not None:
        low, high = stats.utilization_min, stats.utilization_max
        stats.utilization_min = readings.low if low is None else min(low, readings.low)
        stats.utilization_max = readings.high if high is None else max(high, readings.high)
        stats.utilization_sum += readings.mean
        stats.utilization_count += 1
    if readings.vram is not None:
        stats.vram_peak_mib = max(stats.vram_peak_mib or 0, readings.vram)
        stats.vram_total_mib = readings.vram_total


def _count_trend(bucket: TrendBucket, readings: _Readings, is_retry: bool) -> None:
    bucket.retries += is_retry
    if readings.mean is not None:
        bucket.utilization_sum += readings.mean
        bucket.utilization_count += 1
    if readings.vram is not None:
        bucket.vram_mib = max(bucket.vram_mib or 0, readings.vram)
