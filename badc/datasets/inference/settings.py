"""The settings of `badc infer orchestrate`."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import AliasChoices, Field, model_validator

from badc.datasets.inference.audio_settings import AudioOptions
from badc.datasets.inference.saved_plan import root_of_plan
from badc.datasets.settings import DatasetSettings
from badc.datasets.slurm.settings import SlurmSettings
from badc.detections.settings import LayoutSettings
from badc.errors import RequestError
from badc.inference.settings import InferOptions, InferSettings
from badc.settings.model import ARGUMENT, Settings, formerly, option_name, turned_off_by
from badc.settings.redo import RedoBefore, redoing
from badc.system.paths import absolute

_BELOW = "a relative path is below the dataset"
_NAMED = "or in a folder named like another --output-dir"
InferPattern = Annotated[
    tuple[str, ...],
    Field(
        description="Only manifests that match, such as 'GNWT-290_*' (file name) or 'siteA/*' (path below the "
        "folder). Repeatable."
    ),
]
InferLimit = Annotated[
    int | None, Field(ge=0, description="Run at most this many recordings; those that are skipped do not count.")
]
ANALYSE_AGAIN = "Analyse recordings again whose chunks all have a valid output already, or skip them."


class BundleOptions(Settings):
    """Which tables and reports are made of each recording's detections."""

    bundle: Annotated[
        bool,
        Field(
            description="After each recording, make its tables (`badc infer aggregate`) and its `badc report bundle`.",
            json_schema_extra=turned_off_by("--no-bundle"),
        ),
    ] = False
    bundle_aggregate_dir: Annotated[
        Path, Field(description=f"Folder of the recordings' tables and reports; {_BELOW}.")
    ] = Path("artifacts/aggregate")
    bundle_bucket_minutes: Annotated[int, Field(ge=1, description="Minutes per step of the reports' timelines.")] = 60
    sites: Annotated[
        Path | None,
        Field(
            validation_alias=AliasChoices("sites", "bundle_sites"),  # the name in earlier plans, blocks and deployments
            description="CSV of the stations, for the tables' occurrence of species and for the reports (see `badc "
            f"report bundle --sites`); {_BELOW}.",
            json_schema_extra=formerly("bundle_sites"),
        ),
    ] = None
    bundle_rollup: Annotated[
        bool,
        Field(
            description="At the end, make the leaderboards of the whole folder (`badc report aggregate-dir`).",
            json_schema_extra=turned_off_by("--no-bundle-rollup", "--bundle-no-rollup"),
        ),
    ] = False
    bundle_rollup_limit: Annotated[int, Field(ge=1, description="Rows of each leaderboard to show.")] = 10
    bundle_rollup_export_dir: Annotated[
        Path | None,
        Field(description=f"Folder of the leaderboards' CSVs; {_BELOW}. Default: aggregate_summary beside the tables."),
    ] = None


_HAWKEARS = InferOptions.model_fields["use_hawkears"]


class DatasetInferOptions(BundleOptions, AudioOptions, InferOptions):
    """How to analyse a dataset's recordings: with HawkEars, unless another runner is named."""

    sections: ClassVar = {
        "Recordings": (
            *(
                "results",
                "pattern",
                "limit",
                "include_existing",
                "allow_partial_chunks",
                "concurrent_recordings",
                "layout",
            ),
            *("infer_pattern", "infer_limit", "infer_include_existing", "fetch_ahead", "drop_after", "disk_limit"),
            "stage_dir",
        ),
        "Cutting": (
            *("chunk_duration_s", "overlap_s", "min_chunk_s", "virtual", "hash_chunks", "workers", "chunk_pattern"),
            *("chunk_limit", "chunk_include_existing", "chunk_redo_before"),
        ),
        **InferOptions.sections,
        "Reports": (
            *("sites", "report", "bundle", "bundle_bucket_minutes", "bundle_rollup", "bundle_rollup_limit"),
            "bundle_rollup_export_dir",
        ),
        "Slurm": (*SlurmSettings.model_fields, "slurm_task", "slurm_status"),
    }

    use_hawkears: Annotated[
        bool | None,
        Field(
            description=f"{_HAWKEARS.description} Default where no other runner is chosen.",
            json_schema_extra=_HAWKEARS.json_schema_extra,
        ),
    ] = None

    output_dir: Annotated[Path, Field(description=f"Folder for the detections; {_BELOW}.")] = Path("artifacts/infer")
    embeddings: Annotated[
        Path | None,
        Field(description=f"{InferOptions.model_fields['embeddings'].description} In a dataset, {_BELOW}."),
    ] = None
    telemetry_dir: Annotated[
        Path, Field(description=f"Folder for the telemetry: infer/RECORDING.jsonl in it, {_NAMED}; {_BELOW}.")
    ] = Path("artifacts/telemetry")
    resume_completed: Annotated[
        bool,
        Field(
            description="Resume from each recording's telemetry, without the chunks that are done, or run all chunks "
            "again.",
            json_schema_extra=turned_off_by("--rerun-all"),
        ),
    ] = False
    concurrent_recordings: Annotated[
        int,
        Field(
            ge=1,
            le=64,
            description="Recordings to run at the same time, so that no worker waits between two. Unless it is given, "
            "of short ones as many as keep the workers busy.",
        ),
    ] = 2
    fail_fast: Annotated[bool, Field(description="Begin no further recording after one has failed.")] = False
    allow_partial_chunks: Annotated[
        bool,
        Field(
            description="Also run recordings whose chunk status is missing or not completed, instead of refusing them.",
            json_schema_extra=turned_off_by("--require-complete-chunks"),
        ),
    ] = False
    record_datalad: Annotated[
        bool | None,
        Field(
            description="Fetch dropped audio, and record each recording's run in the DataLad dataset. Default: if the "
            "dataset is one and DataLad is installed.",
            json_schema_extra=turned_off_by("--no-record-datalad"),
        ),
    ] = None

    @model_validator(mode="after")
    def _check_stage(self) -> Self:
        if self.stage_dir is not None and self.scheduler is not None:
            raise ValueError("--stage-dir: the workers of --scheduler may be on other machines; leave it out")
        return self

    def _choices(self) -> list[str]:
        chosen = super()._choices()
        return ["use_hawkears"] if not chosen and self.runner_is_default else chosen

    @property
    def runner_is_default(self) -> bool:
        """Whether no runner is named."""
        return self.use_hawkears is None and self.runner_block is None and not super()._choices()


