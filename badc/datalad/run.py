"""A command of BADC as DataLad sees it: what it reads and writes in which dataset."""

from __future__ import annotations

import glob
import shlex
from dataclasses import dataclass
from pathlib import Path

from badc.errors import RequestError
from badc.system.paths import absolute


@dataclass(frozen=True, slots=True)
class DataladRun:
    """A command that is run from the root of a dataset. All paths are relative to that absolute root (see `inside`).

    `message` is the first line of the record, such as `Infer REC`. In `output_folders` the command may write, replace
    or remove anything.
    """

    root: Path
    message: str
    command: tuple[str, ...]
    inputs: tuple[str, ...]
    output_files: tuple[str, ...] = ()
    output_folders: tuple[str, ...] = ()

    @property
    def outputs(self) -> tuple[str, ...]:
        """Files and folders that it writes."""
        return (*self.output_folders, *self.output_files)

    @property
    def input_patterns(self) -> list[str]:
        """The inputs as DataLad's glob patterns."""
        return [_pattern(path) for path in self.inputs]

    @property
    def output_patterns(self) -> list[str]:
        """The outputs as DataLad's glob patterns."""
        # Not the folder itself: DataLad would leave broken links in it where content was dropped.
        folders = [f"{_pattern(path)}/**" for path in self.output_folders]
        return [*folders, *(_pattern(path) for path in self.output_files)]

    @property
    def command_words(self) -> list[str]:
        """The words of the command for DataLad, which takes `{…}` for a placeholder and `{{…}}` for braces."""
        return [word.replace("{", "{{").replace("}", "}}") for word in self.command]

    def line(self) -> str:
        """Return a line that, pasted into a POSIX shell, runs the command under `datalad run`."""
        words = ["datalad", "-C", str(self.root), "run", "-m", self.message]
        for pattern in self.input_patterns:
            words += ["--input", pattern]
        for pattern in self.output_patterns:
            words += ["--output", pattern]
        return shlex.join([*words, "--", *self.command_words])

    def line_among_others(self) -> str:
        """Return `line` for a list of them: if the command fails, what it left is saved, or the next would refuse."""
        save = ["datalad", "-C", str(self.root), "save", "-m", f"{self.message}: failed", *self.outputs]
        return f"{self.line()} || ({shlex.join(save)} && false)"


def inside(root: Path, path: Path, what: str, is_folder: bool = False) -> str:
    """Return a path relative to the root of a dataset, as a `DataladRun` wants it.

    A relative path is relative to the working directory. `what` names it in messages, such as `--output-dir`. With
    `is_folder` it must not be a link itself. A file may be one: git-annex makes links.

    Raises
    ------
    RequestError
        When it is outside the dataset or behind a link to a folder, where git does not look, or when its name has a
        line break, which DataLad cannot save.
    """
    base, full = absolute(root), absolute(path)
    if not full.is_relative_to(base):
        raise RequestError(f"{path}: {what} lies outside of the dataset {root}, so `datalad run` cannot record it")
    if "\n" in str(full):
        raise RequestError(f"{str(path)!r}: the name of {what} has a line break, which DataLad cannot save; rename it")
    relative = full.relative_to(base)
    folders = list(relative.parents)[-2::-1]
    for folder in [*folders, relative] if is_folder else folders:
        if (base / folder).is_symlink():
            raise RequestError(
                f"{path}: {what} lies behind the link {base / folder}, so `datalad run` cannot record it; "
                "git keeps the link, not what is behind it"
            )
    return relative.as_posix()


def _pattern(path: str) -> str:
    """Return the glob pattern of a path.

    Braces become `?`. DataLad expands `{…}` in patterns too, and again when it reruns a record: `{{…}}`, right the
    first time, would fail the second.
    """
    pattern = glob.escape(path).replace("{", "?").replace("}", "?")
    return f"./{pattern}" if pattern.startswith("-") else pattern
