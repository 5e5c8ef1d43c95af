"""The plan of a dataset's inference: how far each recording is, what to do with it, and why."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from badc.chunks.manifest import read_manifest
from badc.chunks.status import status_path
from badc.datasets.inference.recording import CANNOT_RUN, TO_RUN, InferDecision, RecordingToInfer
from badc.datasets.inference.saved_plan import InferPlanRow, other_settings
from badc.datasets.inference.settings import OrchestrateSettings
from badc.datasets.inference.survey import survey_of, unlisted_recordings
from badc.datasets.inference.tables import require_own_tables
from badc.detections.places import RecordingPlaces, Source
from badc.detections.result import result_path, without_output
from badc.errors import BadcError, NotInstalledError, RequestError, listed, numbered
from badc.inference.other_results import OUTPUT_DIR, OtherResults
from badc.inference.settings import InferSettings
from badc.recordings.locate import notes_on_places
from badc.recordings.sites import read_sites
from badc.runners.hawkears.settings import HawkearsSettings
from badc.runners.interface import RunnerSpec
from badc.runners.settings import other_runners
from badc.system.output_lock import planned_lock
from badc.system.paths import as_written, find_dataset_root, require_inside, require_writable
from badc.telemetry.summary import resumable


@dataclass(frozen=True, slots=True)
class OrchestrationPlan:
    """What to do with a dataset: every requested recording, in the order of the manifests' paths.

    `layout` is the rule by which recordings have stations (see `badc.recordings.places`); `places` says it in words,
    and which recordings have none. `runner` is as workers get it, unless `not_installed` says what it lacks to run.
    """

    settings: OrchestrateSettings
    recordings: Sequence[RecordingToInfer]
    layout: str
    places: Sequence[str]
    runner: RunnerSpec
    not_installed: str | None = None

    @property
    def todo(self) -> list[RecordingToInfer]:
        """The recordings to run."""
        return [r for r in self.recordings if r.decision in TO_RUN]

    @property
    def audio_notes(self) -> list[str]:
        """What a person should know of where the audio is (see `notes_on_places`), and of what is not there."""
        todo, root = self.todo, self.settings.root
        notes = notes_on_places((r.source_path for r in todo if r.source_path is not None), root)
        lacking = [r.lacks_audio for r in todo if r.lacks_audio is not None]
        if lacking and find_dataset_root(root) is None:  # in a DataLad dataset it may be fetched
            notes.append(
                f"the audio of {len(lacking)} of {numbered(len(todo), 'recording')} to run is not where the manifests "
                f"say, such as {lacking[0]}: they will fail; mount its disk, or bring it back there"
            )
        return notes

    def locked(self) -> AbstractContextManager[object]:
        """Hold the recordings to run against another run of the dataset (see `planned_lock`)."""
        ids = frozenset(recording.recording_id for recording in self.todo)
        return planned_lock(self.settings.below(self.settings.output_dir), ids, self.settings.telemetry_folder)

    @property
    def to_report(self) -> list[RecordingToInfer]:
        """The complete recordings whose reports are missing."""
        return [r for r in self.recordings if r.decision is InferDecision.REPORT]

    @property
    def not_chunked(self) -> list[RecordingToInfer]:
        """The recordings of the dataset that have no manifest, each with the reason."""
        return [r for r in self.recordings if r.decision is InferDecision.NOT_CHUNKED]

    @property
    def refused(self) -> list[RecordingToInfer]:
        """The recordings that prevent the plan from being run."""
        return [r for r in self.recordings if r.decision in CANNOT_RUN]

    @property
    def kept(self) -> OtherResults | None:
        """The results of other settings, which must be kept; None if there are none."""
        kept = [r.other for r in self.recordings if r.other and not r.other.may_go(self.settings.replace_results)]
        if not kept:
            return None
        total = replace(kept[0], _counts=Counter(), _settings={})
        if self.settings.place.is_study and total.option == OUTPUT_DIR:
            total.option = "--results"  # which gives the tables and the page another place, too
        for each in (other for other in kept if other.what == total.what):
            total.merge(each)
        return total

    @property
    def why_nothing(self) -> str:
        """Why there is nothing to run."""
        if not self.recordings:
            return "there are no recordings"
        if self.kept is not None:
            return self.kept.summary()
        if self.refused:
            return "what is not complete is refused"
        return "what is chunked is complete" if self.not_chunked else "every recording is complete"

    def require_possible(self) -> None:
        """Raise RequestError if others' results or tables would be replaced unasked, or --channel names none."""
        if self.kept is not None:
            raise RequestError(self.kept.refusal())
        made = (*TO_RUN, InferDecision.REPORT)
        require_own_tables(self.settings, [(r.recording_id, r.decision in made) for r in self.recordings])
        if lacking := [r.lacks_channel for r in self.recordings if r.lacks_channel is not None]:
            raise RequestError(listed(lacking))

    def require_complete(self) -> None:
        """Raise RequestError if recordings are refused, with the reason for each."""
        self.require_possible()
        if self.refused:
            lines = [f"{r.recording_id}: {r.reason}" for r in self.refused]
            raise RequestError(
                f"{len(self.refused)} of {numbered(len(self.recordings), 'recording')} cannot be run; put them right "
                "(`badc chunk orchestrate --apply` chunks what is not), leave them out with --pattern, or take those "
                f"that are not completely chunked with --allow-partial-chunks:\n{listed(lines)}"
            )

    def not_analysed(self, told: Collection[str] = ()) -> list[str]:
        """Return why each recording is refused, or has no chunks, unless its path as shown is among those `told` of."""
        known = {self.settings.place.base / path for path in told}
        lacking = [*self.refused, *(r for r in self.not_chunked if r.manifest not in known)]
        return [f"{r.recording_id}: not analysed: {r.reason}" for r in lacking]

    def without_refused(self) -> OrchestrationPlan:
        """Return the plan of the other recordings, for a pipeline: it continues with those that could be chunked."""
        return replace(self, recordings=[r for r in self.recordings if r.decision not in CANNOT_RUN])

    def counts(self) -> dict[InferDecision, int]:
        """Return the number of recordings for each decision."""
        counted = Counter(r.decision for r in self.recordings)
        return {decision: counted[decision] for decision in InferDecision if counted[decision]}

    def chunk_status_path(self, recording: RecordingToInfer) -> Path:
        """Return the path of a recording's chunk status."""
        return status_path(self.settings.below(self.settings.chunks_dir), recording.recording_id)

    def infer_settings(self, recording: RecordingToInfer) -> InferSettings:
        """Return the settings of a recording's run, which resumes from its telemetry if that was decided."""
        resume = resumable(recording.log) if recording.decision is InferDecision.RESUME else None
        return self.settings.infer_settings(recording.manifest, recording.log, resume)

    def rows(self) -> list[InferPlanRow]:
        """Return the plan's table: one row for each recording to run or refused, which is looked at again later."""
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
                telemetry_log=as_written(r.log, root),
                use_hawkears=hawkears is not None,
                hawkears_args=() if hawkears is None else hawkears.hawkears_arg,
                max_gpus=settings.max_gpus,
                cpu_workers=settings.cpu_workers,
                chunk_status=r.chunk_status,
                chunk_status_path=as_written(self.chunk_status_path(r), root),
                settings=other_settings(settings),
            )
            for r in self.recordings
            if r.decision in (*TO_RUN, *CANNOT_RUN)
        ]


