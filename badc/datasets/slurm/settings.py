"""The settings of the Slurm scripts. Each has two options, such as `--slurm-mem` and `--sockeye-mem`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from badc.settings.model import Settings, also_called, option_name, turned_off_by

# What `sbatch --time` takes: minutes, m:s, h:m:s, days-hours, days-h:m, days-h:m:s (man sbatch).
_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<first>\d+)(?::(?P<second>\d+))?(?::(?P<third>\d+))?")
# What `sbatch --gres` takes: names with a type, a count or both, such as gpu, gpu:2, gpu:a100:1, several with commas.
_GRES = re.compile(r"[\w.-]+(:[\w.-]*[A-Za-z][\w.-]*)?(:\d+[KMGTP]?)?")
_TARGETS = ("slurm_script", "slurm_dask")


def _hours_or_auto(value: object) -> object:
    if value is None or value == "auto":
        return value
    try:
        hours = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        hours = 0.0
    if not 0 < hours < math.inf:
        raise ValueError(f"{value!r} is neither a number of hours above 0, nor auto")
    return hours


def _sbatch(name: str, what: str, off: str | None = None, **limits: Any) -> Any:
    """Return the field of an option that also has a `--sockeye-…` name; `off` is the option that turns it off."""
    names = also_called(f"sockeye_{name}") | ({} if off is None else turned_off_by(off))
    return Field(description=what, json_schema_extra=names, **limits)


class SlurmSettings(Settings):
    """What the scripts ask Slurm for, and what their tasks do.

    All names start with `slurm_`, so that the model of a command can inherit them.
    """

    slurm_script: Annotated[
        Path | None,
        _sbatch(
            "script",
            "Write a job array over the recordings to this file, with the tables of its tasks and what submits it "
            "beside it. A file that is there is kept: the new one gets a number.",
        ),
    ] = None
    slurm_dask: Annotated[
        Path | None,
        Field(
            description="Write one job to this file that starts Dask workers on --slurm-nodes nodes and runs the whole "
            "plan on them."
        ),
    ] = None
    slurm_profile: Annotated[
        str | None,
        Field(
            description="Name of a Prefect block that holds the site's Slurm settings. Options that you give as well "
            "override the block."
        ),
    ] = None
    slurm_job_name: Annotated[str, _sbatch("job_name", "Name of the job.")] = "badc-infer"
    slurm_account: Annotated[str | None, _sbatch("account", "Account that the job is charged to.")] = None
    slurm_partition: Annotated[str | None, _sbatch("partition", "Partition. Default: the site's.")] = None
    slurm_gres: Annotated[
        str | None, _sbatch("gres", "Generic resources of each task, such as gpu:1; with --slurm-dask of each node.")
    ] = None
    slurm_time: Annotated[
        str | None, _sbatch("time", "Time limit of each task, such as 06:00:00. Default: the site's.")
    ] = None
    slurm_cpus_per_task: Annotated[
        int | None, _sbatch("cpus_per_task", "CPU cores of each task; with --slurm-dask of each node.", ge=1)
    ] = None
    slurm_mem: Annotated[
        str | None, _sbatch("mem", "Memory of each task, such as 16G; with --slurm-dask of each node.")
    ] = None
    slurm_log_dir: Annotated[
        Path | None,
        Field(description="Folder of the tasks' logs; it is made now. Default: the folder logs beside the script."),
    ] = None
    slurm_resume_completed: Annotated[
        bool,
        _sbatch(
            "resume_completed",
            "A job does what is missing of a partly done recording, or all of it again.",
            off="--sockeye-rerun-all",
        ),
    ] = True
    slurm_bundle: Annotated[
        bool,
        _sbatch(
            "bundle",
            "After the inference of a recording, a job makes its tables and its bundle of reports, as --bundle does.",
            off="--sockeye-no-bundle",
        ),
    ] = False
    slurm_bundle_aggregate_dir: Annotated[
        Path | None,
        _sbatch(
            "bundle_aggregate_dir", "Folder for the bundles, from the dataset's root. Default: artifacts/aggregate."
        ),
    ] = None
    slurm_bundle_bucket_minutes: Annotated[
        int, _sbatch("bundle_bucket_minutes", "Length of a bundle's time buckets in minutes.", ge=1)
    ] = 60
    slurm_hours_per_task: Annotated[
        float | Literal["auto"] | None,
        BeforeValidator(_hours_or_auto),
        Field(
            description="Give each task recordings of about so many hours of audio, for which it loads the model once; "
            "`auto`: so many that a task has half an hour of work, as far as earlier runs tell the speed. Default: one "
            "recording a task."
        ),
    ] = None
    slurm_allow_cpu: Annotated[
        bool, Field(description="A task that asked for a GPU and finds none runs on the CPU, instead of ending with 2.")
    ] = False
    slurm_stage: Annotated[
        bool,
        Field(
            description="Each task copies a recording's audio to its node ($SLURM_TMPDIR, $TMPDIR or /tmp) before it "
            "analyses it, as --stage-dir does; results still go to the dataset at once."
        ),
    ] = False
    slurm_array_throttle: Annotated[
        int | None, Field(ge=1, description="How many tasks may run at once. Default: no limit.")
    ] = None
    slurm_max_array: Annotated[
        int,
        Field(
            ge=1,
            description="Most tasks in one array; more are submitted as further arrays of the same script. "
            "`scontrol show config` tells the site's MaxArraySize, which has to be larger than this.",
        ),
    ] = 1000
    slurm_nodes: Annotated[int, Field(ge=1, description="--slurm-dask: number of nodes.")] = 1
    slurm_setup: Annotated[
        Path | None,
        Field(
            description="File with the site's shell lines, such as `module load …`, that go into the script before "
            "badc runs."
        ),
    ] = None
    slurm_extra: Annotated[
        tuple[str, ...],
        Field(description="A further line for the script's head, such as '#SBATCH --qos=long'. Repeatable."),
    ] = ()

    @property
    def writes_jobs(self) -> bool:
        """Whether job scripts are wanted, rather than a run of this process."""
        return self.slurm_script is not None or self.slurm_dask is not None

    @field_validator("slurm_job_name", "slurm_account", "slurm_partition", "slurm_gres", "slurm_time", "slurm_mem")
    @classmethod
    def _one_line(cls, value: str | None) -> str | None:
        if value is not None and (not value.strip() or not value.isprintable()):
            raise ValueError("has to be one line of text that can be printed")
        return value

    @field_validator("slurm_job_name")
    @classmethod
    def _usable_in_a_file_name(cls, value: str) -> str:
        if "/" in value or "\\" in value:
            raise ValueError("the logs are named after the job, so its name cannot have / or \\")
        return value

    @field_validator("slurm_gres")
    @classmethod
    def _is_gres(cls, value: str | None) -> str | None:
        if value is not None and not all(_GRES.fullmatch(part) for part in value.split(",")):
            raise ValueError(f"{value}: Slurm writes generic resources as gpu:1, gpu:a100:2 or gpu:1,tmpfs:50G")
        return value

    @field_validator("slurm_time")
    @classmethod
    def _readable_time(cls, value: str | None) -> str | None:
        if value is not None and _TIME.fullmatch(value) is None:
            raise ValueError(f"{value!r} is not a Slurm time limit; write hours:minutes:seconds, or days-hours")
        return value

    @field_validator("slurm_mem")
    @classmethod
    def _readable_memory(cls, value: str | None) -> str | None:
        if value is not None and re.fullmatch(r"\d+[KMGTkmgt]?", value) is None:
            raise ValueError(f"{value!r} is not a Slurm memory size; write a number of MB, or one with G: 16G")
        return value

    @field_validator("slurm_log_dir", "slurm_script", "slurm_dask")
    @classmethod
    def _usable_in_a_header(cls, value: Path | None) -> Path | None:
        if value is not None and (not str(value).isprintable() or "\\" in str(value)):
            raise ValueError("no path with a backslash or a line break can be given to Slurm")
        return value

    @field_validator("slurm_extra")
    @classmethod
    def _lines_for_sbatch(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for line in value:
            if not line.startswith("#SBATCH ") or not line.isprintable():
                raise ValueError(f"{line!r} is not a line that starts with '#SBATCH '")
        return value

    @model_validator(mode="after")
    def _check_slurm(self) -> Self:
        if all(getattr(self, name) is None for name in _TARGETS):
            given = sorted(option_name(name) for name in self._changed())
            if given:
                raise ValueError(f"{', '.join(given)} is for --slurm-script or --slurm-dask; neither is given")
        if self.slurm_script is not None and self.slurm_script == self.slurm_dask:
            raise ValueError("--slurm-script and --slurm-dask name the same file; give each its own")
        if self.slurm_stage and self.slurm_dask is not None:
            raise ValueError("--slurm-stage is for --slurm-script: the workers of --slurm-dask are on several nodes")
        if not self.slurm_bundle and self.slurm_profile is None:
            given = sorted(option_name(name) for name in self._changed() if name.startswith("slurm_bundle_"))
            if given:
                raise ValueError(f"{', '.join(given)} is for --slurm-bundle, which is not given")
        return self

    def _changed(self) -> Iterator[str]:
        for name, field in SlurmSettings.model_fields.items():
            if name not in _TARGETS and getattr(self, name) != field.default:
                yield name

    @property
    def time_limit_s(self) -> int | None:
        """The time limit in seconds; None if the site decides, or if there is none (`--time=0`)."""
        found = None if self.slurm_time is None else _TIME.fullmatch(self.slurm_time)
        if found is None:
            return None
        first, second, third = (int(found[name] or 0) for name in ("first", "second", "third"))
        if found["days"] is not None:
            seconds = ((int(found["days"]) * 24 + first) * 60 + second) * 60 + third
        elif found["third"] is not None:
            seconds = (first * 60 + second) * 60 + third
        else:
            seconds = first * 60 + second
        return seconds or None
