"""The settings of the runner: which classifier, and what it is told."""

from __future__ import annotations

import os
import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, field_validator, model_validator

from badc.errors import RequestError
from badc.runners.interface import RunnerSpec
from badc.settings.model import Settings, option_name, turned_off_by

# The fields that choose a runner, of which one may be given, and what is for that runner only.
_OWN_FIELDS = {
    "runner_cmd": ("runner_env",),
    "use_hawkears": ("hawkears_arg", "hawkears_engine", "hawkears_python", "hawkears_data", "hawkears_root"),
    "use_birdnet": ("species_list", "birdnet_overlap_s", "min_confidence"),
}


class HawkearsEngine(StrEnum):
    """How HawkEars is run."""

    SCRIPT = "script"
    RESIDENT = "resident"


ChunkTimeout = Annotated[
    float | None,
    Field(
        gt=0,
        allow_inf_nan=False,
        description="Kill the runner when a chunk takes longer than so many seconds; a failed attempt.",
    ),
]


class RunnerSettings(Settings):
    """The settings of the runner, shared by the commands that run one.

    A command adds `chunk_timeout_s: ChunkTimeout = None` itself, at its place among the command's own limits: the order
    of the fields is that of the options, and a base class's fields come first.
    """

    if TYPE_CHECKING:
        chunk_timeout_s: ChunkTimeout

    runner_block: Annotated[
        str | None,
        Field(
            description="Runner that is saved in Prefect, by the name of its block. Options given beside it outweigh "
            "what it says."
        ),
    ] = None
    runner_cmd: Annotated[
        str | None,
        Field(
            description="Command to run on each chunk as CMD --input WAV --output JSON. Where no runner is chosen, a "
            "stub runs, which detects nothing."
        ),
    ] = None
    runner_env: Annotated[
        tuple[str, ...],
        Field(
            description="Environment variable that the command needs, such as a licence token. Every worker gets it; "
            "its value stands in no record. Repeatable."
        ),
    ] = ()
    use_hawkears: Annotated[
        bool,
        Field(
            description="Run HawkEars: 1.x where vendor/HawkEars or --hawkears-root has its analyze.py, else 2.x, "
            "resident, one process a worker (`make hawkears` installs it).",
            json_schema_extra=turned_off_by("--stub-runner"),
        ),
    ] = False
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
    hawkears_data: Annotated[
        Path | None,
        Field(description="HawkEars 2.x: its data root, with the weights. Default: where HawkEars itself looks."),
    ] = None
    hawkears_root: Annotated[
        Path | None,
        Field(description="HawkEars 1.x: the folder with its analyze.py. Default: vendor/HawkEars in BADC's folder."),
    ] = None
    use_birdnet: Annotated[
        bool,
        Field(
            description="Run BirdNET 2.4 (extra: birdnet). It uses one CPU core a worker: on a machine with GPUs give "
            "--max-gpus 0 --cpu-workers N."
        ),
    ] = False
    min_confidence: Annotated[
        float, Field(ge=0, le=1, description="BirdNET: leave out detections below this confidence.")
    ] = 0.25
    birdnet_overlap_s: Annotated[
        float, Field(ge=0, lt=3, description="BirdNET: seconds that neighbouring 3 s windows share.")
    ] = 0.0
    species_list: Annotated[
        Path | None,
        Field(description="BirdNET: report only the species in this file, one scientific or common name a line."),
    ] = None

    @field_validator("runner_env")
    @classmethod
    def _only_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        # The text of the error must not have what may be a secret.
        if not all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) for name in value):
            raise ValueError("give the name of an environment variable, and not its value: LICENCE_TOKEN")
        return value

    @model_validator(mode="after")
    def _check_runner(self) -> Self:
        chosen = self._chosen()
        if len(chosen) > 1:
            raise ValueError(f"{' and '.join(map(option_name, chosen))} exclude each other; give one of them")
        if self.runner_block is not None:
            return self  # checked when the block has filled in the rest
        for choice, fields in _OWN_FIELDS.items():
            given = {name for name in fields if getattr(self, name) != type(self).model_fields[name].default}
            if given and choice not in chosen:
                names = ", ".join(sorted(map(option_name, given)))
                raise ValueError(f"{names} is for {option_name(choice)}, which is not given")
        return self

    @property
    def runs_stub(self) -> bool:
        """Whether no runner is chosen, so that the stub runs, which detects nothing."""
        return not self._chosen()

    def _chosen(self) -> list[str]:
        return [name for name in _OWN_FIELDS if getattr(self, name) not in (None, False)]

    def runner_spec(self) -> RunnerSpec:
        """Return the settings of the chosen runner.

        Raises
        ------
        RequestError
            When that runner is not installed, its settings name something it does not know, or an environment variable
            that it needs is not set.
        """
        if self.use_hawkears:
            return self._hawkears_spec()
        if self.use_birdnet:
            from badc.runners.birdnet.runner import BirdnetSpec, model_folder, read_species_list

            model_folder()
            species = None if self.species_list is None else read_species_list(self.species_list)
            return BirdnetSpec(self.min_confidence, self.birdnet_overlap_s, species, self.chunk_timeout_s)
        if self.runner_cmd is not None:
            from badc.runners.command import CommandSpec

            return CommandSpec(self.runner_cmd, self.chunk_timeout_s, _values_of(self.runner_env))
        from badc.runners.stub import StubSpec

        return StubSpec()

    def _hawkears_spec(self) -> RunnerSpec:
        from badc.runners.hawkears.resident import hawkears_spec
        from badc.runners.hawkears.script import find_script, script_spec

        root = None if self.hawkears_engine is HawkearsEngine.RESIDENT else find_script(self.hawkears_root)
        if root is None and self.hawkears_engine is not HawkearsEngine.SCRIPT:
            return hawkears_spec(self.hawkears_python, self.hawkears_data, self.hawkears_arg, self.chunk_timeout_s)
        return script_spec(root, self.hawkears_python, self.hawkears_arg, self.chunk_timeout_s)


def _values_of(names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Return environment variables of this process with their values."""
    missing = [name for name in names if name not in os.environ]
    if missing:
        raise RequestError(
            f"--runner-env {missing[0]}: this variable is not set here; set it with `export {missing[0]}=…`, or give "
            "the --runner-block that keeps it"
        )
    return tuple((name, os.environ[name]) for name in names)
