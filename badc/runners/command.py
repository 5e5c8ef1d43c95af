"""Any command as a runner: `CMD --input <chunk wav> --output <json path>`, once per chunk."""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path
from typing import Annotated, Any, Self

import orjson
from pydantic import Field

from badc.chunks.manifest import Chunk
from badc.detections.result import ChunkResult, InvalidResultError, ResultStatus, parse_detections
from badc.errors import RunnerError
from badc.recordings.audio import AudioWindow
from badc.runners.interface import (
    FOUND,
    ChunkTimeout,
    RunnerOutput,
    RunnerSpec,
    WorkerPlace,
    chunk_wav,
    variables_named,
)
from badc.runners.process.once import run_process
from badc.system import leash

_OURS = frozenset({"chunk_id", "recording_id", "source_path", "chunk", "runner", "dataset_root", "detections"})


class CommandSpec(RunnerSpec):
    """Settings of a custom command; `secrets` has the values of `runner_env`, which no message or record may show."""

    name = "custom"
    kind = "command"
    title = "A command"
    about = "Any command, called as CMD --input WAV --output JSON for each chunk."
    secrets_from = "runner_env"

    # Split into words as by a POSIX shell; no shell runs it.
    runner_cmd: Annotated[
        str,
        Field(
            description="Command to run on each chunk as CMD --input WAV --output JSON. Where no runner is chosen, a "
            "stub runs, which detects nothing."
        ),
    ]
    runner_env: Annotated[
        tuple[str, ...],
        Field(
            description="Environment variable that the command needs, such as a licence token. Every worker gets it; "
            "its value stands in no record. Repeatable."
        ),
    ] = ()
    chunk_timeout_s: ChunkTimeout = None
    secrets: Annotated[tuple[tuple[str, str], ...], Field(repr=False, json_schema_extra=FOUND)] = ()

    @property
    def description(self) -> str:
        """See `RunnerSpec.description`."""
        return f"the command {self.runner_cmd}"

    def prepared(self) -> Self:
        """Take the values of its variables from this process's environment (see `RunnerSpec.prepared`)."""
        return self.model_copy(update={"secrets": variables_named("--runner-env", self.runner_env)})

    def open(self, place: WorkerPlace) -> CommandRunner:
        """Make the runner."""
        return CommandRunner(self, place)


class CommandRunner:
    """Runs the command for each chunk and keeps the detections that it wrote."""

    name = CommandSpec.name

    def __init__(self, spec: CommandSpec, place: WorkerPlace) -> None:
        self._spec = spec
        self._place = place

    def detect(self, chunk: Chunk, audio: AudioWindow) -> RunnerOutput:
        """Run the command on the chunk's WAV, a temporary one if the chunk is virtual (see `Runner.detect`)."""
        try:
            words = shlex.split(self._spec.runner_cmd)
        except ValueError as error:
            raise RunnerError(f"--runner-cmd {self._spec.runner_cmd!r} cannot be split into words: {error}") from None
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
                timeout_s=self._spec.chunk_timeout_s,
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
    """Return what the command wrote, or a result with the status `no_output` if it wrote nothing."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return ChunkResult(chunk, CommandSpec.name, ResultStatus.NO_OUTPUT)
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
        CommandSpec.name,
        ResultStatus(status),
        detections,
        model_version=None if version is None else str(version),
        extra={key: value for key, value in document.items() if key not in _OURS},
    )
