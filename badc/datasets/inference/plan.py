"""The plan of a dataset's inference: how far each recording is, what to do with it, and why."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from badc.chunks.manifest import Chunk, manifests_below, read_manifest
from badc.chunks.status import ChunkState, read_chunk_status, status_path
from badc.datasets.chunking.plan import not_chunked
from badc.datasets.chunking.settings import ChunkSettings
from badc.datasets.inference.saved_plan import other_settings, with_saved_plan
from badc.datasets.inference.settings import OrchestrateSettings
from badc.datasets.listing import matcher
from badc.detections.places import RecordingPlaces, Source
from badc.detections.result import Standing, result_path, standing_of, without_output
from badc.errors import BadcError, NotInstalledError, RequestError, listed, numbered
from badc.inference.other_results import OtherResults
from badc.inference.plan import made_by
from badc.inference.settings import InferSettings
from badc.recordings.names import AUDIO_FOLDER
from badc.reports.query.sites import read_sites
from badc.runners.hawkears.settings import HawkearsSettings
from badc.runners.settings import other_runners
from badc.system.paths import as_written, find_dataset_root, require_inside, require_writable
from badc.system.row_files import PlanRow
from badc.system.threads import in_threads
from badc.telemetry.summary import JobStatus, read_jobs, resumable


class InferDecision(StrEnum):
    """What to do with a recording."""

    RUN = "run"
    RESUME = "resume"
    SKIP = "skip"
    LATER = "later"
    REFUSE = "refuse"
    NOT_CHUNKED = "not chunked"


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
    cpu_workers: int
    chunk_status: str
    chunk_status_path: str
    settings: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RecordingToInfer:
    """A recording, how far it is, what to do with it, and why.

    `recording_id` is the id in its manifest, or the manifest's stem if that has several; `manifest` and `log`, for its
    telemetry, are absolute. Of a recording that is not chunked, the manifest is the audio, as there is none. `done`
    counts the chunks with a valid output, `failed` those that failed for good in the last run; `audio_ms` is the length
    of all chunks together. `chunk_status` is what the chunk status file says, or `missing`. `other` are its results of
    other settings than those asked for, if it has any.
    """

    recording_id: str
    manifest: Path
    chunks: int
    done: int
    failed: int
    audio_ms: int
    chunk_status: str
    decision: InferDecision
    reason: str
    log: Path
    other: OtherResults | None = None
    source_path: str | None = None  # of its first chunk, as the manifest has it

    @property
    def missing(self) -> int:
        """Chunks without a valid output that have not failed."""
        return self.chunks - self.done - self.failed


@dataclass(frozen=True, slots=True)
class OrchestrationPlan:
    """What to do with a dataset: every requested recording, in the order of the manifests' paths.

    `layout` is the rule by which recordings have stations (see `badc.recordings.places`); `places` says it in words,
    and which recordings have none. `not_installed` says what is missing to run it, if the
    runner is not installed.
    """

    settings: OrchestrateSettings
    recordings: Sequence[RecordingToInfer]
    layout: str
    places: Sequence[str]
    not_installed: str | None = None

    @property
    def todo(self) -> list[RecordingToInfer]:
        """The recordings to run."""
        return [r for r in self.recordings if r.decision in (InferDecision.RUN, InferDecision.RESUME)]

    @property
    def not_chunked(self) -> list[RecordingToInfer]:
        """The recordings of the dataset that have no manifest, each with the reason."""
        return [r for r in self.recordings if r.decision is InferDecision.NOT_CHUNKED]

    @property
    def refused(self) -> list[RecordingToInfer]:
        """The recordings that prevent the plan from being run."""
        return [r for r in self.recordings if r.decision is InferDecision.REFUSE]

    @property
    def kept(self) -> OtherResults | None:
        """The results of other settings, which must be kept; None if there are none."""
        kept = [r.other for r in self.recordings if r.other and not r.other.may_go(self.settings.replace_results)]
        if not kept:
            return None
        total = OtherResults(kept[0].folder, kept[0].asked)
        for each in kept:
            total.merge(each)
        return total

    @property
    def why_nothing(self) -> str:
        """Why there is nothing to run."""
        if not self.recordings:
            return "there are no recordings"
        if self.kept is not None:
            return self.kept.summary()
        if any(r.decision is InferDecision.REFUSE for r in self.recordings):
            return "what is not complete is refused"
        return "what is chunked is complete" if self.not_chunked else "every recording is complete"

    def require_results_may_go(self) -> None:
        """Raise RequestError if results of other settings would be replaced unasked."""
        if self.kept is not None:
            raise RequestError(self.kept.refusal())

    @property
    def not_analysed(self) -> list[str]:
        """A line for each recording that is refused or has no chunks, with the reason."""
        return [f"{r.recording_id}: not analysed: {r.reason}" for r in (*self.refused, *self.not_chunked)]

    def without_refused(self) -> OrchestrationPlan:
        """Return the plan of the other recordings, for a pipeline: it continues with those that could be chunked."""
        return replace(self, recordings=[r for r in self.recordings if r.decision is not InferDecision.REFUSE])

    def counts(self) -> dict[InferDecision, int]:
        """Return the number of recordings for each decision."""
        counted = Counter(r.decision for r in self.recordings)
        return {decision: counted[decision] for decision in InferDecision if counted[decision]}

    def telemetry_log(self, recording: RecordingToInfer) -> Path:
        """Return a recording's telemetry log; its name is fixed, so that a later run can resume from it."""
        return recording.log

    def chunk_status_path(self, recording: RecordingToInfer) -> Path:
        """Return the path of a recording's chunk status."""
        return status_path(self.settings.below(self.settings.chunks_dir), recording.recording_id)

    def infer_settings(self, recording: RecordingToInfer) -> InferSettings:
        """Return the settings of a recording's run, which resumes from its telemetry if that was decided."""
        log = self.telemetry_log(recording)
        resume = resumable(log) if recording.decision is InferDecision.RESUME else None
        return self.settings.infer_settings(recording.manifest, log, resume)

    def rows(self) -> list[InferPlanRow]:
        """Return the plan's table: one row for each recording to run."""
        settings, root = self.settings, self.settings.root
        output_dir = settings.below(settings.output_dir)
        runner = settings.runner()
        hawkears = runner if isinstance(runner, HawkearsSettings) else None
        return [
            InferPlanRow(
                recording_id=r.recording_id,
                manifest_path=as_written(r.manifest, root),
                output_dir=as_written(output_dir, root),
                recording_output_dir=as_written(output_dir / r.recording_id, root),
                telemetry_log=as_written(self.telemetry_log(r), root),
                use_hawkears=hawkears is not None,
                hawkears_args=() if hawkears is None else hawkears.hawkears_arg,
                max_gpus=settings.max_gpus,
                cpu_workers=settings.cpu_workers,
                chunk_status=r.chunk_status,
                chunk_status_path=as_written(self.chunk_status_path(r), root),
                settings=other_settings(settings),
            )
            for r in self.todo
        ]


