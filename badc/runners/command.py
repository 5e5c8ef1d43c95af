"""Any command as a runner: `CMD --input <chunk wav> --output <json path>`, once per chunk."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any, Self

import orjson
from pydantic import Field

from badc.chunks.manifest import Chunk
from badc.datalad.run import inside
from badc.detections.result import ChunkResult, InvalidResultError, ResultStatus, parse_detections
from badc.errors import RequestError, RunnerError
from badc.recordings.audio import AudioWindow
from badc.runners.interface import (
    FOUND,
    AtOnce,
    ChunkTimeout,
    RunnerOutput,
    RunnerSpec,
    WorkerPlace,
    chunk_wav,
    variables_named,
)
from badc.runners.process.once import run_process
from badc.system import leash
from badc.system.paths import absolute

_OURS = frozenset({"chunk_id", "recording_id", "source_path", "chunk", "runner", "dataset_root", "detections"})
# What a command may call so, and BADC calls so itself.
_RENAMED = {"settings": "command_settings", "fingerprint": "command_fingerprint"}

_NO_OUTPUT = (
    "the command ended with 0 and wrote no output, so this does not count as analysed; it has to write JSON, such as "
    '{"detections": []}, to the file that follows --output'
)
# Of the last line that a command wrote about its failure.
_SAID_CHARS = 200


class CommandSpec(RunnerSpec):
    """Settings of a custom command; `secrets` has the values of `runner_env`, which no message or record may show."""

    name = "custom"
    kind = "command"
    title = "A command"
    about = "Any command, called as CMD --input WAV --output JSON for each chunk."
    at_once = AtOnce()
    secrets_from = "runner_env"
    aside = frozenset({"runner_env", "secrets"})

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

    def made_with(self, root: Path | None = None) -> dict[str, Any]:
        """See `RunnerSpec.made_with`; the version is what the command says."""
        made = super().made_with(root)
        try:
            return made | {"runner_cmd": from_root(root, self.runner_cmd)[0]}
        except RequestError:  # behind a link, where no record can follow
            return made

    @classmethod
    def from_anywhere(cls, name: str, value: Any) -> Any:
        """See `RunnerSpec.from_anywhere`; of the command, each word that names a file or folder here."""
        return _from_anywhere(value) if name == "runner_cmd" and value else super().from_anywhere(name, value)

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
                said = finished.stderr.strip().rpartition("\n")[2].strip()[:_SAID_CHARS]
                ended = f"the command {leash.how_it_ended(finished.returncode)}"
                raise RunnerError(f"{ended}: {said}" if said else ended, **vars(finished))
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
    further: dict[str, Any] = {key: value for key, value in document.items() if key not in _OURS}
    return ChunkResult(
        chunk,
        CommandSpec.name,
        ResultStatus(status),
        detections,
        model_version=None if version is None else str(version),
        extra={_RENAMED.get(key, key): value for key, value in further.items()},
    )


def from_root(root: Path | None, command: str) -> tuple[str, list[str]]:
    """Return a custom command whose files are named from the dataset's root, and those of them that lie in it.

    Without a root, and outside of it, they are absolute.

    Files are words, or parts of words after a `=`, that name a file seen from here. A command that cannot be split
    stays as it is; the runner refuses it later.
    """
    try:
        words = shlex.split(command)
    except ValueError:
        return command, []
    inputs: list[str] = []
    changed = [_word_from_root(root, word, number == 0, inputs) for number, word in enumerate(words)]
    # The user's own quoting stays where nothing has to change.
    return (command if changed == words else shlex.join(changed)), inputs


def _word_from_root(root: Path | None, word: str, is_program: bool, inputs: list[str]) -> str:
    option, equals, value = word.rpartition("=") if word.startswith("-") else ("", "", word)
    if not value or not Path(value).is_file():
        return word
    if is_program and "/" not in value and shutil.which(value) is not None:
        return word  # looked up on the PATH, not here
    full = absolute(Path(value))
    if root is None or not full.is_relative_to(root):
        return f"{option}{equals}{full}" if not Path(value).is_absolute() else word
    relative = inside(root, full, "a file of --runner-cmd")
    inputs.append(relative)
    return f"{option}{equals}{'./' if is_program and '/' not in relative else ''}{relative}"


def _from_anywhere(command: str) -> str:
    """Return a command whose files and folders that are here are absolute.

    RequestError when a word is clearly a path from here, and nothing is there.
    """
    try:
        words = shlex.split(command)
    except ValueError:
        return command
    changed = [_word_from_anywhere(word, number == 0) for number, word in enumerate(words)]
    return command if changed == words else shlex.join(changed)


def _word_from_anywhere(word: str, is_program: bool) -> str:
    option, equals, value = word.rpartition("=") if word.startswith("-") else ("", "", word)
    path = Path(value)
    if not value or path.is_absolute() or (is_program and "/" not in value and shutil.which(value) is not None):
        return word
    if path.is_file() or ("/" in value and path.exists()):
        return f"{option}{equals}{absolute(path)}"
    if value.startswith(("./", "../")) or (is_program and "/" in value):
        raise RequestError(f"--runner-cmd: {value} is not in {Path.cwd()}; a job starts in another folder")
    return word
