"""What runners of a person's own program share: a command line, and environment variables with secrets."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field

from badc.chunks.manifest import Chunk
from badc.datalad.run import inside
from badc.detections.result import ChunkResult, InvalidResultError, ResultStatus, parse_detections
from badc.errors import RequestError
from badc.runners.interface import FOUND, AtOnce, RunnerSpec, variables_named
from badc.settings.model import option_name
from badc.system.paths import absolute

_OURS = frozenset({"chunk_id", "recording_id", "source_path", "chunk", "runner", "dataset_root", "detections"})
# What a command may call so, and BADC calls so itself.
_RENAMED = {"settings": "command_settings", "fingerprint": "command_fingerprint"}


class CommandLineSpec(RunnerSpec):
    """Settings of a runner that a command line chooses, which is its one required field.

    It is split into words as by a POSIX shell; no shell runs it. `secrets` has the values of `runner_env`, which no
    message or record may show.
    """

    at_once = AtOnce()
    secrets_from = "runner_env"
    aside = frozenset({"runner_env", "secrets"})

    runner_env: Annotated[
        tuple[str, ...],
        Field(
            description="Environment variable that the command needs, such as a licence token. Every worker gets it; "
            "its value stands in no record. Repeatable."
        ),
    ] = ()
    secrets: Annotated[tuple[tuple[str, str], ...], Field(repr=False, json_schema_extra=FOUND)] = ()

    @property
    def command(self) -> str:
        """The command line."""
        return str(getattr(self, str(self.choice())))

    def words(self) -> list[str]:
        """Return the words of the command; RequestError if there are none, or a quotation mark has no other."""
        option = option_name(str(self.choice()))
        try:
            words = shlex.split(self.command)
        except ValueError as error:
            raise RequestError(f"{option} {self.command!r} cannot be split into words: {error}") from None
        if not words:
            raise RequestError(f"{option} is empty")
        return words

    def made_with(self, root: Path | None = None) -> dict[str, Any]:
        """See `RunnerSpec.made_with`; the version is what the command says."""
        made = super().made_with(root)
        try:
            return made | self.from_root(root)[0]
        except RequestError:  # behind a link, where no record can follow
            return made

    @classmethod
    def from_anywhere(cls, name: str, value: Any) -> Any:
        """See `RunnerSpec.from_anywhere`; of the command, each word that names a file or folder here."""
        return _from_anywhere(name, value) if name == cls.choice() and value else super().from_anywhere(name, value)

    def prepared(self) -> Self:
        """Take the values of its variables from this process's environment (see `RunnerSpec.prepared`)."""
        return self.model_copy(update={"secrets": variables_named("--runner-env", self.runner_env)})

    def from_root(self, root: Path | None) -> tuple[dict[str, str], list[str]]:
        """Return the command's setting with its files named from the dataset's root, and those of them that lie in it.

        Without a root, and outside of it, they are absolute.

        Files are words, or parts of words after a `=`, that name a file seen from here. A command that cannot be split
        stays as it is; the runner refuses it later.
        """
        name = str(self.choice())
        try:
            words = shlex.split(self.command)
        except ValueError:
            return {name: self.command}, []
        inputs: list[str] = []
        changed = [
            _word_from_root(root, word, number == 0, option_name(name), inputs) for number, word in enumerate(words)
        ]
        # The user's own quoting stays where nothing has to change.
        return {name: self.command if changed == words else shlex.join(changed)}, inputs


def result_told(chunk: Chunk, runner: str, document: Mapping[str, Any]) -> ChunkResult:
    """Return the result that a person's program gives in a JSON object; its detections and further keys stay as told.

    Raises
    ------
    InvalidResultError
        When it does not follow the format.
    """
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
        runner,
        ResultStatus(status),
        detections,
        model_version=None if version is None else str(version),
        extra={_RENAMED.get(key, key): value for key, value in further.items()},
    )


def _word_from_root(root: Path | None, word: str, is_program: bool, chosen_by: str, inputs: list[str]) -> str:
    option, equals, value = word.rpartition("=") if word.startswith("-") else ("", "", word)
    if not value or not Path(value).is_file():
        return word
    if is_program and "/" not in value and shutil.which(value) is not None:
        return word  # looked up on the PATH, not here
    full = absolute(Path(value))
    if root is None or not full.is_relative_to(root):
        return f"{option}{equals}{full}" if not Path(value).is_absolute() else word
    relative = inside(root, full, f"a file of {chosen_by}")
    inputs.append(relative)
    return f"{option}{equals}{'./' if is_program and '/' not in relative else ''}{relative}"


def _from_anywhere(name: str, command: str) -> str:
    """Return a command whose files and folders that are here are absolute.

    RequestError when a word is clearly a path from here, and nothing is there.
    """
    try:
        words = shlex.split(command)
    except ValueError:
        return command
    changed = [_word_from_anywhere(option_name(name), word, number == 0) for number, word in enumerate(words)]
    return command if changed == words else shlex.join(changed)


def _word_from_anywhere(chosen_by: str, word: str, is_program: bool) -> str:
    option, equals, value = word.rpartition("=") if word.startswith("-") else ("", "", word)
    path = Path(value)
    if not value or path.is_absolute() or (is_program and "/" not in value and shutil.which(value) is not None):
        return word
    if path.is_file() or ("/" in value and path.exists()):
        return f"{option}{equals}{absolute(path)}"
    if value.startswith(("./", "../")) or (is_program and "/" in value):
        raise RequestError(f"{chosen_by}: {value} is not in {Path.cwd()}; a job starts in another folder")
    return word
