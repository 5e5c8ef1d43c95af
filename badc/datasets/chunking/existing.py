"""Which recordings of a dataset are already chunked, and whether as wanted, from their manifests and chunk statuses."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from badc.chunks.cutting import Cut, windows
from badc.chunks.manifest import Chunk, Manifest, manifests_below, read_manifest
from badc.chunks.ownership import recordings_of
from badc.chunks.settings import CutSettings
from badc.chunks.status import ChunkState, ChunkStatus, read_chunk_status, status_path
from badc.datasets.chunking.settings import ChunkSettings
from badc.datasets.place import DatasetPlace
from badc.errors import RequestError, numbered
from badc.recordings.locate import in_dataset
from badc.system.annex import ContentElsewhereError, content_is_elsewhere
from badc.system.paths import absolute, find_dataset_root, is_passed_over
from badc.system.threads import in_threads

_LENGTHS = frozenset(CutSettings.model_fields) - {"salvage"}
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class ChunkOrder:
    """How to chunk a dataset's recordings, which are in `place`. Paths are absolute.

    `dataset_root` is the folder with `.datalad` at or above `root`, or None. `chunks_dir` has a folder for each
    recording. With `virtual`, only manifests are written and no WAVs; `hash_chunks` is for these. With `any_lengths`,
    nobody asked for the lengths of `cut`: those of chunked recordings are not compared with them. `strict` refuses
    manifests and chunk statuses whose content is not here.
    """

    place: DatasetPlace
    dataset_root: Path | None
    manifest_dir: Path
    chunks_dir: Path
    cut: Cut
    virtual: bool
    hash_chunks: bool
    any_lengths: bool = False
    strict: bool = True

    @classmethod
    def of(cls, settings: ChunkSettings) -> ChunkOrder:
        """Return the order that follows from the settings."""
        root = settings.root
        return cls(
            place=settings.place,
            dataset_root=find_dataset_root(root),
            manifest_dir=absolute(root / settings.manifest_dir),
            chunks_dir=absolute(root / settings.chunks_dir),
            cut=settings.cut,
            virtual=settings.virtual,
            hash_chunks=settings.hash_chunks,
            any_lengths=not settings.model_fields_set & _LENGTHS,
        )

    @property
    def root(self) -> Path:
        """The dataset's folder."""
        return self.place.root

    def audio_of(self, shown: str) -> Path:
        """Return where a recording is whose path in plans is this."""
        return self.place.base / shown

    def root_of(self, path: Path) -> Path | None:
        """Return the folder that paths in a file are relative to; None if the file is in no dataset."""
        return self.dataset_root or (self.root if path.is_relative_to(self.root) else None)

    def manifest_of(self, recording_id: str) -> Path:
        """Return the path of the manifest that is written for a recording."""
        return self.manifest_dir / f"{recording_id}.csv"


@dataclass(frozen=True, slots=True)
class Chunked:
    """What a dataset has under one recording id.

    `audio` is the recording that was chunked, absolute, or None if unknown. `manifest` is the one that has its `chunks`
    chunks, or that cannot be read; None without one. `missing` says why this is not the complete, wanted cut; None if
    it is. Of the chunks, the wanted cut does not have `others`; `wavs` have a WAV of their own. With `repeatable`,
    cutting the recording as wanted would make the very same chunks, or there are none. A `shared` manifest has chunks
    of other recordings too.
    """

    recording_id: str
    audio: Path | None = None
    status: ChunkStatus | None = None
    manifest: Path | None = None
    chunks: int = 0
    missing: str | None = None
    others: int = 0
    wavs: int = 0
    repeatable: bool = True
    shared: bool = False

    @property
    def unfinished(self) -> bool:
        """Whether an earlier run was interrupted or failed here."""
        return self.status is not None and self.status.state is not ChunkState.COMPLETED

    def manifest_is_in(self, order: ChunkOrder) -> bool:
        """Whether its manifest, if there is one, lies where those of the dataset are looked for."""
        return self.manifest is not None and str(self.manifest).startswith(f"{order.manifest_dir}/")


