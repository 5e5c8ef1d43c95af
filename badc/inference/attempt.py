"""One attempt at one chunk, which the worker reports when it starts and when it has ended."""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass, field
from typing import Any

from badc.system.clock import now


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt; with `ok` None it has only started.

    `key` is the chunk's key in the run's summary; `token` distinguishes this attempt from every other, also of the same
    chunk. Times are ISO-8601 with offset. The GPU is None on a CPU worker; `host` is the worker's machine. Telemetry
    keeps `details` (`output`, `stdout`, `stderr`, `returncode`, `error`, `gpu_metrics`, … as they apply), but not
    `found`, the `badc.inference.findings.label_counts` of its detections.
    """

    key: str
    gpu_index: int | None
    gpu_name: str | None
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    started_at: str = field(default_factory=lambda: now())
    finished_at: str | None = None
    ok: bool | None = None
    host: str | None = None
    runtime_s: float | None = None
    details: dict[str, Any] = field(default_factory=dict)
    found: dict[str, tuple[int, int, float, float]] = field(default_factory=dict)

    def to_message(self) -> dict[str, Any]:
        """Return it as plain values that can travel between processes."""
        return asdict(self)

    @classmethod
    def from_message(cls, message: dict[str, Any]) -> Attempt:
        """Return the attempt that `to_message` was called on."""
        return cls(**message)
