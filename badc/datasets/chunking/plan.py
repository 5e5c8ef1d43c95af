"""The plan of a dataset's chunking: what to do with each recording, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from badc.chunks.cutting import windows
from badc.datasets.chunking.decision import ChunkDecision, RecordingToChunk, decide
from badc.datasets.chunking.existing import Chunked, ChunkOrder, find_chunked
from badc.datasets.chunking.settings import ChunkSettings
from badc.datasets.ids import assign_ids
from badc.datasets.listing import AudioFile, Listing, list_audio, matcher
from badc.errors import RequestError, listed, numbered
from badc.recordings.audio import AudioError, probe
from badc.recordings.dataset_file import audio_as_written, kept_layout
from badc.recordings.names import AUDIO_FOLDER
from badc.recordings.places import Layout, describe_places, find_layout
from badc.recordings.start_times import RecordingTimes
from badc.system.paths import as_written, require_writable
from badc.system.row_files import PlanRow
from badc.system.threads import in_threads

Progress = Callable[[str, int, int | None], None]


def _untold(what: str, done: int, total: int | None) -> None:
    """Show no progress."""


@dataclass(frozen=True, slots=True)
class DatasetPlan:
    """What to do with a dataset: every requested recording, sorted by path, and what is to be noted.

    `places` says by which rule its recordings have stations, and which have none.
    """

    settings: ChunkSettings
    order: ChunkOrder
    recordings: Sequence[RecordingToChunk]
    audio_notes: Sequence[str] = ()
    clocks: str | None = None
    places: Sequence[str] = ()

    @property
    def todo(self) -> list[RecordingToChunk]:
        """The recordings to work on. Unusable ones are tried, so that their status says what is wrong."""
        tried = (ChunkDecision.CHUNK, ChunkDecision.FETCH, ChunkDecision.ADOPT, ChunkDecision.UNUSABLE)
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
                audio_path=audio_as_written(order.audio_of(r.audio), order.dataset_root),
                manifest_path=as_written(r.manifest_in(order), order.dataset_root),
                chunk_output_dir=as_written(order.chunks_dir / r.recording_id, order.dataset_root),
                chunk_duration=order.cut.duration_ms / 1000,
                overlap=order.cut.overlap_ms / 1000,
            )
            for r in self.todo
            if r.decision is not ChunkDecision.ADOPT
        ]

    def notes(self, again: str) -> list[str]:
        """Return what a person should know before the plan is carried out; `again` is the option that cuts anew."""
        notes = [*self.audio_notes, *([] if self.clocks is None else [self.clocks])]
        if kept := [r for r in self.recordings if r.decision in (ChunkDecision.KEEP, ChunkDecision.ADOPT)]:
            lines = [f"{r.recording_id}: {r.reason}" for r in kept]
            verb = "keeps its chunks" if len(kept) == 1 else "keep their chunks"
            notes.append(f"{numbered(len(kept), 'recording')} {verb} ({again} cuts anew):\n{listed(lines)}")
        cut = (ChunkDecision.CHUNK, ChunkDecision.FETCH)
        known = [r.anew for r in self.recordings if r.decision in cut and r.anew is not None]
        if anew := [found for found in known if found.manifest is not None]:
            notes.append(_what_becomes(anew, self.order))
        return notes


def plan_dataset(settings: ChunkSettings, fetching: bool, on_progress: Progress = _untold) -> DatasetPlan:
    """Decide what to do with each recording of a dataset; nothing is written.

    `fetching` says whether dropped content would be fetched; `on_progress` is called with what is counted, how many are
    done, and of how many.

    Raises
    ------
    RequestError
        When there is no dataset, the lengths make no sense, a pattern matches nothing, or the content of manifests or
        chunk statuses was dropped.
    """
    order = ChunkOrder.of(settings)
    listing = _listed(settings, order, on_progress)
    planned = _looked_at(
        settings,
        order,
        listing,
        on_progress,
        lambda file, identifier, found: decide(file, identifier, found, settings, fetching, order),
    )
    if settings.pattern and not planned:
        raise RequestError(f"--pattern {', '.join(settings.pattern)}: no recording in {order.place.audio} matches")
    times = RecordingTimes([])
    opened = _opened(_limited(planned, settings.limit), order, times, on_progress)
    paths = [file.path for file in listing.files]
    kept = settings.layout or kept_layout(order.root)
    layout = Layout(kept) if kept else find_layout(paths)
    places = describe_places(layout, [(path, layout.place_of(path)) for path in paths]) if paths else []
    return DatasetPlan(settings, order, opened, listing.notes(), times.disagreements_note(), places)


def not_chunked(settings: ChunkSettings, listed_audio: Collection[str] = ()) -> list[RecordingToChunk]:
    """Return the recordings of a dataset that no manifest lists, with the reason; none is opened.

    A manifest that cannot be read, or is not here, may list that of its name. If `listed_audio`, paths below the
    dataset that are known to be listed, is all that there is, no manifest is read. Raises as `plan_dataset`.
    """
    order = replace(ChunkOrder.of(settings), strict=False)
    listing = _listed(settings, order, _untold)
    written = audio_as_written(order.place.audio / "x", order.root)[:-1]
    if listed_audio and not listing.problems and all(written + file.path in listed_audio for file in listing.files):
        return []

    def reason(file: AudioFile, identifier: str, found: Chunked | None) -> RecordingToChunk:
        why = "never chunked" if found is None else f"not chunked: {found.missing}"
        why = why if file.here else f"{why}; its content is not here"
        listed = found is not None and found.manifest_is_in(order) and (found.chunks > 0 or not found.repeatable)
        decision = ChunkDecision.SKIP if listed else ChunkDecision.UNUSABLE
        return RecordingToChunk(identifier, order.place.shown(file.path), decision, why)

    planned = _looked_at(settings, order, listing, _untold, reason)
    return [recording for recording in planned if recording.decision is not ChunkDecision.SKIP]


def _listed(settings: ChunkSettings, order: ChunkOrder, on_progress: Progress) -> Listing:
    if not order.place.base.is_dir():
        raise RequestError(
            f"{order.place.base}: no such folder; name a folder of recordings, or the dataset whose audio/ has them"
        )
    order.place.require_usable()
    return list_audio(
        order.root, settings.pattern, lambda found: on_progress("recordings found", found, None), order.place.audio
    )


def _looked_at(
    settings: ChunkSettings,
    order: ChunkOrder,
    listing: Listing,
    on_progress: Progress,
    decision_of: Callable[[AudioFile, str, Chunked | None], RecordingToChunk],
) -> list[RecordingToChunk]:
    """Return what `decision_of` says of each wanted recording and of what its id has, sorted by path."""
    chunked = find_chunked(order, lambda done, total: on_progress("manifests read", done, total))
    paths = {file.path for file in listing.files}
    known = _known_ids(chunked, order, paths)
    # An id with neither a known recording nor any chunks may go to the recording of that name.
    taken = [name for name, found in chunked.items() if found.audio is not None or found.chunks]
    ids, problems = assign_ids(paths, known, taken)
    wanted = matcher(settings.pattern) if settings.pattern else lambda path: True
    planned = [
        RecordingToChunk("", order.place.shown(path), ChunkDecision.UNUSABLE, reason)
        for path, reason in [*listing.problems, *problems.items()]
        if wanted(path)
    ]
    planned += [
        decision_of(file, ids[file.path], chunked.get(ids[file.path]))
        for file in listing.files
        if file.path in ids and wanted(file.path)
    ]
    return sorted(planned, key=lambda recording: recording.audio)


def require_recordings(plan: DatasetPlan) -> None:
    """Raise RequestError if there is nothing to chunk, nor anything that was chunked before."""
    if not plan.recordings and not plan.order.manifest_dir.is_dir():
        notes = "".join(f"; {note}" for note in plan.audio_notes)
        raise RequestError(f"{plan.order.place.audio}: no recordings are in it{notes}")


def require_places(plan: DatasetPlan) -> None:
    """Raise RequestError, before anything is begun, if the folder of the manifests or the chunks cannot be written."""
    plan.order.place.require_writable()
    require_writable(plan.order.manifest_dir, "folder of the manifests")
    require_writable(plan.order.chunks_dir, "folder of the chunks")


def _known_ids(chunked: Mapping[str, Chunked], order: ChunkOrder, paths: set[str]) -> dict[str, str]:
    """Return the ids that recordings already have, by their path below `audio`."""
    known: dict[str, str] = {}
    # Complete ones first, in case a recording has two.
    for identifier, found in sorted(chunked.items(), key=lambda item: item[1].missing is not None):
        if found.audio is not None and (path := _below_audio(found.audio, order.place.audio, paths)) is not None:
            known.setdefault(path, identifier)
    # Chunk WAVs without a status name no recording; other tools take its stem for the id.
    lost = {name for name, found in chunked.items() if found.audio is None and found.chunks}
    of_stem: dict[str, list[str]] = {}
    for path in paths if lost else ():
        if (stem := PurePosixPath(path).stem) in lost:
            of_stem.setdefault(stem, []).append(path)
    for stem, found_at in of_stem.items():
        if len(found_at) == 1:
            known.setdefault(found_at[0], stem)
    return known


def _below_audio(audio: Path, recordings: Path, paths: set[str]) -> str | None:
    """Return a recording's path below this dataset's folder of recordings, also if the dataset was moved since."""
    text = audio.as_posix()
    inside = f"{recordings.as_posix().rstrip('/')}/"
    if text.startswith(inside):
        return text.removeprefix(inside)
    folders = text.split("/")
    tails = ("/".join(folders[at + 1 :]) for at, name in enumerate(folders) if name == AUDIO_FOLDER)
    return next((tail for tail in tails if tail in paths), None)


def _what_becomes(anew: Sequence[Chunked], order: ChunkOrder) -> str:
    """Return what becomes of the chunks, and of their results, of recordings that are cut anew."""
    chunks, others = sum(found.chunks for found in anew), sum(found.others for found in anew)
    wavs = sum(found.wavs if order.virtual else min(found.wavs, found.others) for found in anew)
    many = len(anew) > 1
    words = f"{numbered(len(anew), 'recording')} {'are' if many else 'is'} cut anew, and {'their' if many else 'its'} "
    words += f"{'manifests' if many else 'manifest'} replaced. Of {numbered(chunks, 'chunk')} that are there, "
    if others:
        words += (
            f"the new cut does not have {others:,}: their results stay where they are, but count in no table of the "
            "new manifests, and the new chunks have yet to be analysed"
        )
    else:
        words += "the new cut has all, and their results stay valid"
    return f"{words}. {numbered(wavs, 'chunk WAV')} {'is' if wavs == 1 else 'are'} removed" if wavs else words


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


def _opened(
    planned: list[RecordingToChunk], order: ChunkOrder, times: RecordingTimes, on_progress: Progress
) -> list[RecordingToChunk]:
    """Open the recordings to chunk, to find their lengths and those that cannot be read."""
    at = [number for number, recording in enumerate(planned) if recording.decision is ChunkDecision.CHUNK]
    opened = in_threads(lambda number: _open(planned[number], order, times), at)
    for done, (number, recording) in enumerate(zip(at, opened, strict=True), start=1):
        planned[number] = recording
        on_progress("recordings opened", done, len(at))
    return planned


def _open(recording: RecordingToChunk, order: ChunkOrder, times: RecordingTimes) -> RecordingToChunk:
    path = order.audio_of(recording.audio)
    cut = order.cut
    try:
        info = probe(path, cut.salvage)
    except AudioError as error:
        reason = str(error).removeprefix(f"{path}: ")
        return replace(recording, decision=ChunkDecision.UNUSABLE, reason=reason)
    except OSError as error:
        return replace(recording, decision=ChunkDecision.UNUSABLE, reason=f"cannot be read ({error.strerror})")
    length_ms = info.duration_ms
    if length_ms < 1:
        return replace(recording, decision=ChunkDecision.UNUSABLE, reason="shorter than 1 ms")
    chunks = len(windows(length_ms, cut.duration_ms, cut.overlap_ms, cut.min_chunk_ms))
    times.of(recording.recording_id, str(path))
    reason = "; ".join(filter(None, (recording.reason, info.note)))
    return replace(recording, reason=reason, recording_ms=length_ms, chunks=chunks)


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