def telemetry_of(output_dir: Path, telemetry_dir: Path) -> Path:
    """Return the folder of the logs of a folder of detections; each of several has logs of its own."""
    return telemetry_dir / output_dir.name


@lru_cache(maxsize=256)  # the same few folders for each recording
def _below(root: Path, path: Path) -> Path:
    return absolute(root / path)


class OrchestrateSettings(SlurmSettings, DatasetInferOptions, LayoutSettings, DatasetSettings):
    """Settings of the inference of a whole dataset."""

    dataset: Annotated[
        Path | None,
        Field(
            description="The dataset: a folder with manifests/. Or a saved plan (CSV or JSON) of a dataset.",
            json_schema_extra=ARGUMENT,
        ),
    ] = None
    manifest_dir: Annotated[Path, Field(description=f"Folder of the manifests, at any depth; {_BELOW}.")] = Path(
        "manifests"
    )
    chunk_plan: Annotated[
        Path | None,
        Field(
            description="Only the recordings of this plan (CSV or JSON), of `badc chunk orchestrate` or of this "
            "command. What the plan says of folders, runner and workers holds, unless an option says otherwise."
        ),
    ] = None
    slurm_task: Annotated[
        int | None,
        Field(
            ge=0,
            description="Only the recordings of this task of --chunk-plan, the tasks that --slurm-script wrote, as the "
            "script does. Those that are refused do not keep the others from being run.",
        ),
    ] = None
    pattern: InferPattern = ()
    chunks_dir: Annotated[
        Path, Field(description=f"Folder of the chunk statuses, as RECORDING/.chunk_status.json; {_BELOW}.")
    ] = Path("artifacts/chunks")
    include_existing: Annotated[
        bool,
        Field(
            description=ANALYSE_AGAIN,
            json_schema_extra=turned_off_by("--skip-existing"),
        ),
    ] = False
    redo_before: RedoBefore = None
    limit: InferLimit = None
    plan_csv: Annotated[Path | None, Field(description="Write the plan to this CSV.")] = None
    plan_json: Annotated[Path | None, Field(description="Write the plan to this JSON file.")] = None
    apply: Annotated[
        bool,
        Field(description="Run the plan, or only show it.", json_schema_extra=turned_off_by("--plan-only")),
    ] = False
    sockeye_log_dir: Annotated[
        Path | None,
        Field(
            description="Folder for telemetry and summaries, RECORDING.jsonl in it, in place of --telemetry-dir, on "
            f"a cluster's scratch disk, say; {_BELOW}. Slurm's own logs go to --slurm-log-dir."
        ),
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _take_a_plan_for_the_dataset(cls, values: Any) -> Any:
        given = values.get("dataset") if isinstance(values, dict) else None
        if given is None or not Path(given).is_file():
            return values
        if values.get("chunk_plan") is not None:
            raise ValueError(f"{given} is a file; give the dataset's folder with --chunk-plan, or one plan alone")
        return {**values, "dataset": root_of_plan(Path(given)), "chunk_plan": Path(given)}

    @model_validator(mode="after")
    def _check_task(self) -> Self:
        if self.slurm_task is not None and self.chunk_plan is None:
            raise ValueError("--slurm-task is for --chunk-plan, the file of the array's tasks, which is not given")
        if self.stage_dir is not None and self.slurm_stage:
            raise ValueError("--stage-dir and --slurm-stage each name a folder for copies; give one of them")
        if self.stage_dir is not None and self.slurm_dask is not None:
            raise ValueError("--stage-dir: the workers of --slurm-dask are on several nodes; leave it out")
        return self

    def of_its_jobs(self) -> OrchestrateSettings:
        """Return the settings that the job scripts run with, if such are wanted; the plan shows what they will do.

        Raises
        ------
        RequestError
            When an option contradicts another, or is none that jobs can have.
        """
        if not self.writes_jobs:
            return self
        given = self.model_fields_set
        if self.apply:
            raise RequestError("--apply runs the plan here, job scripts run it elsewhere: give one of them")
        if self.scheduler is not None and self.slurm_dask is not None:
            raise RequestError("--scheduler: the job of --slurm-dask starts a scheduler of its own; leave it out")
        if self.record_datalad and self.slurm_script is not None:
            raise RequestError(
                "--record-datalad: the tasks of an array cannot commit at the same time; leave it out, and run "
                "`badc infer record` when the array has ended"
            )
        if not self.slurm_resume_completed and self.resume_completed:
            raise RequestError("--resume-completed and --sockeye-rerun-all contradict each other; give one of them")
        changes: dict[str, Any] = {"resume_completed": self.slurm_resume_completed}
        if self.slurm_bundle:
            changes |= {"bundle": True}
            for name in ("bundle_aggregate_dir", "bundle_bucket_minutes"):
                value = getattr(self, f"slurm_{name}")
                if value is None or f"slurm_{name}" not in given:
                    continue
                if name in given and getattr(self, name) != value:
                    raise RequestError(f"{option_name(name)} and {option_name(f'slurm_{name}')} differ; give one")
                changes[name] = value
        return self.model_copy(update=changes)

    def going_on(self, begun: str, left: int | None = None) -> OrchestrateSettings:
        """Return the settings that resume a run of these that began at this time (ISO 8601).

        `left` is the number of its recordings that are not complete, where it is known: they come first in the order.
        """
        limit = self.limit if left is None or self.limit is None else left
        return self.model_copy(update={"resume_completed": True, "limit": limit, **redoing(self, begun)})

    def below(self, path: Path) -> Path:
        """Return a path of the settings as an absolute one; a relative one lies below the dataset."""
        return _below(self.root, path)

    @property
    def sites_path(self) -> Path | None:
        """The CSV of the stations, absolute; a relative path is below the dataset, or a study's recordings."""
        return None if self.sites is None else absolute(self.place.base / self.sites)

    @property
    def telemetry_folder(self) -> Path:
        """The folder of the recordings' telemetry logs."""
        if self.sockeye_log_dir is not None:
            return self.below(self.sockeye_log_dir)
        return telemetry_of(self.below(self.output_dir), self.below(self.telemetry_dir))

    @property
    def embeddings_folder(self) -> Path | None:
        """The folder of the embeddings, if they are wanted."""
        return None if self.embeddings is None else self.below(self.embeddings)

    def table_of(self, recording_id: str) -> Path:
        """Return the path of a recording's Parquet table; its bundle lies beside it."""
        return self.below(self.bundle_aggregate_dir) / f"{recording_id}.parquet"

    def lacks_reports(self, recording_id: str) -> bool:
        """Whether a recording's reports are wanted, and not whole or older than its results.

        The page is what is written last. Each result that is written changes its folder's time. Git keeps no times, so
        in its repositories a page that is there counts.
        """
        if not self.bundle:
            return False
        page = self.table_of(recording_id).with_name(f"{recording_id}_report.html")
        try:
            made = page.lstat().st_mtime  # git-annex may have dropped its content
            changed = (self.below(self.output_dir) / recording_id).stat().st_mtime
        except FileNotFoundError:
            return True
        return changed > made and not (self.root / ".git").exists()

    @property
    def rollup_folder(self) -> Path:
        """The folder of the leaderboards' CSVs."""
        if self.bundle_rollup_export_dir is not None:
            return self.below(self.bundle_rollup_export_dir)
        return self.below(self.bundle_aggregate_dir) / "aggregate_summary"

    def infer_settings(self, manifest: Path, telemetry_log: Path, resume: Path | None) -> InferSettings:
        """Return the settings of one recording's run, which resumes from `resume`, if given. All paths are absolute."""
        values: dict[str, Any] = {}
        for name in (*InferOptions.model_fields, "redo_before"):
            value = getattr(self, name)
            # Absolute, as the run may start in another folder.
            values[name] = absolute(value) if isinstance(value, Path) else value
        values["use_hawkears"] = True if "use_hawkears" in self._choices() else self.use_hawkears
        values["embeddings"] = self.embeddings_folder
        return InferSettings(
            **values,
            manifest=manifest,
            output_dir=self.below(self.output_dir),
            telemetry_log=telemetry_log,
            resume_summary=resume,
            dataset_root=self.root,
        )