def find_chunked(
    order: ChunkOrder, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, Chunked]:
    """Read every manifest, at any depth, and chunk status of a dataset; return what it has, by recording id.

    `on_progress` is called with the number of manifests looked at, and of all.

    Raises
    ------
    ContentElsewhereError
        When the content of some of these files is not here, and the order is `strict`.
    """
    _entries(order.manifest_dir)  # a folder that cannot be read is no empty one
    paths = manifests_below(order.manifest_dir)
    found: dict[str, Chunked] = {}
    dropped: list[Path] = []

    def take_in(items: Iterable[Chunked | ContentElsewhereError]) -> None:
        for item in items:
            if isinstance(item, ContentElsewhereError):
                dropped.extend(item.paths)
            else:
                found.setdefault(item.recording_id, item)

    looked_at = in_threads(_telling_what_was_dropped(partial(_of_manifest, order)), paths)
    for number, items in enumerate(looked_at, start=1):
        take_in(items)
        on_progress(number, len(paths))
    folders = [name for name, is_folder in _entries(order.chunks_dir) if is_folder and name not in found]
    for items in in_threads(_telling_what_was_dropped(partial(_of_status, order)), folders):
        take_in(items)
    if dropped:
        raise ContentElsewhereError.of_all(list(dict.fromkeys(dropped)), "file")
    return found


