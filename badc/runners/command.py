"""Any command as a runner: `CMD --input <chunk wav> --output <json path>`, once per chunk."""

from __future__ import annotations

import shlex
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from badc.chunks.manifest import Chunk
from badc.detections.result import ChunkResult, InvalidResultError, ResultStatus, RunnerName, parse_detections
from badc.errors import RunnerError
from badc.recordings.audio import AudioWindow
from badc.runners.interface import RunnerOutput, WorkerPlace, chunk_wav
from badc.runners.process.once import run_process
from badc.system import leash

_OURS = frozenset({"chunk_id", "recording_id", "source_path", "chunk", "runner", "dataset_root", "detections"})


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """Settings of a custom command.

    Parameters
    ----------
    command
        The command line, split as a POSIX shell splits words; no shell runs it.
    timeout_s
        After so many seconds its whole process group is killed; None waits for ever.
    secrets
        Environment variables for it, names and values, which no message or record may show.
    """

    command: str
    timeout_s: float | None = None
    secrets: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def name(self) -> RunnerName:
        """`custom`."""
        return RunnerName.CUSTOM

    @property
    def description(self) -> str:
        """See `RunnerSpec.description`."""
        return f"the command {self.command}"

    @property
    def takes_batches(self) -> bool:
        """See `RunnerSpec.takes_batches`."""
        return False

    def open(self, place: WorkerPlace) -> CommandRunner:
        """Make the runner."""
        return CommandRunner(self, place)


class CommandRunner:
    """Runs the command for each chunk and keeps the detections that it wrote."""

    name = RunnerName.CUSTOM

    def __init__(self, spec: CommandSpec, place: WorkerPlace) -> None:
        self._spec = spec
        self._place = place

    def detect(self, chunk: Chunk, audio: AudioWindow) -> RunnerOutput:
        """Run the command on the chunk's WAV, a temporary one where the chunk is virtual.

        Raises
        ------
        RunnerError
            When the command cannot be started, fails, takes too long, or writes something invalid.
        """
        try:
            words = shlex.split(self._spec.command)
        except ValueError as error:
            raise RunnerError(f"--runner-cmd {self._spec.command!r} cannot be split into words: {error}") from None
        if not words:
            raise RunnerError("--runner-cmd is empty")
        with (
            tempfile.TemporaryDirectory(dir=self._place.scratch_dir) as folder,
            chunk_wav(chunk, audio, Path(folder)) as wav,
        ):
            output = Path(folder, f"{chunk.chunk_id}.json")
            finished = run_process(
                [*words, "--input", str(wav), "--output", str(output)],
                what="the command",
                timeout_s=self._spec.timeout_s,
                environment=self._place.environment,
                secrets=self._spec.secrets,
            )
            if finished.returncode != 0:
                raise RunnerError(f"the command {leash.how_it_ended(finished.returncode)}", **vars(finished))
            try:
                result = _read_output(output, chunk)
            except InvalidResultError as error:
                raise RunnerError(f"the command wrote an invalid output: {error}", **vars(finished)) from None
        return RunnerOutput(result, **vars(finished))

    def close(self) -> None:
        """Do nothing: no process lives longer than its chunk."""


def _read_output(path: Path, chunk: Chunk) -> ChunkResult:
    """Return what the command wrote; where it wrote nothing, a result with the status `no_output`."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return ChunkResult(chunk, RunnerName.CUSTOM, ResultStatus.NO_OUTPUT)
    try:
        document: Any = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidResultError(f"not JSON: {error}") from None
    if not isinstance(document, dict):
        raise InvalidResultError("not a JSON object")
    if "detections" not in document:
        raise InvalidResultError("it has no 'detections' list")
    detections = parse_detections(document["detections"])
    status = document.get("status")
    # A status that denies the detections would make every table leave them out.
    if status not in list(ResultStatus) or detections:
        status = ResultStatus.OK if detections else ResultStatus.NO_DETECTIONS
    version = document.get("model_version")
    return ChunkResult(
        chunk,
        RunnerName.CUSTOM,
        ResultStatus(status),
        detections,
        model_version=None if version is None else str(version),
        extra={key: value for key, value in document.items() if key not in _OURS},
    )
