"""A command that stays: started once per worker with its model loaded, it answers for one chunk after the other.

`badc.runners.process.serve` is its side, and docs/add-a-runner.md describes the protocol.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from badc.chunks.manifest import Chunk
from badc.detections.result import InvalidResultError
from badc.errors import RunnerError
from badc.recordings.audio import AudioWindow, read_samples, require_unchanged
from badc.runners.command_line import CommandLineSpec, result_told
from badc.runners.embeddings import parse_embeddings
from badc.runners.interface import ChunkTimeout, RunnerOutput, WorkerPlace, chunk_wav
from badc.runners.process.resident import Host

_WHAT = "the resident command"
# Of an answer, what is no part of the chunk's result.
_OF_THE_PROTOCOL = frozenset({"id", "ok", "embeddings"})


class ResidentSpec(CommandLineSpec):
    """Settings of a resident command."""

    name = "resident"
    kind = "resident"
    title = "A resident command"
    about = "A program that loads its model once per worker, and then answers for each chunk in a line of JSON."
    keeps_model = True
    embeds = ("runner_resident",)

    runner_resident: Annotated[
        str,
        Field(
            description="Command to start once per worker, which loads its model, and then answers for each chunk in "
            "a line of JSON."
        ),
    ]
    chunk_timeout_s: ChunkTimeout = None

    @property
    def description(self) -> str:
        """See `RunnerSpec.description`."""
        return f"the resident command {self.runner_resident}"

    def prepared(self) -> Self:
        """See `CommandLineSpec.prepared`; a command that cannot be split into words is refused."""
        self.words()
        return super().prepared()

    def open(self, place: WorkerPlace) -> ResidentRunner:
        """Make the runner; its program starts at the first chunk."""
        return ResidentRunner(self, place)


class _Greeting(BaseModel):
    """What a program says of itself; `rate` is that of the WAV that it wants, None for the recording's."""

    model_config = ConfigDict(frozen=True, strict=True)

    name: Annotated[str, Field(min_length=1)]
    model_version: str = ""
    at_once: Annotated[int, Field(ge=1)] = 1
    wav: bool = False
    rate: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    why_fewer: str = ""

    def version(self, of_answer: object) -> str:
        """Return the `model_version` of a result: the name, and the version that the answer or the greeting tells."""
        version = str(of_answer or self.model_version)
        return version if version.startswith(self.name) else f"{self.name} {version}".rstrip()


class ResidentRunner:
    """Asks the program about each chunk."""

    name = ResidentSpec.name

    def __init__(self, spec: ResidentSpec, place: WorkerPlace) -> None:
        self._timeout_s = spec.chunk_timeout_s
        self._place = place
        self._host = Host(spec.words(), place.environment, _WHAT, spec.secrets)

    def detect(self, chunk: Chunk, audio: AudioWindow) -> RunnerOutput:
        """Ask about one chunk (see `Runner.detect`)."""
        greeting = self._greeting()
        with ExitStack() as files:
            folder = Path(files.enter_context(tempfile.TemporaryDirectory(dir=self._place.scratch_dir)))
            place = _place_of(chunk, audio, folder, files)
            if greeting.wav:
                place["wav"] = str(_wav_of(chunk, audio, greeting.rate, folder, files))
            request = {
                **place,
                "chunk_id": chunk.chunk_id,
                "recording_id": chunk.recording_id,
                "start_ms": chunk.start_ms,
                "end_ms": chunk.end_ms,
                "embeddings": self._place.embeds,
            }
            answer = self._host.request(request, self._timeout_s)
        told = {key: value for key, value in answer.items() if key not in _OF_THE_PROTOCOL}
        try:
            result = result_told(
                chunk, self.name, {**told, "model_version": greeting.version(told.get("model_version"))}
            )
        except InvalidResultError as error:
            raise RunnerError(f"{_WHAT} gave an invalid answer: {error}") from None
        embeddings = answer.get("embeddings") if self._place.embeds else None
        fewer = greeting.at_once < self._place.at_once
        return RunnerOutput(
            result,
            fits_at_once=greeting.at_once if fewer else None,
            why_fewer=(greeting.why_fewer or f"{greeting.name} takes {greeting.at_once}") if fewer else "",
            embeddings=None if embeddings is None else parse_embeddings(embeddings),
        )

    def _greeting(self) -> _Greeting:
        told = self._host.start()
        try:
            return _Greeting(**told)
        except ValidationError as error:
            self._host.close()
            wrong = error.errors()[0]
            raise RunnerError(f"{_WHAT}: the greeting's {wrong['loc'][0]}: {wrong['msg'].lower()}") from None

    def close(self) -> None:
        """End the program."""
        self._host.close()


def _place_of(chunk: Chunk, audio: AudioWindow, folder: Path, files: ExitStack) -> dict[str, Any]:
    """Return which frames of which file a chunk is.

    What a reader of the file alone would not find is in a WAV of its own: the mean of channels, several of many, and
    what lies beyond a wrong header.
    """
    source = audio.source
    is_plain = source.extent is None and source.claimed_frames is None
    if is_plain and not audio.mean and (audio.channels is None or len(audio.channels) == 1):
        require_unchanged(audio)
        path, first_frame, channel = audio.path, audio.start_frame, audio.channels and audio.channels[0]
    else:
        path, first_frame, channel = files.enter_context(chunk_wav(chunk, audio, folder)), 0, None
    return {
        "audio": str(path),
        "first_frame": first_frame,
        "frames": audio.frames,
        "rate": source.rate,
        "channel": channel,
    }


def _wav_of(chunk: Chunk, audio: AudioWindow, rate: int | None, folder: Path, files: ExitStack) -> Path:
    """Return a WAV of a chunk, of float samples where its rate is another than the recording's."""
    if rate is None or rate == audio.source.rate:
        return files.enter_context(chunk_wav(chunk, audio, folder))
    import soundfile as sf
    import soxr

    samples, source_rate = read_samples(audio)
    path = folder / f"{chunk.chunk_id}_{rate}.wav"
    sf.write(path, soxr.resample(samples, source_rate, rate, quality="HQ"), rate, subtype="FLOAT")
    return path
