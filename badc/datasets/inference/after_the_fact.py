"""Run records of a dataset's inference that was computed without DataLad, as by the tasks of a Slurm array.

A summary says how a recording was analysed, so `datalad rerun` can be told afterwards: one record for each recording.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from badc.chunks.manifest import Manifest, manifests_below, read_manifest
from badc.datalad.environment import datalad_problem, git
from badc.datalad.record import SUBJECT, record
from badc.datalad.run import DataladRun
from badc.datalad.worktree import Change, changes
from badc.datasets.inference.record_settings import RecordSettings
from badc.datasets.inference.settings import telemetry_of
from badc.datasets.listing import matcher
from badc.detections.result import without_output
from badc.errors import BadcError, RequestError, numbered
from badc.inference.config_file import settings_of_run
from badc.inference.provenance import infer_run
from badc.inference.settings import InferSettings
from badc.system.paths import absolute
from badc.system.threads import in_threads
from badc.telemetry.summary import JobStatus, RunState, read_configuration, read_jobs, summary_path


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """What became of a recording: the `commit` of its record, or why there is none; `failed` if there should be one."""

    recording_id: str
    commit: str | None = None
    reason: str = ""
    failed: bool = False


def record_runs(
    settings: RecordSettings, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> list[RecordedRun]:
    """Record the runs of the complete recordings whose outputs no record has yet, in the order of their manifests.

    `on_progress` gets the number of recordings recorded so far, and of all to be recorded.

    Raises
    ------
    RequestError
        When the dataset cannot be recorded in, or has no manifests.
    DataladError
        When git fails.
    """
    root = settings.root
    if (problem := datalad_problem(root)) is not None:
        raise RequestError(problem)
    found = [_run_or_reason(path, settings) for path in _manifests(settings)]
    runs = [run for run in found if isinstance(run, DataladRun)]
    unsaved = changes(root, [path for run in runs for path in (*run.inputs, *run.outputs)])
    head = git(root, "rev-parse", "HEAD").strip()
    recorded, saved = _times_of_records(root), _times_of_summaries(root, settings)
    ended: dict[int, RecordedRun] = {}
    todo: list[tuple[int, DataladRun]] = []
    for number, run in enumerate(found):
        if not isinstance(run, DataladRun):
            ended[number] = run
        elif (reason := _not_to_record(run, unsaved, recorded, saved)) is not None:
            ended[number] = RecordedRun(_name_of(run), reason=reason)
        elif settings.limit is None or len(todo) < settings.limit:
            todo.append((number, run))
    # One commits at a time, but DataLad takes seconds to start.
    for (number, _), made in zip(todo, in_threads(lambda item: _record(item[1], head), todo), strict=True):
        ended[number] = made
        on_progress(sum(n in ended for n, _ in todo), len(todo))
    return [ended[number] for number in sorted(ended)]


def _manifests(settings: RecordSettings) -> list[Path]:
    folder = settings.root / settings.manifest_dir
    wanted = matcher(settings.pattern)
    paths = [
        p
        for p in manifests_below(folder)
        if not settings.pattern
        or wanted(p.relative_to(folder).as_posix())
        or wanted(p.relative_to(folder).with_suffix("").as_posix())
    ]
    if not paths:
        raise RequestError(f"{folder}: has no manifest{' that matches' * bool(settings.pattern)}")
    return paths


def _run_or_reason(path: Path, settings: RecordSettings) -> DataladRun | RecordedRun:
    try:
        manifest = read_manifest(path, settings.root)
        ids = {chunk.recording_id for chunk in manifest.chunks}
        name = ids.pop() if len(ids) == 1 else path.stem
        log = _logs(settings) / f"{name}.jsonl"
        if not summary_path(log).exists() and not summary_path(log).is_symlink():
            return RecordedRun(name, reason=f"it has no summary ({summary_path(log)})")
        configuration = read_configuration(summary_path(log))
        run = settings_of_run(configuration.values, settings.root)
        run = run.model_copy(update={"manifest": path, "telemetry_log": log, "dataset_root": settings.root})
        if (reason := _not_complete(configuration.state, summary_path(log), manifest, run)) is not None:
            return RecordedRun(name, reason=reason)
        return infer_run(run, rerunnable=True)
    except BadcError as error:
        return RecordedRun(path.stem, reason=str(error))


def _not_complete(state: RunState, summary: Path, manifest: Manifest, run: InferSettings) -> str | None:
    if state is not RunState.COMPLETED:
        return f"its run is {state.value}"
    jobs = read_jobs(summary)
    found = [jobs.find(chunk) for chunk in manifest.chunks]
    open_ = sum(job is None or job.status is not JobStatus.SUCCESS for job in found)
    lost = [] if run.output_dir is None else without_output(run.output_dir, manifest.chunks)
    if not manifest.chunks or open_ or lost:
        return f"it is not complete: {max(open_, len(lost))} of {numbered(len(found), 'chunk')} without an output"
    return None


def _logs(settings: RecordSettings) -> Path:
    """Return the folder of the recordings' telemetry logs."""
    folders = (absolute(settings.root / folder) for folder in (settings.output_dir, settings.telemetry_dir))
    return telemetry_of(*folders)


def _times_of_records(root: Path) -> dict[str, int]:
    """Return when each run was recorded last, by the first line of its commit."""
    shown = git(root, "log", "--format=%ct %s", "--fixed-strings", f"--grep={SUBJECT}").splitlines()
    found = [(subject, int(time)) for time, _, subject in (line.partition(" ") for line in shown)]
    return dict(reversed(found))


def _times_of_summaries(root: Path, settings: RecordSettings) -> dict[str, int]:
    """Return when each summary was saved last, by its path below the root."""
    logs = _logs(settings)
    places = [logs.relative_to(root).as_posix()] if logs.is_relative_to(root) else []
    found: dict[str, int] = {}
    time = 0
    for word in git(root, "log", "-z", "--name-only", "--format=commit:%ct", "--", *places).split("\0"):
        if (name := word.lstrip("\n")).startswith("commit:"):
            time = int(name.partition(":")[2].splitlines()[0])
        elif name:
            found.setdefault(name, time)
    return found


def _not_to_record(
    run: DataladRun, unsaved: Sequence[Change], recorded: Mapping[str, int], saved: Mapping[str, int]
) -> str | None:
    if changed := _below(unsaved, run.inputs):
        return f"what it reads is not saved: {changed[0]}; `datalad save` it first"
    at = recorded.get(f"{SUBJECT}{run.message}")
    # A record is of what was saved with it or before: later results, such as of other settings, need their own.
    if at is not None and not _below(unsaved, run.outputs) and max(saved.get(p, 0) for p in run.outputs) <= at:
        return "recorded already"
    return None


def _below(found: Sequence[Change], places: Iterable[str]) -> list[Change]:
    wanted = set(places)
    return [c for c in found if any(str(p) in wanted for p in (PurePosixPath(c.path), *PurePosixPath(c.path).parents))]


def _record(run: DataladRun, head: str) -> RecordedRun:
    try:
        commit = record(run, unless_since=head)
        return RecordedRun(_name_of(run), commit, reason="" if commit else "recorded already")
    except BadcError as error:
        return RecordedRun(_name_of(run), reason=str(error), failed=True)


def _name_of(run: DataladRun) -> str:
    return run.message.partition(" ")[2]
