"""Any command as a runner: `CMD --input <chunk wav> --output <json path>`, once per chunk."""

from __future__ import annotations

import stat
import tempfile
from pathlib import Path
from typing import Annotated, Any

import orjson
from pydantic import Field

from badc.chunks.manifest import Chunk
from badc.detections.result import ChunkResult, InvalidResultError, ResultStatus
from badc.errors import RequestError, RunnerError
from badc.recordings.audio import AudioWindow
from badc.runners.command_line import CommandLineSpec, result_told
from badc.runners.interface import ChunkTimeout, RunnerOutput, WorkerPlace, chunk_wav
from badc.runners.process.kept import with_last_line
from badc.runners.process.once import run_process
from badc.system import leash

# Of one chunk, and far more than any classifier writes.
_MOST_OUTPUT_BYTES = 256 << 20
_NO_OUTPUT = (
    "the command ended with 0 and wrote no output, so this does not count as analysed; it has to write JSON, such as "
    '{"detections": []}, to the file that follows --output'
)


class CommandSpec(CommandLineSpec):
    """Settings of a custom command."""

    name = "custom"
    kind = "command"
    title = "A command"
    about = "Any command, called as CMD --input WAV --output JSON for each chunk."

    runner_cmd: Annotated[
        str,
        Field(description="Command to run on each chunk as CMD --input WAV --output JSON."),
    ]
    chunk_timeout_s: ChunkTimeout = None

    @property
    def description(self) -> str:
        """See `RunnerSpec.description`."""
        return f"the command {self.runner_cmd}"

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
            words = self._spec.words()
        except RequestError as error:
            raise RunnerError(str(error)) from None
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
                ended = f"the command {leash.how_it_ended(finished.returncode)}"
                raise RunnerError(with_last_line(ended, finished.stderr), **vars(finished))
            try:
                result = _read_output(output, chunk)
            except InvalidResultError as error:
                raise RunnerError(f"the command wrote an invalid output: {error}", **vars(finished)) from None
        note = _NO_OUTPUT if result.status is ResultStatus.NO_OUTPUT else ""
        return RunnerOutput(result, note=note, **vars(finished))

    def close(self) -> None:
        """Do nothing: no process lives longer than its chunk."""


def _read_output(path: Path, chunk: Chunk) -> ChunkResult:
    """Return what the command wrote, or a result with the status `no_output` if it wrote nothing."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return ChunkResult(chunk, CommandSpec.name, ResultStatus.NO_OUTPUT)
    except OSError as error:
        raise InvalidResultError(f"{error.strerror}") from None
    if not stat.S_ISREG(found.st_mode):  # reading a pipe or a device might never end
        raise InvalidResultError("not a file")
    if found.st_size > _MOST_OUTPUT_BYTES:
        raise InvalidResultError(f"{found.st_size >> 20:,} MiB, more than {_MOST_OUTPUT_BYTES >> 20}")
    data = path.read_bytes()
    try:
        document: Any = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidResultError(f"not JSON: {error}") from None
    if not isinstance(document, dict):
        raise InvalidResultError("not a JSON object")
    return result_told(chunk, CommandSpec.name, document)
