"""What the two HawkEars runners have in common."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from badc.runners.interface import FOUND, RunnerSpec, Switch
from badc.system.choices import Choice

INSTALL = (
    "install HawkEars 2.x with `make hawkears` in BADC's folder, or name an interpreter that has it with "
    "--hawkears-python; for HawkEars 1.x fetch it with `git submodule update --init vendor/HawkEars`, or name its "
    "folder with --hawkears-root"
)


class HawkearsEngine(Choice):
    """How HawkEars is run."""

    SCRIPT = "script"
    RESIDENT = "resident"


class HawkearsSettings(RunnerSpec):
    """The settings of both HawkEars runners."""

    name = "hawkears"
    aside = frozenset({"hawkears_engine", "hawkears_python", "python", "version", "model_version"})
    switch: ClassVar[Switch] = Switch(
        "use_hawkears",
        "Run HawkEars: 1.x where vendor/HawkEars or --hawkears-root has its analyze.py, else 2.x, resident, one "
        "process a worker (`make hawkears` installs it).",
        off="--stub-runner",
    )

    hawkears_arg: Annotated[
        tuple[str, ...],
        Field(
            description="A word for HawkEars' own command line, such as --min_score and then 0.7; repeatable. On a "
            "command line: --hawkears-arg=--min_score."
        ),
    ] = ()
    hawkears_engine: Annotated[
        HawkearsEngine | None,
        Field(description="script (HawkEars 1.x) or resident (2.x). Default: script where there is one."),
    ] = None
    hawkears_python: Annotated[
        Path | None,
        Field(
            description="Interpreter that has HawkEars. Default: that of `make hawkears` (.venv-hawkears), for a "
            "script its own .venv, else this one."
        ),
    ] = None
    python: Annotated[str, Field(json_schema_extra=FOUND)] = ""
    version: Annotated[str, Field(json_schema_extra=FOUND)] = ""
    model_version: Annotated[str, Field(json_schema_extra=FOUND)] = ""

    @property
    def known_version(self) -> str | None:
        """See `RunnerSpec.known_version`."""
        return self.model_version or None

    @property
    def working_dir(self) -> Path:
        """The folder from which HawkEars sees the files that its arguments name."""
        return Path()

    def made_with(self, root: Path | None = None) -> dict[str, Any]:
        """See `RunnerSpec.made_with`; a file that an argument names, such as a species list, counts by its content."""
        words = [_by_content(word, self.working_dir) for word in self.hawkears_arg]
        return super().made_with(root) | {"hawkears_arg": words}


def _by_content(word: str, folder: Path) -> str:
    option, equals, value = word.rpartition("=") if word.startswith("-") else ("", "", word)
    try:
        digest = hashlib.sha256((folder / value).read_bytes()).hexdigest() if value else ""
    except (OSError, ValueError):
        return word
    return f"{option}{equals}sha256:{digest[:16]}" if digest else word