def plan_orchestration(
    settings: OrchestrateSettings, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> OrchestrationPlan:
    """Look at every manifest of a dataset, its outputs and its chunk status. Nothing is written.

    `on_progress` is called with the number of manifests looked at, and of all.

    Raises
    ------
    RequestError
        See `survey_of`.
    """
    survey = survey_of(settings, on_progress)
    settings, found = survey.settings, survey.recordings
    known = {recording.recording_id for recording in found}
    listed_audio = {r.source_path for r in found if r.source_path is not None}
    unlisted = unlisted_recordings(settings, listed_audio) if survey.whole_dataset else []
    unlisted = [r for r in unlisted if r.recording_id not in known]
    sources = [Source(r.recording_id, r.source_path, (str(settings.root),)) for r in found]
    places = RecordingPlaces(settings.layout, sources, settings.root)
    return OrchestrationPlan(
        settings,
        [*_limited(found, settings.limit), *unlisted],
        places.layout.text,
        places.describe(sources),
        survey.runner,
        survey.not_installed,
    )


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
        When the runner is not installed, or as `OrchestrationPlan.require_possible` and `plan_orchestration`.
    """
    if settings.below(settings.manifest_dir).is_dir():
        survey = survey_of(settings, on_progress)
        settings = survey.settings
        OrchestrationPlan(settings, survey.recordings, "", (), survey.runner).require_possible()
    try:
        settings.runner_spec()
    except NotInstalledError as error:
        raise _not_installed(str(error), settings) from None


def _not_installed(problem: str, settings: OrchestrateSettings) -> NotInstalledError:
    return NotInstalledError(f"{problem}; or choose another runner: {', '.join(other_runners(settings))}")


def require_runnable(plan: OrchestrationPlan) -> None:
    """Raise RequestError if recordings are refused, with the reason for each, or if an output cannot be written."""
    plan.require_complete()
    settings = plan.settings
    if plan.todo:
        require_writable(settings.below(settings.output_dir), "output folder")
        for folder in {recording.log.parent for recording in plan.todo}:
            require_writable(folder, "telemetry folder")
            if settings.sockeye_log_dir is None:
                require_inside(settings.below(settings.telemetry_dir), folder)
    if plan.todo or plan.to_report:
        if settings.bundle or settings.bundle_rollup:
            require_writable(settings.below(settings.bundle_aggregate_dir), "folder of the tables")
            if settings.bundle_rollup_export_dir is None:
                require_inside(settings.below(settings.bundle_aggregate_dir), settings.rollup_folder)
        if settings.bundle and settings.sites_path is not None:
            read_sites(settings.sites_path)


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
            f"{numbered(len(lost), 'output was', 'outputs were')} deleted or emptied after being written, such as "
            f"{result_path(settings.below(settings.output_dir), lost[0])}"
        )
    # A link is git-annex's, whether or not its content is here.
    gone = not os.path.lexists(recording.log)
    return f"{recording.log}: the telemetry log was deleted after it was written" if gone else None


def _limited(recordings: Sequence[RecordingToInfer], limit: int | None) -> Iterator[RecordingToInfer]:
    left = len(recordings) if limit is None else limit
    for recording in recordings:
        if recording.decision in TO_RUN:
            if left == 0:
                recording = replace(recording, decision=InferDecision.LATER, reason=f"beyond --limit {limit}")
            else:
                left -= 1
        yield recording
