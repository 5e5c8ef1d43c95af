"""Which recordings of a dataset are already chunked, and whether as wanted, from their manifests and chunk statuses."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from badc.chunks.cutting import Cut, windows
from badc.chunks.manifest import Chunk, Manifest, read_manifest
from badc.chunks.ownership import recordings_of
from badc.chunks.status import ChunkState, ChunkStatus, DroppedContentError, read_chunk_status, status_path
from badc.datasets.chunking.settings import ChunkSettings
from badc.errors import MOST_LISTED, RequestError, listed
from badc.system.paths import absolute, find_dataset_root
from badc.system.threads import in_threads

_SUFFIX = ".csv"


@dataclass(frozen=True, slots=True)
class ChunkOrder:
    """How to chunk a dataset's recordings. Paths are absolute.

    Written paths are relative to `dataset_root`, the folder with `.datalad` at or above `root`, or None. `chunks_dir`
    has a folder for each recording. With `virtual`, only manifests are written and no WAVs; `hash_chunks` is for these.
    With `any_lengths`, completely chunked recordings stay as they are, whatever the lengths of their chunks.
    """

    root: Path
    dataset_root: Path | None
    manifest_dir: Path
    chunks_dir: Path
    cut: Cut
    virtual: bool
    hash_chunks: bool
    any_lengths: bool = False

    @classmethod
    def of(cls, settings: ChunkSettings) -> ChunkOrder:
        """Return the order that follows from the settings."""
        root = settings.root
        return cls(
            root=root,
            dataset_root=find_dataset_root(root),
            manifest_dir=absolute(root / settings.manifest_dir),
            chunks_dir=absolute(root / settings.chunks_dir),
            cut=settings.cut,
            virtual=settings.virtual,
            hash_chunks=settings.hash_chunks,
        )

    def manifest_of(self, recording_id: str) -> Path:
        """Return the path of a recording's manifest."""
        return self.manifest_dir / f"{recording_id}{_SUFFIX}"


@dataclass(frozen=True, slots=True)
class Chunked:
    """What a dataset has under one recording id.

    `audio` is the recording that was chunked, absolute, or None if unknown. `rows` is the number of chunks in the
    manifest. `missing` says why this is not the complete, wanted cut; None if it is.
    """

    recording_id: str
    audio: Path | None
    status: ChunkStatus | None
    rows: int
    missing: str | None

    @property
    def unfinished(self) -> bool:
        """Whether an earlier run was interrupted or failed here."""
        return self.status is not None and self.status.state is not ChunkState.COMPLETED


def find_chunked(
    order: ChunkOrder, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, Chunked]:
    """Read every manifest and chunk status of a dataset; return what it has, by recording id.

    `on_progress` is called with the number of recordings looked at, and of all.

    Raises
    ------
    RequestError
        When the content of some of these files was dropped.
    """
    ids = sorted({*_stems(order.manifest_dir), *_folders(order.chunks_dir)})
    found: dict[str, Chunked] = {}
    dropped: list[str] = []
    for number, item in enumerate(in_threads(lambda identifier: _look(order, identifier), ids), start=1):
        if isinstance(item, DroppedContentError):
            dropped.append(str(item))
        elif item is not None:
            found[item.recording_id] = item
        on_progress(number, len(ids))
    if dropped:
        raise RequestError(listed(dropped[:MOST_LISTED], len(dropped)))
    return found


def _stems(folder: Path) -> Iterable[str]:
    return [name.removesuffix(_SUFFIX) for name, _ in _entries(folder) if name.endswith(_SUFFIX)]


def _folders(folder: Path) -> Iterable[str]:
    return [name for name, is_folder in _entries(folder) if is_folder]


def _entries(folder: Path) -> list[tuple[str, bool]]:
    try:
        with os.scandir(folder) as entries:
            return [(e.name, e.is_dir()) for e in entries if not e.name.startswith(".")]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RequestError(f"{folder}: the folder cannot be read ({error.strerror})") from None


