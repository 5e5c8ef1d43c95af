"""How far a run is."""

from __future__ import annotations

from dataclasses import dataclass

from badc.system.clock import duration_text, hours_text


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is, in chunks and in ms of audio.

    `total` and `audio_total_ms` are of all that is to run, `failed` are chunks that failed for good, `skipped` those
    that were done before, and `running` those that a worker is analysing now. `troubles` says which
    workers give no sign of life, or get no more chunks.
    """

    total: int
    done: int
    failed: int
    skipped: int
    audio_ms: int
    audio_total_ms: int
    elapsed_s: float
    running: int
    no_output: int = 0
    troubles: tuple[str, ...] = ()

    @property
    def times_real_time(self) -> float:
        """Seconds of audio analysed per second."""
        return self.audio_ms / 1000 / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def left(self) -> int:
        """Chunks that are not done and have not failed."""
        return self.total - self.done - self.failed

    @property
    def left_s(self) -> float | None:
        """Seconds until the end at this pace; None before anything is done."""
        return (self.audio_total_ms - self.audio_ms) / 1000 / self.times_real_time if self.audio_ms else None

    def __add__(self, other: Progress) -> Progress:
        """Return the progress of two runs together, which may be at the same time."""
        return Progress(
            total=self.total + other.total,
            done=self.done + other.done,
            failed=self.failed + other.failed,
            skipped=self.skipped + other.skipped,
            audio_ms=self.audio_ms + other.audio_ms,
            audio_total_ms=self.audio_total_ms + other.audio_total_ms,
            elapsed_s=max(self.elapsed_s, other.elapsed_s),
            running=self.running + other.running,
            no_output=self.no_output + other.no_output,
            troubles=tuple(dict.fromkeys(self.troubles + other.troubles)),
        )

    def describe(self, ended: bool = False) -> str:
        """Return it as one line, with the time left, or the time it took if the run has ended."""
        left_s = self.left_s if self.left and not ended else None
        return (
            f"{self.done}/{self.total} chunks, {self.failed} failed, "
            + (f"{self.no_output} whose command wrote nothing, " if self.no_output else "")
            + f"{hours_text(self.audio_ms / 3.6e6)} of audio"
            + (f" in {duration_text(self.elapsed_s)}" if ended else "")
            + f", {self.times_real_time:.0f} × real time"
            + (f", {duration_text(left_s)} left" if left_s is not None else "")
            + ("" if ended else "".join(f"; {trouble}" for trouble in self.troubles))
        )
