"""Cut recordings into chunks: the windows, virtual chunks, chunk WAVs and their status file."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from badc.chunks.manifest import Chunk, chunk_id_of, write_manifest
from badc.chunks.ownership import refuse_another_recordings_folder, refuse_another_recordings_manifest
from badc.chunks.status import STATUS_FILE, ChunkState, ChunkStatus, keeping_status
from badc.errors import RequestError, numbered
from badc.recordings.audio import AudioInfo, probe, wav_bytes, window_of
from badc.recordings.dataset_file import audio_as_written
from badc.recordings.names import id_problem, recording_id_of
from badc.system import atomic
from badc.system.paths import absolute, as_written, find_dataset_root

DEFAULT_DURATION_S = 60.0
DEFAULT_MIN_CHUNK_S = 1.0


@dataclass(frozen=True, slots=True)
class Cut:
    """How recordings are cut, in ms.

    Each chunk repeats `overlap_ms` of the one before. A last chunk shorter than `min_chunk_ms` is left out, unless it
    is the whole recording. With `salvage`, what can be read of a damaged recording is cut.
    """

    duration_ms: int
    overlap_ms: int = 0
    min_chunk_ms: int = round(DEFAULT_MIN_CHUNK_S * 1000)
    salvage: bool = False

    @classmethod
    def from_seconds(
        cls,
        duration_s: float = DEFAULT_DURATION_S,
        overlap_s: float = 0.0,
        min_chunk_s: float = DEFAULT_MIN_CHUNK_S,
        salvage: bool = False,
    ) -> Cut:
        """Return the cut with these lengths, rounded to whole ms; RequestError when they are invalid."""
        for option, given_s in (("chunk-duration", duration_s), ("overlap", overlap_s), ("min-chunk", min_chunk_s)):
            if not math.isfinite(given_s):
                raise RequestError(f"--{option} {given_s} is not a number of seconds (see --chunk-duration)")
        cut = cls(round(duration_s * 1000), round(overlap_s * 1000), round(min_chunk_s * 1000), salvage)
        windows(1, cut.duration_ms, cut.overlap_ms, cut.min_chunk_ms)
        return cut


@dataclass(frozen=True, slots=True)
class ChunkPlan:
    """How one recording is cut into virtual chunks, in order.

    `audio_path` is absolute, with links not followed. `recording_ms` is the recording's length; `left_out_ms` is that
    of a tail too short to be a chunk. `audio_bytes` is the size of the recording's file, and `audio` what it holds.
    """

    recording_id: str
    audio_path: Path
    dataset_root: Path | None
    cut: Cut
    recording_ms: int
    chunks: Sequence[Chunk]
    left_out_ms: int
    audio_bytes: int
    audio: AudioInfo


def windows(total_ms: int, duration_ms: int, overlap_ms: int = 0, min_chunk_ms: int = 1000) -> list[tuple[int, int]]:
    """Return the windows `(start_ms, end_ms)` that cover a recording of `total_ms`.

    Each window repeats `overlap_ms` of the one before. A last window cut shorter than `min_chunk_ms` is left out,
    unless it is the whole recording.

    Raises
    ------
    RequestError
        When the overlap is not shorter than the chunk, or a length is invalid.
    """
    if min_chunk_ms < 0:
        raise RequestError(f"--min-chunk {min_chunk_ms / 1000:g} s must be 0 or more")
    if duration_ms <= 0:
        raise RequestError("--chunk-duration must be more than 0 s")
    if not 0 <= overlap_ms < duration_ms:
        raise RequestError(
            f"--overlap {overlap_ms / 1000:g} s must be at least 0 and less than "
            f"--chunk-duration {duration_ms / 1000:g} s"
        )
    found: list[tuple[int, int]] = []
    start = 0
    while True:
        end = min(start + duration_ms, total_ms)
        if not found or end - start >= min(min_chunk_ms, duration_ms):
            found.append((start, end))
        if end >= total_ms:
            return found
        start += duration_ms - overlap_ms


def plan_chunks(
    audio: Path,
    duration_s: float = DEFAULT_DURATION_S,
    overlap_s: float = 0.0,
    min_chunk_s: float = DEFAULT_MIN_CHUNK_S,
    recording_id: str | None = None,
    salvage: bool = False,
) -> ChunkPlan:
    """Decide how a recording is cut (see `Cut`); nothing is written. Its id defaults to the stem of its file name.

    Raises
    ------
    AudioError
        When the recording cannot be read.
    RequestError
        When the id cannot be used, or the lengths are invalid.
    """
    cut = Cut.from_seconds(duration_s, overlap_s, min_chunk_s, salvage)
    path = absolute(audio)
    return plan_cut(path, recording_id or recording_id_of(path), cut, find_dataset_root(path))


def plan_cut(audio: Path, recording_id: str, cut: Cut, dataset_root: Path | None) -> ChunkPlan:
    """Decide how a recording with a known id is cut; nothing is written.

    `audio` is absolute; its path in the chunks is relative to `dataset_root`.

    Raises
    ------
    AudioError
        When the recording cannot be read.
    RequestError
        When the id cannot be a file name, or the recording is shorter than 1 ms.
    """
    if problem := id_problem(recording_id):
        raise RequestError(f"recording id {recording_id!r} cannot be used: {problem}")
    info = probe(audio, cut.salvage)
    if info.duration_ms < 1:
        raise RequestError(f"{audio}: the recording is shorter than 1 ms ({info.frames} frames)")
    found = windows(info.duration_ms, cut.duration_ms, cut.overlap_ms, cut.min_chunk_ms)
    source = as_written(audio, dataset_root)
    chunks = [
        Chunk(
            recording_id,
            chunk_id_of(recording_id, start, end),
            source,
            start,
            end,
            cut.overlap_ms if start else 0,
            notes=info.note,
        )
        for start, end in found
    ]
    return ChunkPlan(
        recording_id=recording_id,
        audio_path=audio,
        dataset_root=dataset_root,
        cut=cut,
        recording_ms=info.duration_ms,
        chunks=chunks,
        left_out_ms=info.duration_ms - found[-1][1],
        audio_bytes=audio.stat().st_size,
        audio=info,
    )


def chunk_sha256(plan: ChunkPlan, chunk: Chunk) -> str:
    """Return the SHA-256 of the WAV that `write_chunk_wavs` makes of this chunk, whether or not it is written."""
    return hashlib.sha256(_wav_of(plan, chunk)).hexdigest()


def _wav_of(plan: ChunkPlan, chunk: Chunk) -> bytes:
    return wav_bytes(window_of(plan.audio_path, plan.audio, chunk.start_ms, chunk.end_ms))


def write_virtual_manifest(
    plan: ChunkPlan,
    manifest: Path,
    hash_chunks: bool,
    on_chunk: Callable[[int], None] = lambda done: None,
    status_dir: Path | None = None,
    include_existing: bool = False,
) -> None:
    """Write the manifest of a recording's virtual chunks: rows that name the recording.

    `hash_chunks` reads all of the audio; `on_chunk` gets the number of chunks hashed so far. In `status_dir`, the
    recording's chunk folder, a chunk status is kept and chunk WAVs of an earlier cut are removed; None does neither.
    An earlier manifest or chunk WAVs of another cut are only replaced with `include_existing`.

    Raises
    ------
    AudioError
        When the audio breaks off.
    RequestError
        When the manifest or the folder belongs to another recording, or holds another cut.
    """
    earlier = refuse_another_recordings_manifest(plan.audio_path, manifest)
    if not include_existing:
        _refuse_another_cut(plan, manifest, earlier, "--output")
    if status_dir is None:
        write_virtual_chunks(plan, manifest, hash_chunks, on_chunk)
        return
    folder = absolute(status_dir)
    refuse_another_recordings_folder(plan.audio_path, folder)
    if not include_existing:
        _refuse_to_remove(plan, folder, (), "--status-dir")
    root = find_dataset_root(folder)
    status = status_of(plan.recording_id, plan.audio_path, manifest, root, plan.cut, True, hash_chunks)
    with keeping_status(folder / STATUS_FILE, status) as found:
        write_virtual_chunks(plan, manifest, hash_chunks, on_chunk)
        remove_earlier_cut(plan.recording_id, folder)
        found |= known_of(plan)


def write_chunk_wavs(
    plan: ChunkPlan,
    chunks_dir: Path,
    manifest: Path,
    on_chunk: Callable[[int], None] = lambda done: None,
    include_existing: bool = False,
) -> list[Chunk]:
    """Write each chunk as a WAV, then the manifest, then remove chunk WAVs of an earlier cut of this recording.

    The folder is for this recording alone. Its status file says `in_progress` from the start, `completed` at the end,
    and `failed` with the reason on any error. `on_chunk` gets the number of chunks written so far. The manifest's rows
    are returned, with hashes and the WAVs' paths. A manifest or WAVs of another cut are only replaced with
    `include_existing`.

    Raises
    ------
    RequestError
        When the folder or the manifest belongs to another recording, or holds another cut.
    """
    folder = absolute(chunks_dir)
    refuse_another_recordings_folder(plan.audio_path, folder)
    earlier = refuse_another_recordings_manifest(plan.audio_path, manifest)
    if not include_existing:
        _refuse_another_cut(plan, manifest, earlier, "--manifest and --output-dir")
        _refuse_to_remove(
            plan, folder, {f"{chunk.chunk_id}.wav" for chunk in plan.chunks}, "--output-dir and --manifest"
        )
    status = status_of(plan.recording_id, plan.audio_path, manifest, find_dataset_root(folder), plan.cut, False, True)
    with keeping_status(folder / STATUS_FILE, status) as found:
        chunks = write_real_chunks(plan, folder, manifest, on_chunk)
        remove_earlier_cut(plan.recording_id, folder, keep={f"{chunk.chunk_id}.wav" for chunk in chunks})
        found |= known_of(plan)
    return chunks


def write_virtual_chunks(
    plan: ChunkPlan,
    manifest: Path,
    hash_chunks: bool,
    on_chunk: Callable[[int], None] = lambda done: None,
    root: Path | None = None,
) -> list[Chunk]:
    """Write a manifest as `write_virtual_manifest` does, over any earlier one; return its rows.

    `root` is the dataset that the manifest lies in, if it has no `.datalad`.
    """
    # Relative to the manifest's own dataset, which need not be the recording's.
    source = audio_as_written(plan.audio_path, find_dataset_root(manifest) or root)
    chunks = [replace(chunk, source_path=source) for chunk in plan.chunks]
    if hash_chunks:
        for number, chunk in enumerate(plan.chunks):
            chunks[number] = replace(chunks[number], sha256=chunk_sha256(plan, chunk))
            on_chunk(number + 1)
    write_manifest(manifest, chunks)
    return chunks


def write_real_chunks(
    plan: ChunkPlan,
    folder: Path,
    manifest: Path,
    on_chunk: Callable[[int], None] = lambda done: None,
    root: Path | None = None,
) -> list[Chunk]:
    """Write WAVs and manifest as `write_chunk_wavs` does, over any earlier ones, and remove none.

    `root` is as for `write_virtual_chunks`.
    """
    chunks = _write_wavs(plan, folder, find_dataset_root(manifest) or root, on_chunk)
    write_manifest(manifest, chunks)
    return chunks


def remove_earlier_cut(recording_id: str, folder: Path, keep: Collection[str] = ()) -> None:
    """Remove a recording's chunk WAVs from its folder, except those named in `keep`, and nothing else."""
    for path in _earlier_wavs(recording_id, folder, keep):
        path.unlink()