def _look(order: ChunkOrder, recording_id: str) -> Chunked | DroppedContentError | None:
    status: ChunkStatus | None = None
    problem: str | None = None
    try:
        status = read_chunk_status(status_path(order.chunks_dir, recording_id))
    except DroppedContentError as error:
        return error
    except RequestError:
        problem = "its chunk status is broken"
    path = order.manifest_of(recording_id)
    if not path.exists():
        if path.is_symlink():
            return DroppedContentError(f"{path}: the content of the manifest is not here; `datalad get` brings it")
        if status is None and problem is None:
            return None
        why = problem or _unfinished(status) or "its manifest is missing"
        return Chunked(recording_id, _named_by(status, order), status, 0, why)
    try:
        manifest = read_manifest(path, order.dataset_root)
        audio = _recording_of(manifest, recording_id)
    except RequestError as error:
        return Chunked(
            recording_id, _named_by(status, order), status, 0, f"its manifest is broken: {_first_line(error)}"
        )
    if order.any_lengths:
        order = replace(order, cut=_own_cut(status, order.cut))
    missing = (
        problem or _unfinished(status) or _other_cut(status, order.cut) or _what_is_missing(order, manifest, status)
    )
    return Chunked(recording_id, audio or _named_by(status, order), status, len(manifest.chunks), missing)


def _named_by(status: ChunkStatus | None, order: ChunkOrder) -> Path | None:
    if status is None or status.audio_path is None:
        return None
    return absolute((order.dataset_root or order.root) / status.audio_path)


def _recording_of(manifest: Manifest, recording_id: str) -> Path | None:
    """Return the recording of a manifest, or None if it has several, or another id."""
    if any(chunk.recording_id != recording_id for chunk in manifest.chunks):
        return None
    recordings = recordings_of(manifest)
    return recordings.pop() if len(recordings) == 1 else None


def _unfinished(status: ChunkStatus | None) -> str | None:
    if status is None:
        return "it has no chunk status"
    if status.state is ChunkState.FAILED:
        return f"failed before: {status.error or 'no reason given'}"
    if status.state is ChunkState.IN_PROGRESS:
        return f"begun {status.started_at or 'before'} and not finished"
    return None


def _own_cut(status: ChunkStatus | None, cut: Cut) -> Cut:
    """Return the lengths that a recording was cut with, if its chunk status has them."""
    if status is None or status.duration_s is None:
        return cut
    return replace(cut, duration_ms=round(status.duration_s * 1000), overlap_ms=round((status.overlap_s or 0) * 1000))


def _other_cut(status: ChunkStatus | None, cut: Cut) -> str | None:
    if status is None or status.duration_s is None:
        return None
    before = (round(status.duration_s * 1000), round((status.overlap_s or 0) * 1000))
    if before == (cut.duration_ms, cut.overlap_ms):
        return None
    return f"cut differently: chunks of {before[0] / 1000:g} s, overlap {before[1] / 1000:g} s"


def _what_is_missing(order: ChunkOrder, manifest: Manifest, status: ChunkStatus | None) -> str | None:
    chunks = manifest.chunks
    if not chunks:
        return "its manifest has no chunks"
    known_ms = None if status is None else status.recording_ms
    cut = order.cut
    wanted = windows(known_ms or chunks[-1].end_ms, cut.duration_ms, cut.overlap_ms, cut.min_chunk_ms)
    if [(chunk.start_ms, chunk.end_ms) for chunk in chunks] != wanted:
        return f"its manifest has other chunks than wanted: {len(chunks)}, not {len(wanted)}, or other times"
    wavs = [chunk for chunk in chunks if _has_own_wav(chunk)]
    if not wavs:
        if not order.virtual:
            return "its chunks are virtual"
        return "its chunks have no hashes" if order.hash_chunks and not all(c.sha256 for c in chunks) else None
    absent = _absent(manifest, wavs)
    return f"{absent} of its chunk WAVs are missing" if absent else None


def _has_own_wav(chunk: Chunk) -> bool:
    return chunk.source_path.rpartition("/")[2] == f"{chunk.chunk_id}.wav"


def _absent(manifest: Manifest, wavs: Iterable[Chunk]) -> int:
    """Return how many chunk WAVs are missing; one whose content was dropped is not."""
    names: dict[Path, set[str]] = {}
    absent = 0
    for chunk in wavs:
        folder = Path(chunk.source_path).parent
        if folder not in names:
            names[folder] = {name for name, _ in _entries(manifest.locate(str(folder)))}
        absent += f"{chunk.chunk_id}.wav" not in names[folder]
    return absent


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
