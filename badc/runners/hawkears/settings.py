"""What the two HawkEars runners have in common."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from badc.runners.interface import FOUND, RunnerSpec, Switch

SOURCE_ROOT = Path(__file__).parents[3]
INSTALL = (
    "install HawkEars 2.x with `make hawkears` in BADC's folder, or name an interpreter that has it with "
    "--hawkears-python; for HawkEars 1.x fetch it with `git submodule update --init vendor/HawkEars`, or name its "
    "folder with --hawkears-root"
)


class HawkearsEngine(StrEnum):
    """How HawkEars is run."""

    SCRIPT = "script"
    RESIDENT = "resident"


class HawkearsSettings(RunnerSpec):
    """The settings of both HawkEars runners."""

    name = "hawkears"
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
