"""What every runner offers, and the settings from which a worker makes one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from badc.audio import AudioWindow
from badc.detections import ChunkResult, RunnerName
from badc.manifest import Chunk


@dataclass(frozen=True, slots=True)
class RunnerOutput:
    """What a runner made of a chunk.

    Parameters
    ----------
    result
        The detections.
    stdout, stderr
        What its process printed, where it has one of its own for the chunk.
    returncode
        That process's exit code.
    """

    result: ChunkResult
    stdout: str = ""
    stderr: str = ""
    returncode: int | None = None


@dataclass(frozen=True, slots=True)
class WorkerPlace:
    """What a runner may use on its worker.

    Parameters
    ----------
    scratch_dir
        A folder for temporary files, of this worker process alone.
    environment
        Environment variables for the runner's processes, such as `CUDA_VISIBLE_DEVICES`.
    """

    scratch_dir: Path
    environment: dict[str, str] = field(default_factory=dict)


class Runner(Protocol):
    """Turns chunks into detections. One is made per worker process and kept until the process ends."""

    name: RunnerName

    def detect(self, chunk: Chunk, audio: AudioWindow) -> RunnerOutput:
        """Analyse one chunk.

        Raises
        ------
        RunnerError
            When this attempt failed. The runner must be ready for the next call.
        """

    def close(self) -> None:
        """End the runner's processes."""


class RunnerSpec(Protocol):
    """A runner's settings: frozen, hashable and small, since they travel with every task."""

    @property
    def name(self) -> RunnerName:
        """What its results say as `runner`."""

    def open(self, place: WorkerPlace) -> Runner:
        """Make the runner on its worker."""