def _earlier_wavs(recording_id: str, folder: Path, keep: Collection[str]) -> list[Path]:
    ours = re.compile(rf"{re.escape(recording_id)}_chunk_\d+_\d+\.wav")
    return [path for path in folder.iterdir() if ours.fullmatch(path.name) and path.name not in keep]


def _refuse_another_cut(plan: ChunkPlan, manifest: Path, earlier: Sequence[Chunk], option: str) -> None:
    """Refuse to replace a manifest of other chunks: their results would count in no table any more."""
    there, asked = ([(chunk.start_ms, chunk.end_ms) for chunk in chunks] for chunks in (earlier, plan.chunks))
    if there and there != asked:
        raise RequestError(
            f"{manifest}: has another cut of {plan.recording_id}, {_shown(earlier)}, where {_shown(plan.chunks)} are "
            f"asked for; results of the chunks there would count no more. Name another place with {option}, or replace "
            "it with --include-existing"
        )


def _refuse_to_remove(plan: ChunkPlan, folder: Path, keep: Collection[str], option: str) -> None:
    """Refuse to remove chunk WAVs, which a manifest elsewhere may list."""
    if folder.is_dir() and (wavs := _earlier_wavs(plan.recording_id, folder, keep)):
        raise RequestError(
            f"{folder}: has {numbered(len(wavs), 'chunk WAV')} of an earlier cut of {plan.recording_id}, such as "
            f"{min(wavs).name}, where {_shown(plan.chunks)} are asked for. Name another place with {option}, or remove "
            "them with --include-existing"
        )


