"""The settings of each command: one frozen model that options, flow parameters, files and blocks all fill.

A field's description is the option's help; its default is documented nowhere else. `option_name` gives the option of a
field: `chunk_timeout_s` is `--chunk-timeout`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from badc.errors import RequestError
from badc.runners.base import RunnerSpec

ARGUMENT = {"argument": True}


class Settings(BaseModel):
    """A frozen set of settings; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_arguments(self) -> list[str]:
        """Return the words of the command line that give these settings: what differs from the defaults."""
        words: list[str] = []
        positional: list[str] = []
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if field.json_schema_extra == ARGUMENT:
                # What starts with a dash would be taken for an option.
                positional.append(f"./{value}" if str(value).startswith("-") else str(value))
            elif value != field.get_default(call_default_factory=True):
                for item in value if isinstance(value, tuple) else (value,):
                    words += [option_name(name)] if item is True else [option_name(name), str(item)]
        return [*positional, *words]


def option_name(field: str) -> str:
    """Return the command-line option of a settings field; the unit `_s` belongs to the value, not to the name."""
    return "--" + field.removesuffix("_s").replace("_", "-")


def request_error(error: ValidationError, places: str = "option") -> RequestError:
    """Return the error to show for settings that are not valid: one line per field.

    Parameters
    ----------
    error
        What pydantic found.
    places
        `option` names fields as options of the command line, anything else as keys.
    """
    lines = []
    for found in error.errors():
        message = found["msg"].removeprefix("Value error, ")
        message = message[:1].lower() + message[1:] if not message.startswith("--") else message
        name = ".".join(str(part) for part in found["loc"])
        place = option_name(name) if places == "option" and name else name
        lines.append(f"{place}: {message}" if place else message)
    return RequestError("\n".join(lines))


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

    runner_cmd: Annotated[
        str | None,
        Field(
            description="Command to run on each chunk as CMD --input WAV --output JSON. Without this and without "
            "--use-birdnet a stub runs, which detects nothing."
        ),
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

    @model_validator(mode="after")
    def _check_runner(self) -> Self:
        if self.runner_cmd is not None and self.use_birdnet:
            raise ValueError("--runner-cmd and --use-birdnet exclude each other; give one of them")
        if not self.use_birdnet:
            given = self.model_fields_set & {"species_list", "birdnet_overlap_s", "min_confidence"}
            given = {name for name in given if getattr(self, name) != type(self).model_fields[name].default}
            if given:
                raise ValueError(
                    f"{', '.join(sorted(map(option_name, given)))} is for --use-birdnet, which is not given"
                )
        return self

    def runner_spec(self) -> RunnerSpec:
        """Return the settings of the chosen runner.

        Raises
        ------
        RequestError
            When that runner is not installed, or its settings name something it does not know.
        """
        if self.use_birdnet:
            from badc.runners.birdnet import BirdnetSpec, model_folder, read_species_list

            model_folder()
            species = None if self.species_list is None else read_species_list(self.species_list)
            return BirdnetSpec(self.min_confidence, self.birdnet_overlap_s, species, self.chunk_timeout_s)
        if self.runner_cmd is not None:
            from badc.runners.command import CommandSpec

            return CommandSpec(self.runner_cmd, self.chunk_timeout_s)
        from badc.runners.stub import StubSpec

        return StubSpec()


class InferSettings(RunnerSettings):
    """Settings of one inference run (`badc infer run`)."""

    manifest: Annotated[
        Path, Field(description="Chunk manifest, as `badc chunk` writes it.", json_schema_extra=ARGUMENT)
    ]
    max_gpus: Annotated[
        int | None,
        Field(ge=0, description="Use at most this many of the GPUs found; 0 uses none. Default: all of them."),
    ] = None
    cpu_workers: Annotated[
        int,
        Field(ge=0, description="CPU workers beside the GPUs. Without a GPU there is at least one, even at 0."),
    ] = 0
    gpu_sample_interval_s: Annotated[
        float, Field(ge=0.1, description="Seconds between two readings of a GPU's load while a chunk runs.")
    ] = 1.0
    scheduler: Annotated[
        str | None,
        Field(description="Join the Dask scheduler at this address (tcp://host:8786) instead of starting workers."),
    ] = None
    chunks_per_task: Annotated[
        int,
        Field(ge=1, description="Chunks per Prefect task run. A retry redoes only those of them that failed."),
    ] = 1
    max_retries: Annotated[
        int, Field(ge=0, le=20, description="How often a failed chunk is tried again, after 2 s, 4 s, 8 s, …")
    ] = 2
    chunk_timeout_s: ChunkTimeout = None
    keep_going: Annotated[
        bool, Field(description="Go on with the other chunks after one has failed for good. The exit code stays 1.")
    ] = False
    grace_period_s: Annotated[
        float,
        Field(
            ge=0,
            description="After Ctrl-C, SIGTERM or a cancellation, running chunks get so many seconds to finish. A "
            "second Ctrl-C ends them at once.",
        ),
    ] = 30.0
    resume_summary: Annotated[
        Path | None,
        Field(
            description="Skip the chunks that this run finished, if their outputs are still there. A *.summary.json, "
            "or the telemetry *.jsonl of a run that was killed."
        ),
    ] = None
    output_dir: Annotated[
        Path | None,
        Field(
            description="Folder for the detections. Default: artifacts/infer, in the manifest's dataset if it has one."
        ),
    ] = None
    telemetry_log: Annotated[
        Path | None,
        Field(
            description="Telemetry log (JSONL). Default: a new one named after manifest and time, in "
            "artifacts/telemetry of the dataset, or in data/telemetry/infer."
        ),
    ] = None
    dataset_root: Annotated[
        Path | None,
        Field(
            description="Dataset that the manifest's paths are relative to. Default: the folder above it with .datalad."
        ),
    ] = None


class AggregateSettings(Settings):
    """Settings of one aggregation (`badc infer aggregate`)."""

    detections_dir: Annotated[
        Path, Field(description="Folder with the chunks' detections (JSON).", json_schema_extra=ARGUMENT)
    ]
    output: Annotated[
        Path | None,
        Field(
            description="CSV of the detections. Default: artifacts/aggregate/summary.csv, in the folder's dataset if "
            "it has one. The coverage table goes beside it as *_coverage.csv."
        ),
    ] = None
    parquet: Annotated[
        Path | None, Field(description="Also write the detections, and the coverage beside them, as Parquet.")
    ] = None
    manifest: Annotated[
        tuple[Path, ...],
        Field(
            description="Manifest, or folder of manifests, that fills in what detections lack and tells which chunks "
            "have none. Repeatable."
        ),
    ] = ()
    strict: Annotated[bool, Field(description="Stop at the first file that cannot be used; write nothing.")] = False


def settings_from(model: type[Any], values: dict[str, Any]) -> Any:
    """Return `model(**values)`; what is not valid becomes a RequestError that names the options."""
    try:
        return model(**values)
    except ValidationError as error:
        raise request_error(error) from None