def plan_orchestration(
    settings: OrchestrateSettings, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> OrchestrationPlan:
    """Look at every manifest of a dataset, its outputs and its chunk status. Nothing is written.

    `on_progress` is called with the number of manifests looked at, and of all.

    Raises
    ------
    RequestError
        When the dataset or the chunk plan cannot be read, a setting of the runner is wrong, or two manifests are of the
        same recording.
    """
    settings, rows = with_saved_plan(settings)
    manifests = _chosen(settings, _manifests(settings) if rows is None else list(rows))
    not_installed = None
    try:
        spec = settings.runner_spec()
    except NotInstalledError as error:
        spec, not_installed = settings.runner(), str(error)
    made_with = made_by(spec, settings, find_dataset_root(settings.root))
    found: list[RecordingToInfer] = []
    for recording in in_threads(lambda path: _look(path, settings, made_with), manifests, batch_items=1):
        row = None if rows is None else rows[recording.manifest]
        asked = {"telemetry_dir", "sockeye_log_dir"} & settings.model_fields_set
        if row is not None and row.telemetry_log is not None and not asked:
            recording = replace(recording, log=settings.below(Path(row.telemetry_log)))
        found.append(recording)
        on_progress(len(found), len(manifests))
    _refuse_shared_ids(found)
    known = {recording.recording_id for recording in found}
    unlisted = [r for r in _not_chunked(settings) if r.recording_id not in known] if rows is None else []
    sources = [Source(r.recording_id, r.source_path, (str(settings.root),)) for r in found]
    places = RecordingPlaces(settings.layout, sources, settings.root)
    return OrchestrationPlan(
        settings,
        [*_limited(found, settings.limit), *unlisted],
        places.layout.text,
        places.describe(sources),
        not_installed,
    )


def _not_chunked(settings: OrchestrateSettings) -> list[RecordingToInfer]:
    """Return the recordings of the dataset that none of its manifests lists."""
    if not (settings.root / AUDIO_FOLDER).is_dir():
        return []
    dataset = ChunkSettings(dataset=settings.root, manifest_dir=settings.manifest_dir, chunks_dir=settings.chunks_dir)
    wanted = matcher(settings.pattern)
    return [
        RecordingToInfer(
            found.recording_id or found.audio,
            settings.root / found.audio,
            *(0, 0, 0, 0, ""),
            InferDecision.NOT_CHUNKED,
            found.reason,
            _log_of(settings, found.recording_id),
        )
        for found in not_chunked(dataset)
        if not settings.pattern or wanted(found.recording_id)
    ]


def require_installed(plan: OrchestrationPlan) -> None:
    """Raise NotInstalledError if there is something to run, and the runner is not installed."""
    if plan.todo and plan.not_installed is not None:
        raise _not_installed(plan.not_installed, plan.settings)


def require_ready(
    settings: OrchestrateSettings, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> None:
    """Refuse, before a pipeline chunks anything, what its inference would refuse.

    Raises
    ------
    RequestError
        When the runner is not installed, or results of other settings would be replaced unasked. Also as
        `plan_orchestration`.
    """
    if settings.below(settings.manifest_dir).is_dir():
        plan_orchestration(settings, on_progress).require_results_may_go()
    try:
        settings.runner_spec()
    except NotInstalledError as error:
        raise _not_installed(str(error), settings) from None


def _not_installed(problem: str, settings: OrchestrateSettings) -> NotInstalledError:
    return NotInstalledError(f"{problem}; or choose another runner: {', '.join(other_runners(settings))}")


def require_runnable(plan: OrchestrationPlan) -> None:
    """Raise RequestError if recordings are refused, with the reason for each, or if an output cannot be written."""
    plan.require_results_may_go()
    if plan.refused:
        lines = [f"{r.recording_id}: {r.reason}" for r in plan.refused]
        raise RequestError(
            f"{len(plan.refused)} of {numbered(len(plan.recordings), 'recording')} cannot be run; put them right "
            "(`badc chunk orchestrate --apply` chunks what is not), leave them out with --pattern, or take those that "
            f"are not completely chunked with --allow-partial-chunks:\n{listed(lines)}"
        )
    if plan.todo:
        settings = plan.settings
        require_writable(settings.below(settings.output_dir), "output folder")
        for folder in {recording.log.parent for recording in plan.todo}:
            require_writable(folder, "telemetry folder")
            if settings.sockeye_log_dir is None:
                require_inside(settings.below(settings.telemetry_dir), folder)
        if settings.bundle or settings.bundle_rollup:
            require_writable(settings.below(settings.bundle_aggregate_dir), "folder of the tables")
            if settings.bundle_rollup_export_dir is None:
                require_inside(settings.below(settings.bundle_aggregate_dir), settings.rollup_folder)
        if settings.bundle and settings.bundle_sites is not None:
            read_sites(settings.below(settings.bundle_sites))


def lost_since(plan: OrchestrationPlan, recording: RecordingToInfer) -> str | None:
    """Return what is no longer there of a recording whose run is complete, or None.

    A dataset takes nights, in which somebody clears a disk.
    """
    settings = plan.settings
    try:
        chunks = read_manifest(recording.manifest, settings.root).chunks
    except BadcError as error:
        return f"it cannot be seen whether its outputs are still there: {error}"
    if lost := without_output(settings.below(settings.output_dir), chunks):
        return (
            f"{len(lost)} of its outputs were deleted or emptied after they were written, such as "
            f"{result_path(settings.below(settings.output_dir), lost[0])}"
        )
    log = plan.telemetry_log(recording)
    # A link is git-annex's, whether or not its content is here.
    return None if os.path.lexists(log) else f"{log}: the telemetry log was deleted after it was written"


def _log_of(settings: OrchestrateSettings, recording_id: str) -> Path:
    return settings.telemetry_folder / f"{recording_id}.jsonl"


def _manifests(settings: OrchestrateSettings) -> list[Path]:
    root = settings.root
    if not root.is_dir():
        raise RequestError(f"{settings.root}: no such dataset; name the folder that holds manifests/ and audio/")
    folder = settings.below(settings.manifest_dir)
    if not folder.is_dir():
        raise RequestError(
            f"{folder}: no such folder of manifests; `badc chunk orchestrate {settings.root} --apply` makes it"
        )
    return manifests_below(folder)


def _chosen(settings: OrchestrateSettings, found: Sequence[Path]) -> list[Path]:
    """Return the manifests that match --pattern."""
    base = settings.below(settings.manifest_dir)
    wanted = matcher(settings.pattern)
    return [
        path
        for path in found
        if not settings.pattern
        or wanted((path.relative_to(base) if path.is_relative_to(base) else path).with_suffix("").as_posix())
        or wanted((path.relative_to(base) if path.is_relative_to(base) else path).as_posix())
    ]


def _look(path: Path, settings: OrchestrateSettings, made_with: Mapping[str, Any]) -> RecordingToInfer:
    """Return how far one recording is."""
    try:
        chunks = read_manifest(path, settings.root).chunks
    except BadcError as error:
        log = _log_of(settings, path.stem)
        return RecordingToInfer(path.stem, path, 0, 0, 0, 0, "", InferDecision.REFUSE, str(error), log)
    ids = {chunk.recording_id for chunk in chunks}
    recording_id = ids.pop() if len(ids) == 1 else path.stem
    output_dir = settings.below(settings.output_dir)
    redo = settings.redo_before
    standings = [standing_of(result_path(output_dir, c), c, made_with, redo) for c in chunks]
    open_chunks = [c for c, standing in zip(chunks, standings, strict=True) if standing != Standing()]
    other = OtherResults(output_dir, made_with)
    other.add(standings)
    status = "missing"
    try:
        if (found := read_chunk_status(status_path(settings.below(settings.chunks_dir), recording_id))) is not None:
            status = found.state.value
    except BadcError as error:
        status = f"unreadable ({error})"
    recording = RecordingToInfer(
        recording_id,
        path,
        chunks=len(chunks),
        done=len(chunks) - len(open_chunks),
        failed=_failed(_log_of(settings, recording_id), open_chunks),
        audio_ms=sum(chunk.duration_ms for chunk in chunks),
        chunk_status=status,
        decision=InferDecision.RUN,
        reason="",
        log=_log_of(settings, recording_id),
        other=other if other else None,
        source_path=chunks[0].source_path if chunks else None,
    )
    decision, reason = _decide(recording, settings)
    return replace(recording, decision=decision, reason=reason)


def _failed(log: Path, open_chunks: Sequence[Chunk]) -> int:
    """Return how many of these chunks without an output failed for good in the last run."""
    path = resumable(log)
    if path is None or not open_chunks:
        return 0
    try:
        jobs = read_jobs(path)
    except BadcError:  # no run can resume from this file; one that tries will say so
        return 0
    found = (jobs.find(chunk) for chunk in open_chunks)
    return sum(job is not None and job.status is JobStatus.FAILURE for job in found)


def _decide(recording: RecordingToInfer, settings: OrchestrateSettings) -> tuple[InferDecision, str]:
    if recording.chunks == 0:
        return InferDecision.SKIP, "the manifest has no chunks"
    other = recording.other
    if other is not None and not other.may_go(settings.replace_results):
        return InferDecision.REFUSE, other.summary()
    if recording.done == recording.chunks and not settings.include_existing:
        return InferDecision.SKIP, "complete: every chunk has a valid output"
    if recording.chunk_status != ChunkState.COMPLETED and not settings.allow_partial_chunks:
        return InferDecision.REFUSE, f"its chunk status is {recording.chunk_status}, not completed"
    if recording.done == 0:
        return InferDecision.RUN, "no chunk has an output" if other is None else f"replaces {other.summary()}"
    if recording.done == recording.chunks:
        return InferDecision.RUN, "complete, and wanted again (--include-existing)"
    if settings.resume_completed:
        return InferDecision.RESUME, "partly done"
    return InferDecision.RUN, "partly done; all of it runs again (--resume-completed resumes it)"


def _refuse_shared_ids(recordings: Sequence[RecordingToInfer]) -> None:
    """Refuse two manifests of one recording: they would share their output and telemetry files."""
    first: dict[str, RecordingToInfer] = {}
    problems = []
    for recording in recordings:
        other = first.setdefault(recording.recording_id, recording)
        if other is not recording:
            problems.append(f"{recording.recording_id}: {other.manifest} and {recording.manifest}")
    if problems:
        raise RequestError(
            f"two manifests are of the same recording; leave one out with --pattern:\n{listed(problems)}"
        )


def _limited(recordings: Sequence[RecordingToInfer], limit: int | None) -> Iterator[RecordingToInfer]:
    left = len(recordings) if limit is None else limit
    for recording in recordings:
        if recording.decision in (InferDecision.RUN, InferDecision.RESUME):
            if left == 0:
                recording = replace(recording, decision=InferDecision.LATER, reason=f"beyond --limit {limit}")
            else:
                left -= 1
        yield recording
