"""One attempt at one chunk, as the worker reports it: once when it starts, once when it has ended."""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass, field
from typing import Any

from badc.system.clock import now


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt; with `ok` None it has only started.

    Parameters
    ----------
    token
        Tells this attempt from every other one, also of the same chunk.
    key
        The chunk's key in the run's summary.
    started_at, finished_at
        ISO-8601 with offset.
    gpu_index, gpu_name
        The worker's GPU, or None on a CPU worker.
    ok
        Whether it succeeded.
    runtime_s
        How long it took, in seconds.
    details
        What telemetry keeps of it: `output`, `stdout`, `stderr`, `returncode`, `error`, `gpu_metrics`, … as they apply.
    found
        The labels that it detected, as of `badc.inference.findings.label_counts`; telemetry does not keep them.
    """

    key: str
    gpu_index: int | None
    gpu_name: str | None
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    started_at: str = field(default_factory=lambda: now())
    finished_at: str | None = None
    ok: bool | None = None
    runtime_s: float | None = None
    details: dict[str, Any] = field(default_factory=dict)
    found: dict[str, tuple[int, int, float, float]] = field(default_factory=dict)

    def to_message(self) -> dict[str, Any]:
        """Return it as plain values that travel between processes."""
        return asdict(self)

    @classmethod
    def from_message(cls, message: dict[str, Any]) -> Attempt:
        """Return the attempt of a `to_message`."""
        return cls(**message)