def _entries(folder: Path) -> list[tuple[str, bool]]:
    try:
        with os.scandir(folder) as entries:
            return [(e.name, e.is_dir()) for e in entries if not is_passed_over(e.name)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RequestError(f"{folder}: the folder cannot be read ({error.strerror})") from None


def _telling_what_was_dropped(
    look: Callable[[Item], list[Chunked]],
) -> Callable[[Item], Sequence[Chunked | ContentElsewhereError]]:
    def told(item: Item) -> Sequence[Chunked | ContentElsewhereError]:
        try:
            return look(item)
        except ContentElsewhereError as error:
            return [error]

    return told


def _of_manifest(order: ChunkOrder, path: Path) -> list[Chunked]:
    """Return what is known of each recording of a manifest."""
    if content_is_elsewhere(path):
        elsewhere = ContentElsewhereError.of(path, "manifest")
        if order.strict:
            raise elsewhere
        return [Chunked(path.stem, manifest=path, missing=str(elsewhere), repeatable=False)]
    try:
        manifest = read_manifest(path, order.root_of(path))
    except RequestError as error:
        status, _ = _status_of(order, path.stem)
        broken = f"its manifest is broken: {str(error).splitlines()[0]}"
        return [Chunked(path.stem, _audio_of(order, status), status, path, missing=broken, repeatable=False)]
    by_recording: dict[str, list[Chunk]] = {}
    for chunk in manifest.chunks:
        by_recording.setdefault(chunk.recording_id, []).append(chunk)
    if not by_recording:
        status, _ = _status_of(order, path.stem)
        return [Chunked(path.stem, _audio_of(order, status), status, path, missing="its manifest has no chunks")]
    found = [_of_chunks(order, identifier, replace(manifest, chunks=c)) for identifier, c in by_recording.items()]
    return found if len(found) == 1 else [replace(each, repeatable=False, shared=True) for each in found]


def _of_status(order: ChunkOrder, recording_id: str) -> list[Chunked]:
    """Return what is known of a recording that has a chunk folder, and no manifest where they are looked for."""
    status, problem = _status_of(order, recording_id)
    if status is None and problem is None:
        return []
    audio = _audio_of(order, status)
    elsewhere = _audio_of(order, status and replace(status, audio_path=status.manifest_path))
    if elsewhere is not None and elsewhere.is_file() and not elsewhere.is_relative_to(order.manifest_dir):
        why = f"its manifest is {elsewhere}, outside of {order.manifest_dir}; name its folder with --manifest-dir"
        return [Chunked(recording_id, audio, status, elsewhere, missing=why, repeatable=False)]
    why = problem or _unfinished(status) or "its manifest is missing"
    other = None if problem or _unfinished(status) else _other_lengths(order, status)
    return [
        Chunked(
            recording_id, audio, status, missing=why if other is None else f"{why}; {other}", repeatable=other is None
        )
    ]


def _of_chunks(order: ChunkOrder, recording_id: str, manifest: Manifest) -> Chunked:
    status, problem = _status_of(order, recording_id)
    try:
        recordings = {path for path in recordings_of(manifest) if not path.is_relative_to(order.chunks_dir)}
    except RequestError as error:  # the broken chunk status of a folder of WAVs
        if order.strict and isinstance(error, ContentElsewhereError):
            raise
        recordings = set()
    wavs = [chunk for chunk in manifest.chunks if _has_own_wav(chunk)]
    there = [(chunk.start_ms, chunk.end_ms) for chunk in manifest.chunks]
    cut = order.cut
    length_ms = (status and status.recording_ms) or there[-1][1]
    wanted = windows(length_ms, cut.duration_ms, cut.overlap_ms, cut.min_chunk_ms)
    return Chunked(
        recording_id,
        audio=recordings.pop() if len(recordings) == 1 else _audio_of(order, status),
        status=status,
        manifest=manifest.path,
        chunks=len(there),
        missing=problem
        or _unfinished(status)
        or _other_cut(order, status, there, wanted)
        or _other_kind(order, manifest, wavs)
        or _missing_wavs(manifest, wavs),
        others=len(set(there) - set(wanted)),
        wavs=len(wavs),
        repeatable=there == wanted and _loses_nothing(order, status, manifest, wavs),
    )


def _status_of(order: ChunkOrder, recording_id: str) -> tuple[ChunkStatus | None, str | None]:
    """Return a recording's chunk status, or that it is broken."""
    try:
        return read_chunk_status(status_path(order.chunks_dir, recording_id)), None
    except ContentElsewhereError as error:
        if order.strict:
            raise
        return None, str(error)
    except RequestError:
        return None, "its chunk status is broken"


def _audio_of(order: ChunkOrder, status: ChunkStatus | None) -> Path | None:
    if status is None or status.audio_path is None:
        return None
    return in_dataset(status.audio_path, order.dataset_root or order.root)


def _unfinished(status: ChunkStatus | None) -> str | None:
    if status is None:
        return "it has no chunk status"
    if status.state is ChunkState.FAILED:
        place, _, reason = (status.error or "no reason given").partition(": ")
        named = status.audio_path is not None and reason and Path(place).name == Path(status.audio_path).name
        return f"its chunking failed: {reason if named else status.error or place}"
    if status.state is ChunkState.IN_PROGRESS:
        return f"begun {status.started_at or 'before'} and not finished"
    return None


def _other_cut(
    order: ChunkOrder, status: ChunkStatus | None, there: Sequence[tuple[int, int]], wanted: Sequence[tuple[int, int]]
) -> str | None:
    rows = status and status.manifest_rows
    if order.any_lengths or there == wanted:
        if rows is None or rows == len(there):
            return None
        return f"its manifest has {numbered(len(there), 'chunk')}, and had {rows} when it was written"
    return (
        _other_lengths(order, status)
        or f"its manifest has other chunks than wanted: {len(there)}, not {len(wanted)}, or other times"
    )


def _other_lengths(order: ChunkOrder, status: ChunkStatus | None) -> str | None:
    if status is None or status.duration_s is None:
        return None
    before = (round(status.duration_s * 1000), round((status.overlap_s or 0) * 1000))
    if before == (order.cut.duration_ms, order.cut.overlap_ms):
        return None
    return f"cut differently: chunks of {before[0] / 1000:g} s, overlap {before[1] / 1000:g} s"


def _other_kind(order: ChunkOrder, manifest: Manifest, wavs: Sequence[Chunk]) -> str | None:
    if wavs:
        return None
    if not order.virtual:
        return "its chunks are virtual"
    hashed = all(chunk.sha256 for chunk in manifest.chunks)
    return "its chunks have no hashes" if order.hash_chunks and not hashed else None


def _loses_nothing(order: ChunkOrder, status: ChunkStatus | None, manifest: Manifest, wavs: Sequence[Chunk]) -> bool:
    """Whether writing the same chunks again keeps all that is there: no WAVs become virtual, and no hashes are lost.

    A chunk status without all settings of the cut is another tool's, or a person made the manifest.
    """
    if status is None or status.min_chunk_s is None:
        return False
    hashed = any(chunk.sha256 for chunk in manifest.chunks)
    return not order.virtual or not (wavs or (hashed and not order.hash_chunks))


def _has_own_wav(chunk: Chunk) -> bool:
    return chunk.source_path.rpartition("/")[2] == f"{chunk.chunk_id}.wav"


def _missing_wavs(manifest: Manifest, wavs: Iterable[Chunk]) -> str | None:
    """Return how many chunk WAVs are missing; one whose content was dropped is not."""
    names: dict[Path, set[str]] = {}
    absent = 0
    for chunk in wavs:
        folder = Path(chunk.source_path).parent
        if folder not in names:
            names[folder] = {name for name, _ in _entries(manifest.locate(str(folder)))}
        absent += f"{chunk.chunk_id}.wav" not in names[folder]
    return f"{absent} of its chunk WAVs {'is' if absent == 1 else 'are'} missing" if absent else None
