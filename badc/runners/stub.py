"""The stub: it runs the whole machinery and detects nothing, and says so in every file it writes."""

from __future__ import annotations

from dataclasses import dataclass

from badc.chunks.manifest import Chunk
from badc.detections.result import ChunkResult, ResultStatus, RunnerName
from badc.recordings.audio import AudioWindow, read_samples
from badc.runners.interface import RunnerOutput, WorkerPlace

WARNING = (
    "The stub runner detects NOTHING. Its outputs say status 'stub' and hold no detections. "
    "Choose --use-hawkears, --use-birdnet or --runner-cmd to find birds."
)


@dataclass(frozen=True, slots=True)
class StubSpec:
    """Settings of the stub: none."""

    @property
    def name(self) -> RunnerName:
        """`stub`."""
        return RunnerName.STUB

    @property
    def description(self) -> str:
        """See `RunnerSpec.description`."""
        return "the stub, which detects nothing"

    @property
    def takes_batches(self) -> bool:
        """See `RunnerSpec.takes_batches`."""
        return False

    def open(self, place: WorkerPlace) -> StubRunner:
        """Make the runner."""
        return StubRunner()


class StubRunner:
    """Reads each chunk, as a runner would, and finds nothing in it."""

    name = RunnerName.STUB

    def detect(self, chunk: Chunk, audio: AudioWindow) -> RunnerOutput:
        """Read the window, so that broken audio shows, and return no detections."""
        read_samples(audio)
        return RunnerOutput(ChunkResult(chunk, self.name, ResultStatus.STUB))

    def close(self) -> None:
        """Do nothing: there is no process."""
