"""Chunking a whole dataset: deciding what to do with each recording, and doing it for one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from badc.chunks.cutting import known_of, plan_cut, remove_earlier_cut, windows, write_real_chunks, write_virtual_chunks
from badc.chunks.status import ChunkState, ChunkStatus, keeping_status, status_path
from badc.datasets.chunking.existing import Chunked, ChunkOrder, find_chunked
from badc.datasets.chunking.settings import ChunkSettings
from badc.datasets.ids import assign_ids
from badc.datasets.listing import AUDIO_FOLDER, AudioFile, list_audio, matcher
from badc.errors import BadcError, RequestError
from badc.recordings.audio import AudioError, probe
from badc.system.clock import epoch_s, moment
from badc.system.paths import as_written, require_inside, require_writable
from badc.system.row_files import PlanRow
from badc.system.threads import in_threads

Progress = Callable[[str, int, int | None], None]


class ChunkDecision(StrEnum):
    """What to do with a recording."""

    CHUNK = "chunk"
    FETCH = "fetch and chunk"
    SKIP = "skip"
    LATER = "later"
    ABSENT = "content not here"
    UNUSABLE = "unusable"


@dataclass(frozen=True, slots=True)
class RecordingToChunk:
    """A recording, what to do with it, and why.

    `recording_id` is empty if the name gives none; `audio` is the path below the dataset; length and number of chunks
    are None if unknown; `resumed` says that an earlier run left it unfinished.
    """

    recording_id: str
    audio: str
    decision: ChunkDecision
    reason: str
    recording_ms: int | None = None
    chunks: int | None = None
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class DatasetPlan:
    """What to do with a dataset: every requested recording, sorted by path, and a note on what is passed over."""

    settings: ChunkSettings
    order: ChunkOrder
    recordings: Sequence[RecordingToChunk]
    note: str | None = None

    @property
    def todo(self) -> list[RecordingToChunk]:
        """The recordings to chunk. Unusable ones are tried, so that their status says what is wrong."""
        tried = (ChunkDecision.CHUNK, ChunkDecision.FETCH, ChunkDecision.UNUSABLE)
        return [r for r in self.recordings if r.recording_id and r.decision in tried]

    @property
    def not_possible(self) -> list[RecordingToChunk]:
        """The recordings that cannot even be tried: their content is not here, or their name gives no id."""
        return [
            r
            for r in self.recordings
            if r.decision is ChunkDecision.ABSENT or (r.decision is ChunkDecision.UNUSABLE and not r.recording_id)
        ]

    def counts(self) -> dict[ChunkDecision, int]:
        """Return the number of recordings for each decision."""
        counted = Counter(r.decision for r in self.recordings)
        return {decision: counted[decision] for decision in ChunkDecision if counted[decision]}

    def rows(self) -> list[ChunkPlanRow]:
        """Return the plan's table: one row for each recording to chunk."""
        order = self.order
        return [
            ChunkPlanRow(
                recording_id=r.recording_id,
                audio_path=as_written(order.root / r.audio, order.dataset_root),
                manifest_path=as_written(order.manifest_of(r.recording_id), order.dataset_root),
                chunk_output_dir=as_written(order.chunks_dir / r.recording_id, order.dataset_root),
                chunk_duration=order.cut.duration_ms / 1000,
                overlap=order.cut.overlap_ms / 1000,
            )
            for r in self.todo
        ]


class ChunkingInterruptedError(BadcError):
    """The run was stopped while chunking a recording."""


@dataclass(frozen=True, slots=True)
class ChunkOutcome:
    """How the chunking of a recording ended; `audio` is its path below the dataset, `error` why it failed, or None."""

    recording_id: str
    audio: str
    chunks: int = 0
    error: str | None = None


