"""A plan that `badc infer orchestrate` saves, and one given to it again: which manifests, and with which settings.

One given is a plan of this command, one of `badc chunk orchestrate`, or a table that only has `manifest_path`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from badc.errors import RequestError
from badc.inference.settings import InferOptions
from badc.recordings.locate import find_audio
from badc.runners.settings import RunnerSettings
from badc.settings.model import settings_from
from badc.system.paths import absolute, find_dataset_root
from badc.system.row_files import PlanRow, read_plan

if TYPE_CHECKING:
    from badc.datasets.inference.settings import OrchestrateSettings

# Settings that have columns of their own, and those that belong to one day or machine.
_NOT_IN_OTHERS = frozenset(
    {
        *("use_hawkears", "hawkears_arg", "max_gpus", "cpu_workers"),
        *("runner_block", "cluster_block", "scheduler", "gpu_pool", "no_wait", "replace_results"),
    }
)
# Beside those of the runs, the settings that decide which recordings are run, and how much of each.
_OF_THE_CHOICE = ("include_existing", "redo_before", "resume_completed", "allow_partial_chunks")
_RUNNER_FIELDS = frozenset(RunnerSettings.model_fields)


class InferPlanRow(PlanRow):
    """How one recording would be analysed. Paths are relative to the dataset's root, or absolute outside a dataset.

    `output_dir` is for all detections, `recording_output_dir` for this recording's. `use_hawkears`, `hawkears_args`,
    `max_gpus` and `cpu_workers` are as the options of `badc infer run`, and `settings` are its other ones that differ
    from their defaults, by field. `chunk_status` is what the chunk status file says, or `missing`.
    """

    recording_id: str
    manifest_path: str
    output_dir: str
    recording_output_dir: str
    telemetry_log: str
    use_hawkears: bool
    hawkears_args: tuple[str, ...]
    max_gpus: int | None
    cpu_workers: int | None
    chunk_status: str
    chunk_status_path: str
    settings: dict[str, Any]


class SavedPlanRow(PlanRow):
    """What a row of either kind of plan says; only `manifest_path` is required."""

    manifest_path: str
    recording_id: str | None = None
    output_dir: str | None = None
    recording_output_dir: str | None = None
    telemetry_log: str | None = None
    use_hawkears: bool | None = None
    hawkears_args: tuple[str, ...] | None = None
    max_gpus: int | None = None
    cpu_workers: int | None = None
    chunk_status_path: str | None = None
    chunk_output_dir: str | None = None
    settings: dict[str, Any] | None = None
    task: int | None = None  # of a job array


def other_settings(settings: OrchestrateSettings) -> dict[str, Any]:
    """Return the settings, as JSON, that differ from their defaults and have no column of their own.

    They are those of the runs, and those that decide what is run.
    """
    found: dict[str, Any] = {}
    for name in (*InferOptions.model_fields, *_OF_THE_CHOICE):
        field, value = type(settings).model_fields[name], getattr(settings, name)
        if name == "embeddings":
            value = settings.embeddings_folder
        if name not in _NOT_IN_OTHERS and value != field.get_default(call_default_factory=True):
            # Absolute, as the plan may be given again in another folder.
            found[name] = str(absolute(value)) if isinstance(value, Path) else value
    return found


def root_of_plan(plan: Path) -> Path:
    """Return the dataset of a plan: the first folder where its first manifest is.

    The folder above the plan that has `.datalad`, the working directory and its dataset, then the folders above the
    plan are looked at. RequestError if none has it, or the plan has no rows.
    """
    rows = _rows_of(plan)
    full = absolute(plan)
    roots = [find_dataset_root(full), Path.cwd(), find_dataset_root(Path.cwd()), *full.parents]
    places = list(dict.fromkeys(root for root in roots if root is not None))
    for root in places:
        if (root / rows[0].manifest_path).exists():
            return root
    raise RequestError(
        f"{plan}: {rows[0].manifest_path} is not below {', '.join(map(str, places))}; name the dataset, and the plan "
        "with --chunk-plan"
    )


def said_by(plan: Path, rows: Sequence[SavedPlanRow], given: frozenset[str]) -> dict[str, Any]:
    """Return the settings that a plan says, but for those that are `given` otherwise.

    A runner that is given replaces the plan's with all of its options.

    Raises
    ------
    RequestError
        When rows differ in a setting, a recording has another folder than its own below the output folder, or the plan
        is of a runner that it does not name.
    """

    def one(column: str, value_of: Callable[[SavedPlanRow], Any]) -> Any:
        values = [value for row in rows if (value := value_of(row)) is not None]
        others = [value for value in values if value != values[0]]
        if others:
            raise RequestError(
                f"{plan}: its rows differ in {column} ({values[0]}, {others[0]}), which one run cannot; split the plan"
            )
        return values[0] if values else None

    for row in rows:
        if row.recording_output_dir is not None and Path(row.recording_output_dir) != (own := _own_folder(row)):
            raise RequestError(
                f"{plan}: recording_output_dir {row.recording_output_dir}: a recording's detections are in {own}, "
                "below output_dir, which is the same in all rows; change that, or give --output-dir"
            )
    others = one("settings", lambda row: row.settings)
    found = {
        "output_dir": one("output_dir", lambda row: row.output_dir),
        "chunks_dir": one("chunk_status_path", _chunks_dir),
        "use_hawkears": one("use_hawkears", lambda row: row.use_hawkears),
        "hawkears_arg": one("hawkears_args", lambda row: row.hawkears_args) or None,
        "max_gpus": one("max_gpus", lambda row: row.max_gpus),
        "cpu_workers": one("cpu_workers", lambda row: row.cpu_workers),
        **(others or {}),
    }
    named_otherwise = bool(given & _RUNNER_FIELDS)
    if found["use_hawkears"] is False and not named_otherwise:
        if others is None:
            raise RequestError(
                f"{plan}: says use_hawkears false, and not which runner then; name it, such as with --use-birdnet, "
                "--runner-cmd or --stub-runner"
            )
        if others.keys() & _RUNNER_FIELDS:
            found["use_hawkears"] = None
    # Another runner may give no embeddings, and those that it gives do not belong to the plan's.
    passed_over = given | (_RUNNER_FIELDS | {"embeddings"} if named_otherwise else frozenset())
    if "redo_before" in given:  # a run of everything again is resumed
        passed_over |= {"include_existing"}
    return {name: value for name, value in found.items() if value is not None and name not in passed_over}


def with_saved_plan(settings: OrchestrateSettings) -> tuple[OrchestrateSettings, dict[Path, SavedPlanRow] | None]:
    """Return the settings with what a saved plan says, and its rows by manifest; None without a plan."""
    if settings.chunk_plan is None:
        return settings, None
    rows = _rows_of(settings.chunk_plan, settings.slurm_task)
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    said = said_by(settings.chunk_plan, rows, frozenset(given))
    try:
        filled: OrchestrateSettings = settings_from(type(settings), said | given)
    except RequestError as error:
        raise RequestError(f"{settings.chunk_plan}, with the options given: {error}") from None
    return filled, _manifests_of(settings.chunk_plan, rows, settings.root)


def _rows_of(plan: Path, task: int | None = None) -> list[SavedPlanRow]:
    """Return the rows of a plan, or of one of its tasks.

    RequestError if it has none, which says neither which dataset nor which runner.
    """
    rows = read_plan(plan, SavedPlanRow)
    if task is not None and not (of_task := [row for row in rows if row.task == task]):
        last = max((row.task for row in rows if row.task is not None), default=None)
        raise RequestError(
            f"{plan}: has no task {task}; " + ("it is no file of tasks" if last is None else f"its last one is {last}")
        )
    rows = rows if task is None else of_task
    if not rows:
        raise RequestError(
            f"{plan}: the plan has no rows: there was nothing to do when it was written; plan the dataset again"
        )
    return rows


def _manifests_of(plan: Path, rows: Sequence[SavedPlanRow], root: Path) -> dict[Path, SavedPlanRow]:
    """Return the rows of a plan by their manifests, absolute: below the dataset, else here, else beside the plan."""
    roots = [root, Path.cwd(), absolute(plan).parent]
    return {absolute(find_audio(row.manifest_path, roots)): row for row in rows}


def _own_folder(row: SavedPlanRow) -> Path:
    """Return the folder of a recording's detections, as far as the row says it."""
    found = Path(row.recording_output_dir or "")
    output_dir = found.parent if row.output_dir is None else Path(row.output_dir)
    return output_dir / (row.recording_id or found.name)


def _chunks_dir(row: SavedPlanRow) -> str | None:
    """Return the folder of the chunk statuses, which lie in RECORDING/ below it."""
    if row.chunk_status_path is not None:
        return str(Path(row.chunk_status_path).parent.parent)
    return None if row.chunk_output_dir is None else str(Path(row.chunk_output_dir).parent)
