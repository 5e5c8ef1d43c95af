"""The stub: it exercises all the machinery, detects nothing, and says so in every file it writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from badc.chunks.manifest import Chunk
from badc.detections.result import ChunkResult, ResultStatus
from badc.recordings.audio import AudioWindow, read_samples
from badc.runners.interface import RunnerOutput, RunnerSpec, WorkerPlace


class StubSpec(RunnerSpec):
    """Settings of the stub: none."""

    name = "stub"
    kind = "stub"
    title = "The stub"
    about = "Detects nothing: for trying out everything else."
    fixed: ClassVar[Mapping[str, Any]] = {"use_hawkears": False}

    @property
    def description(self) -> str:
        """See `RunnerSpec.description`."""
        return "the stub, which detects nothing"

    def open(self, place: WorkerPlace) -> StubRunner:
        """Make the runner."""
        return StubRunner()


class StubRunner:
    """Reads each chunk, as a classifier would, and finds nothing in it."""

    name = StubSpec.name

    def detect(self, chunk: Chunk, audio: AudioWindow) -> RunnerOutput:
        """Read the window, so that broken audio shows, and return no detections."""
        read_samples(audio)
        return RunnerOutput(ChunkResult(chunk, self.name, ResultStatus.STUB))

    def close(self) -> None:
        """Do nothing: there is no process."""