def plan_dataset(
    settings: ChunkSettings,
    fetching: bool,
    on_progress: Progress = lambda what, done, total: None,
    any_lengths: bool = False,
) -> DatasetPlan:
    """Decide what to do with each recording of a dataset; nothing is written.

    `fetching` says whether dropped content would be fetched; `on_progress` is called with what is counted, how many are
    done, and of how many; for `any_lengths` see `ChunkOrder`.

    Raises
    ------
    RequestError
        When there is no dataset, the lengths make no sense, a pattern matches nothing, or the content of manifests or
        chunk statuses was dropped.
    """
    order = replace(ChunkOrder.of(settings), any_lengths=any_lengths)
    if not order.root.is_dir():
        raise RequestError(f"{settings.root}: no such folder; name the dataset, the folder that has audio/")
    listing = list_audio(order.root, settings.pattern, lambda found: on_progress("recordings found", found, None))
    chunked = find_chunked(order, lambda done, total: on_progress("manifests read", done, total))
    paths = {file.path for file in listing.files}
    known = _known_ids(chunked, order, paths)
    # An id with neither a known recording nor any chunks may go to the recording of that name.
    taken = [identifier for identifier, found in chunked.items() if found.audio is not None or found.rows]
    ids, problems = assign_ids(paths, known, taken)
    wanted = matcher(settings.pattern) if settings.pattern else lambda path: True
    planned = [
        RecordingToChunk("", f"{AUDIO_FOLDER}/{path}", ChunkDecision.UNUSABLE, reason)
        for path, reason in [*listing.problems, *problems.items()]
        if wanted(path)
    ]
    planned += [
        _decide(file, ids[file.path], chunked.get(ids[file.path]), settings, fetching, order)
        for file in listing.files
        if file.path in ids and wanted(file.path)
    ]
    if settings.pattern and not planned:
        raise RequestError(
            f"--pattern {', '.join(settings.pattern)}: no recording in {order.root / AUDIO_FOLDER} matches"
        )
    planned.sort(key=lambda r: r.audio)
    opened = _opened(_limited(planned, settings.limit), order, on_progress)
    return DatasetPlan(settings, order, opened, listing.unreadable_note())


def require_places(plan: DatasetPlan) -> None:
    """Raise RequestError, before anything is begun, if the folder of the manifests or the chunks cannot be written."""
    require_writable(plan.order.manifest_dir, "folder of the manifests")
    require_writable(plan.order.chunks_dir, "folder of the chunks")


def chunk_recording(
    recording: RecordingToChunk, order: ChunkOrder, interrupted: Callable[[], bool] = lambda: False
) -> ChunkOutcome:
    """Chunk one recording, and write its progress to its chunk status. A failure is returned, not raised.

    `interrupted` is asked after each chunk whether to stop.

    Raises
    ------
    ChunkingInterruptedError
        When it was stopped; its status says `failed`, and the next run chunks it again.
    """
    identifier = recording.recording_id
    audio = order.root / recording.audio
    manifest = order.manifest_of(identifier)
    path = status_path(order.chunks_dir, identifier)
    status = ChunkStatus(
        recording_id=identifier,
        audio_path=as_written(audio, order.dataset_root),
        manifest_path=as_written(manifest, order.dataset_root),
        state=ChunkState.IN_PROGRESS,
        duration_s=order.cut.duration_ms / 1000,
        overlap_s=order.cut.overlap_ms / 1000,
    )

    def after_chunk(done: int) -> None:
        if interrupted():
            raise ChunkingInterruptedError("interrupted")

    try:
        require_inside(order.chunks_dir, path.parent)
        with keeping_status(path, status) as found:
            plan = plan_cut(audio, identifier, order.cut, order.dataset_root)
            if order.virtual:
                chunks = write_virtual_chunks(plan, manifest, order.hash_chunks, after_chunk)
                remove_earlier_cut(identifier, path.parent)
            else:
                chunks = write_real_chunks(plan, path.parent, manifest, after_chunk)
            found |= known_of(plan)
    except ChunkingInterruptedError:
        raise
    except BadcError as error:
        return ChunkOutcome(identifier, recording.audio, error=str(error))
    except OSError as error:
        return ChunkOutcome(identifier, recording.audio, error=f"{error.filename or path}: {error.strerror or error}")
    except Exception as error:  # a bug, or a lack of memory, fails its recording, not the run
        return ChunkOutcome(identifier, recording.audio, error=f"{type(error).__name__}: {error}")
    return ChunkOutcome(identifier, recording.audio, len(chunks))


def _known_ids(chunked: Mapping[str, Chunked], order: ChunkOrder, paths: set[str]) -> dict[str, str]:
    """Return the ids that recordings already have, by their path below `audio`."""
    known: dict[str, str] = {}
    # Complete ones first, in case a recording has two.
    for identifier, found in sorted(chunked.items(), key=lambda item: item[1].missing is not None):
        if found.audio is not None and (path := _below_audio(found.audio, order.root, paths)) is not None:
            known.setdefault(path, identifier)
    return known


def _below_audio(audio: Path, root: Path, paths: set[str]) -> str | None:
    """Return a recording's path below this dataset's `audio`, also if the dataset has been moved since."""
    text = audio.as_posix()
    inside = f"{root.as_posix().rstrip('/')}/{AUDIO_FOLDER}/"
    if text.startswith(inside):
        return text.removeprefix(inside)
    folders = text.split("/")
    tails = ("/".join(folders[at + 1 :]) for at, name in enumerate(folders) if name == AUDIO_FOLDER)
    return next((tail for tail in tails if tail in paths), None)


