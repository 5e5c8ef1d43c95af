"""What a telemetry log says of one worker."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from badc.system.clock import epoch_s
from badc.telemetry.events import EventStatus

TREND_BUCKET_S = 30
TREND_BUCKETS = 10
_SILENT_LEAST_S = 60.0
_SILENT_TIMES_RUNTIME = 5.0


@dataclass(slots=True)
class TrendBucket:
    """What happened on a worker in `TREND_BUCKET_S` seconds."""

    number: int
    utilization_sum: float = 0.0
    utilization_count: int = 0
    vram_mib: float | None = None
    retries: int = 0

    @property
    def utilization_mean(self) -> float | None:
        """Mean of the attempts' mean utilizations, in percent, or None."""
        return self.utilization_sum / self.utilization_count if self.utilization_count else None


@dataclass(slots=True)
class WorkerStats:
    """What the log says a worker did; `last_*` are of its newest event. Utilization is in percent.

    `failures` are failed attempts that no other attempt followed, `failed_attempts` all that failed, and
    `retry_attempts` those that began after an earlier one had failed.
    """

    events: int = 0
    successes: int = 0
    failures: int = 0
    retry_attempts: int = 0
    failed_attempts: int = 0
    runtime_sum_s: float = 0.0
    runtime_count: int = 0
    utilization_min: float | None = None
    utilization_max: float | None = None
    utilization_sum: float = 0.0
    utilization_count: int = 0
    vram_peak_mib: float | None = None
    vram_total_mib: float | None = None
    last_chunk_id: str = ""
    last_at: str = ""
    host: str = ""
    silent_since_s: float | None = None  # seconds since 1970; None while it gives signs of life
    silent_limit_s: float | None = None
    is_retired: bool = False  # it gets no more chunks
    is_live: bool = False  # its newest event is known: none in the older part can be newer
    trend: deque[TrendBucket] = field(default_factory=lambda: deque(maxlen=TREND_BUCKETS))

    @property
    def mean_runtime_s(self) -> float | None:
        """Mean time of an attempt in seconds, or None before one has ended."""
        return self.runtime_sum_s / self.runtime_count if self.runtime_count else None

    @property
    def utilization_mean(self) -> float | None:
        """Mean of the attempts' mean utilizations, in percent, or None."""
        return self.utilization_sum / self.utilization_count if self.utilization_count else None

    def age_s(self, now_s: float) -> float | None:
        """Return the seconds since its last event."""
        at_s = epoch_s(self.last_at)
        return None if at_s is None else max(0.0, now_s - at_s)

    def is_silent(self, now_s: float) -> bool:
        """Whether its last event is older than a minute and than five of its mean runtimes."""
        age_s = self.age_s(now_s)
        return age_s is not None and age_s > max(_SILENT_LEAST_S, _SILENT_TIMES_RUNTIME * (self.mean_runtime_s or 0.0))

    def trouble(self, now_s: float) -> str | None:
        """Return what the run found out about it, if anything is wrong."""
        if self.silent_since_s is not None:
            silent_s = max(0.0, now_s - self.silent_since_s)
            if self.silent_limit_s is None:
                return f"silent for {silent_s:.0f} s"
            left_s = max(0.0, self.silent_limit_s - silent_s)
            return f"silent for {silent_s:.0f} s; its chunks run again within {left_s:.0f} s"
        return "gets no more chunks" if self.is_retired else None

    def take_news(self, status: EventStatus, at_s: float, details: dict[str, Any]) -> None:
        """Take in an event about the worker itself."""
        if status is EventStatus.WORKER_RETIRED:
            self.is_retired = True
            return
        self.silent_since_s = None
        if status is EventStatus.WORKER_SILENT:
            silent_s, limit_s = details.get("silent_s"), details.get("limit_s")
            self.silent_since_s = at_s - (silent_s if isinstance(silent_s, int | float) else 0.0)
            self.silent_limit_s = limit_s if isinstance(limit_s, int | float) else None

    def recent(self, end_s: float) -> list[TrendBucket | None]:
        """Return the buckets of the minutes before `end_s`, oldest first; None where nothing happened."""
        by_number = {bucket.number: bucket for bucket in self.trend}
        last = int(end_s // TREND_BUCKET_S)
        return [by_number.get(number) for number in range(last - TREND_BUCKETS + 1, last + 1)]

    def bucket(self, at_s: float) -> TrendBucket:
        """Return the bucket of a time, or the newest one if there is none for a time a little earlier."""
        number = int(at_s // TREND_BUCKET_S)
        if not self.trend or number > self.trend[-1].number:
            self.trend.append(TrendBucket(number))
        return next((bucket for bucket in self.trend if bucket.number == number), self.trend[-1])
