"""How far each recording of a dataset is: its manifest, its outputs and its chunk status are looked at."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from badc.chunks.manifest import manifests_below
from badc.datasets.chunking.plan import not_chunked
from badc.datasets.chunking.settings import ChunkSettings
from badc.datasets.inference.recording import TO_RUN, InferDecision, RecordingToInfer, log_of, look_at
from badc.datasets.inference.saved_plan import with_saved_plan
from badc.datasets.inference.settings import OrchestrateSettings
from badc.datasets.listing import matcher
from badc.errors import NotInstalledError, RequestError, listed
from badc.inference.embeddings import embeddings_folder
from badc.inference.outputs import OutputFolders
from badc.inference.plan import has_gpus, made_by, prepared_runner
from badc.runners.interface import RunnerSpec
from badc.system.output_lock import living_runs
from badc.system.paths import find_dataset_root
from badc.system.threads import in_threads


@dataclass(frozen=True, slots=True)
class Survey:
    """How far each recording is; `settings` have what a saved plan says, without which it is the `whole_dataset`."""

    settings: OrchestrateSettings
    recordings: list[RecordingToInfer]
    whole_dataset: bool
    runner: RunnerSpec
    not_installed: str | None


def survey_of(settings: OrchestrateSettings, on_progress: Callable[[int, int], None]) -> Survey:
    """Look at every manifest that was asked for; `on_progress` gets their number so far, and that of all.

    Raises
    ------
    RequestError
        When the dataset or the chunk plan cannot be read, a setting of the runner is wrong, or two manifests are of the
        same recording.
    """
    settings, rows = with_saved_plan(settings)
    settings = settings.of_its_jobs()
    manifests = _chosen(settings, _manifests(settings) if rows is None else list(rows))
    not_installed = None
    try:
        spec = prepared_runner(settings) if _runs_here(settings) else settings.runner_spec()
    except NotInstalledError as error:
        spec, not_installed = settings.runner(), str(error)
    made_with = made_by(spec, settings, find_dataset_root(settings.root))
    output_dir = settings.below(settings.output_dir)
    folders = OutputFolders(
        spec, made_with, output_dir, embeddings_folder(settings.embeddings_folder, output_dir, spec)
    )
    running = living_runs(output_dir)
    found: list[RecordingToInfer] = []
    for recording in in_threads(lambda path: look_at(path, settings, folders), manifests):
        row = None if rows is None else rows[recording.manifest]
        if row is not None and row.recording_id not in (None, recording.recording_id):
            raise RequestError(
                f"{settings.chunk_plan}: {row.manifest_path} is of the recording {recording.recording_id}, and not of "
                f"{row.recording_id}"
            )
        asked = {"telemetry_dir", "sockeye_log_dir"} & settings.model_fields_set
        if row is not None and row.telemetry_log is not None and not asked:
            recording = replace(recording, log=settings.below(Path(row.telemetry_log)))
        if recording.decision in TO_RUN and (who := running.get(recording.recording_id)) is not None:
            recording = replace(recording, reason=f"{recording.reason}; it is running: {who}")
        found.append(recording)
        on_progress(len(found), len(manifests))
    _refuse_shared_ids(found)
    return Survey(settings, found, rows is None, spec, not_installed)


def _runs_here(settings: OrchestrateSettings) -> bool:
    """Whether it is known on which device it would run: jobs run elsewhere, and so may what a login node plans."""
    if settings.writes_jobs:
        return False
    return settings.apply or settings.max_gpus == 0 or has_gpus(settings)


def unlisted_recordings(settings: OrchestrateSettings, listed_audio: Collection[str]) -> list[RecordingToInfer]:
    """Return the recordings of the dataset that none of its manifests lists; some that they do list are known."""
    if not settings.place.audio.is_dir():
        return []
    dataset = ChunkSettings(dataset=settings.root, manifest_dir=settings.manifest_dir, chunks_dir=settings.chunks_dir)
    wanted = matcher(settings.pattern)
    return [
        RecordingToInfer(
            found.recording_id or found.audio,
            settings.place.base / found.audio,
            *(0, 0, 0, 0, ""),
            InferDecision.NOT_CHUNKED,
            found.reason,
            log_of(settings, found.recording_id),
        )
        for found in not_chunked(dataset, listed_audio)
        if not settings.pattern or wanted(found.recording_id)
    ]


def _manifests(settings: OrchestrateSettings) -> list[Path]:
    folder = settings.place.base
    if not folder.is_dir():
        raise RequestError(f"{folder}: no such dataset; name the folder that holds manifests/ and audio/")
    folder = settings.below(settings.manifest_dir)
    if not folder.is_dir():
        raise RequestError(
            f"{folder}: no such folder of manifests; `badc chunk orchestrate {settings.dataset} --apply` makes it"
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