def _shown(chunks: Sequence[Chunk]) -> str:
    overlap_ms = max(chunk.overlap_ms for chunk in chunks)
    overlap = f" and an overlap of {overlap_ms / 1000:g} s" if overlap_ms else ""
    longest_ms = max(chunk.duration_ms for chunk in chunks)
    return f"{numbered(len(chunks), 'chunk')} of up to {longest_ms / 1000:g} s{overlap}"


def known_of(plan: ChunkPlan) -> dict[str, int]:
    """Return the `ChunkStatus` fields that are known once a recording is cut."""
    return {"manifest_rows": len(plan.chunks), "audio_bytes": plan.audio_bytes, "recording_ms": plan.recording_ms}


def status_of(
    recording_id: str,
    audio: Path,
    manifest: Path,
    dataset_root: Path | None,
    cut: Cut,
    virtual: bool,
    hash_chunks: bool,
) -> ChunkStatus:
    """Return the chunk status of a recording that is to be cut; `audio` and `manifest` are absolute."""
    return ChunkStatus(
        recording_id=recording_id,
        audio_path=audio_as_written(audio, dataset_root),
        manifest_path=as_written(manifest, dataset_root),
        state=ChunkState.IN_PROGRESS,
        duration_s=cut.duration_ms / 1000,
        overlap_s=cut.overlap_ms / 1000,
        min_chunk_s=cut.min_chunk_ms / 1000,
        virtual=virtual,
        hash_chunks=hash_chunks,
    )


def _write_wavs(
    plan: ChunkPlan, folder: Path, dataset_root: Path | None, on_chunk: Callable[[int], None]
) -> list[Chunk]:
    chunks = []
    for number, chunk in enumerate(plan.chunks):
        data = _wav_of(plan, chunk)
        target = folder / f"{chunk.chunk_id}.wav"
        atomic.write_bytes(target, data)
        digest = hashlib.sha256(data).hexdigest()
        chunks.append(replace(chunk, source_path=as_written(target, dataset_root), sha256=digest))
        on_chunk(number + 1)
    return chunks