def _decide(
    file: AudioFile, identifier: str, found: Chunked | None, settings: ChunkSettings, fetching: bool, order: ChunkOrder
) -> RecordingToChunk:
    missing = "new" if found is None else found.missing or _changed(file, found, order) or _wanted(found, settings)
    planned = RecordingToChunk(identifier, file.in_dataset, ChunkDecision.CHUNK, missing or "")
    if found is not None and found.unfinished:
        planned = replace(planned, resumed=True)
    if missing is None:
        assert found is not None
        assert found.status is not None
        return replace(planned, decision=ChunkDecision.SKIP, reason="chunked already", chunks=found.rows)
    if file.here:
        return planned
    if fetching:
        return replace(planned, decision=ChunkDecision.FETCH)
    return replace(planned, decision=ChunkDecision.ABSENT, reason=f"{missing}; `datalad get` brings the content")


def _wanted(found: Chunked, settings: ChunkSettings) -> str | None:
    """Return why a completely chunked recording is wanted again, or None."""
    if settings.include_existing:
        return "chunked before; --include-existing"
    if settings.redo_before is None:
        return None
    at_s = epoch_s(found.status and found.status.completed_at)
    if at_s is not None and at_s >= moment(settings.redo_before).timestamp():
        return None
    return f"chunked before {settings.redo_before}"


def _changed(file: AudioFile, found: Chunked, order: ChunkOrder) -> str | None:
    """Return how a completely chunked recording has changed since, or None."""
    audio = order.root / file.in_dataset
    if found.audio != audio and not _is_same_file(found.audio, audio):
        return f"its manifest names {found.audio}"
    size = None if found.status is None else found.status.audio_bytes
    if size is not None and file.size is not None and size != file.size:
        return f"the audio has changed since: {file.size} bytes, then {size}"
    return None


def _is_same_file(first: Path | None, second: Path) -> bool:
    """Return whether two paths lead to one file, such as through another mount of the dataset."""
    try:
        return first is not None and first.samefile(second)
    except OSError:
        return False


def _limited(planned: Sequence[RecordingToChunk], limit: int | None) -> list[RecordingToChunk]:
    if limit is None:
        return list(planned)
    left = limit
    kept = []
    for recording in planned:
        if recording.decision in (ChunkDecision.CHUNK, ChunkDecision.FETCH):
            left -= 1
            if left < 0:
                recording = replace(recording, decision=ChunkDecision.LATER, reason=f"beyond --limit {limit}")
        kept.append(recording)
    return kept


def _opened(planned: list[RecordingToChunk], order: ChunkOrder, on_progress: Progress) -> list[RecordingToChunk]:
    """Open the recordings to chunk, to find their lengths and those that cannot be read."""
    at = [number for number, recording in enumerate(planned) if recording.decision is ChunkDecision.CHUNK]
    opened = in_threads(lambda number: _open(planned[number], order), at)
    for done, (number, recording) in enumerate(zip(at, opened, strict=True), start=1):
        planned[number] = recording
        on_progress("recordings opened", done, len(at))
    return planned


def _open(recording: RecordingToChunk, order: ChunkOrder) -> RecordingToChunk:
    path = order.root / recording.audio
    cut = order.cut
    try:
        length_ms = probe(path).duration_ms
    except AudioError as error:
        return replace(recording, decision=ChunkDecision.UNUSABLE, reason=str(error))
    except OSError as error:
        return replace(recording, decision=ChunkDecision.UNUSABLE, reason=f"{path}: cannot be read ({error.strerror})")
    if length_ms < 1:
        return replace(recording, decision=ChunkDecision.UNUSABLE, reason=f"{path}: shorter than 1 ms")
    chunks = len(windows(length_ms, cut.duration_ms, cut.overlap_ms, cut.min_chunk_ms))
    return replace(recording, recording_ms=length_ms, chunks=chunks)


class ChunkPlanRow(PlanRow):
    """How one recording would be chunked. Paths are relative to the dataset's root, or absolute outside a dataset.

    `chunk_output_dir` is for chunk WAVs and chunk status; `chunk_duration` and `overlap`, which the next chunk repeats,
    are in seconds.
    """

    recording_id: str
    audio_path: str
    manifest_path: str
    chunk_output_dir: str
    chunk_duration: float
    overlap: float
