"""What every runner offers, and the settings from which a worker makes one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from badc.chunks.manifest import Chunk
from badc.detections.result import ChunkResult, RunnerName
from badc.errors import RunnerError
from badc.recordings.audio import AudioWindow, require_unchanged, wav_bytes


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
    raw_files
        What the program itself wrote, by file name; kept beside the chunk's detections.
    """

    result: ChunkResult
    stdout: str = ""
    stderr: str = ""
    returncode: int | None = None
    raw_files: Mapping[str, bytes] = field(default_factory=dict)


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


@runtime_checkable
class BatchRunner(Runner, Protocol):
    """A runner that saves time by taking several chunks in one call (`--chunks-per-task`)."""

    def detect_batch(self, items: Sequence[tuple[Chunk, AudioWindow]]) -> list[RunnerOutput | RunnerError]:
        """Analyse several chunks in one call.

        Returns
        -------
        list of RunnerOutput or RunnerError
            What came of each chunk, in their order.

        Raises
        ------
        RunnerError
            When the call failed as a whole, and with it every chunk's attempt.
        """


class RunnerSpec(Protocol):
    """A runner's settings: frozen, hashable and small, since they travel with every task."""

    @property
    def name(self) -> RunnerName:
        """What its results say as `runner`."""

    @property
    def description(self) -> str:
        """What a run says it uses: name, version where it is known, and how it is run."""

    @property
    def takes_batches(self) -> bool:
        """Whether its runner is a `BatchRunner`."""

    def open(self, place: WorkerPlace) -> Runner:
        """Make the runner on its worker."""


@contextmanager
def chunk_wav(chunk: Chunk, audio: AudioWindow, folder: Path) -> Iterator[Path]:
    """Give a chunk as a WAV: its own file where it has one, else one in `folder` for the length of the block."""
    if audio.whole_file:
        require_unchanged(audio)
        yield audio.path
        return
    path = folder / f"{chunk.chunk_id}.wav"
    path.write_bytes(wav_bytes(audio))
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
