"""What a run finds and how it uses its GPUs, gathered as it runs; its size does not grow with the number of chunks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from badc.detections.result import Detection

# Points in a GPU's history; beyond that, neighbours are joined.
_MOST_POINTS = 240


@dataclass(slots=True)
class LabelCount:
    """How often a label was detected, and the confidences of the `with_confidence` detections that have one."""

    detections: int = 0
    with_confidence: int = 0
    confidence_sum: float = 0.0
    confidence_max: float = 0.0

    @property
    def confidence_mean(self) -> float | None:
        """Mean confidence, or None where the classifier gives none."""
        return self.confidence_sum / self.with_confidence if self.with_confidence else None

    def add(self, other: LabelCount) -> None:
        """Add another count of the same label."""
        self.detections += other.detections
        self.with_confidence += other.with_confidence
        self.confidence_sum += other.confidence_sum
        self.confidence_max = max(self.confidence_max, other.confidence_max)


@dataclass(slots=True)
class GpuUse:
    """How a worker's GPU was used.

    `utilization` is the mean over the last chunk, in percent, or None where the driver gives none. Memory is in MiB:
    the most used in any chunk, and the total. `history` is in percent, oldest first; each point is the mean of
    `chunks_per_point` chunks.
    """

    name: str
    utilization: float | None = None
    memory_used_mb: int | None = None
    memory_total_mb: int | None = None
    history: list[float] = field(default_factory=list)
    chunks_per_point: int = 1
    _sum: float = 0.0
    _number: int = 0
    _all: float = 0.0
    _chunks: int = 0

    @property
    def utilization_mean(self) -> float | None:
        """Mean over all chunks, in percent."""
        return self._all / self._chunks if self._chunks else None

    def add(self, metrics: Mapping[str, Any]) -> None:
        """Add the `gpu_metrics` of one attempt."""
        peak, mean = metrics.get("peak") or {}, metrics.get("mean") or {}
        if (used := peak.get("memory_used_mb")) is not None:
            self.memory_used_mb = max(self.memory_used_mb or 0, int(used))
            self.memory_total_mb = int(peak["memory_total_mb"])
        self.utilization = mean.get("utilization")
        if self.utilization is None:
            return
        self._all += self.utilization
        self._chunks += 1
        self._sum += self.utilization
        self._number += 1
        if self._number == self.chunks_per_point:
            self.history.append(self._sum / self._number)
            self._sum, self._number = 0.0, 0
            if len(self.history) == _MOST_POINTS:
                pairs = zip(self.history[::2], self.history[1::2], strict=True)
                self.history = [(first + second) / 2 for first, second in pairs]
                self.chunks_per_point *= 2


class RunFindings:
    """Labels and GPUs of one run; `RunLedger` feeds it."""

    def __init__(self) -> None:
        self.labels: dict[str, LabelCount] = {}
        self.gpus: dict[str, GpuUse] = {}

    def add_labels(self, found: Mapping[str, tuple[int, int, float, float]]) -> None:
        """Add the `label_counts` of a chunk."""
        for label, values in found.items():
            self.labels.setdefault(label, LabelCount()).add(LabelCount(*values))

    def add_gpu(self, worker: str, name: str | None, metrics: Mapping[str, Any] | None) -> None:
        """Add the GPU readings of one attempt of a worker; None on a CPU worker."""
        if metrics is not None:
            self.gpus.setdefault(worker, GpuUse(name or "")).add(metrics)

    def top_labels(self, most: int) -> list[tuple[str, LabelCount]]:
        """Return the labels with the most detections, the most frequent first."""
        return sorted(self.labels.items(), key=lambda item: (-item[1].detections, item[0]))[:most]


def label_counts(detections: Iterable[Detection]) -> dict[str, tuple[int, int, float, float]]:
    """Return each label's values of a `LabelCount`, plain, so that they can travel with an attempt's report."""
    counts: dict[str, LabelCount] = {}
    for detection in detections:
        one = LabelCount(1)
        if detection.confidence is not None:
            one = LabelCount(1, 1, detection.confidence, detection.confidence)
        counts.setdefault(detection.label_name or detection.label, LabelCount()).add(one)
    return {label: (c.detections, c.with_confidence, c.confidence_sum, c.confidence_max) for label, c in counts.items()}
