"""Cutting recordings into chunks: the windows, virtual chunks, chunk WAVs and their status file."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import orjson

from badc import atomic
from badc.attempt import now
from badc.audio import AudioInfo, probe, wav_bytes, window_of
from badc.dataset import absolute, as_written, find_dataset_root
from badc.errors import RequestError
from badc.manifest import Chunk, chunk_id_of, write_manifest
from badc.recording import recording_id_of

DEFAULT_DURATION_S = 60.0
DEFAULT_MIN_CHUNK_S = 1.0
STATUS_FILE = ".chunk_status.json"


class ChunkState(StrEnum):
    """What a chunk status file says of a recording."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ChunkPlan:
    """How one recording is cut.

    Parameters
    ----------
    recording_id
        The recording's id.
    audio_path
        The audio file, absolute, links not followed.
    dataset_root
        The dataset it lies in, or None.
    duration_ms, overlap_ms
        Length of a chunk and how much of it the next one repeats, in ms.
    recording_ms
        Length of the recording in ms.
    chunks
        The virtual chunks, in order.
    left_out_ms
        Length of a tail that is too short to be a chunk, in ms.
    """

    recording_id: str
    audio_path: Path
    dataset_root: Path | None
    duration_ms: int
    overlap_ms: int
    recording_ms: int
    chunks: Sequence[Chunk]
    left_out_ms: int


def windows(total_ms: int, duration_ms: int, overlap_ms: int = 0, min_chunk_ms: int = 1000) -> list[tuple[int, int]]:
    """Return the windows `(start_ms, end_ms)` that cover a recording.

    Parameters
    ----------
    total_ms
        Length of the recording in ms.
    duration_ms, overlap_ms
        Length of a chunk, and how much of it the next one repeats, in ms.
    min_chunk_ms
        A last window that is cut shorter than this is left out, except when it is the whole recording.

    Raises
    ------
    RequestError
        When the overlap is not shorter than the chunk, or a length makes no sense.
    """
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
) -> ChunkPlan:
    """Decide how a recording is cut; nothing is written.

    Parameters
    ----------
    audio
        The recording.
    duration_s, overlap_s, min_chunk_s
        See `windows`, here in seconds; rounded to whole ms.

    Raises
    ------
    AudioError
        When the recording cannot be read.
    RequestError
        When its name gives no id, or the lengths make no sense.
    """
    path = absolute(audio)
    recording_id = recording_id_of(path)
    for option, given_s in (("chunk-duration", duration_s), ("overlap", overlap_s), ("min-chunk", min_chunk_s)):
        if not math.isfinite(given_s):
            raise RequestError(f"--{option} {given_s} is not a number of seconds (see --chunk-duration)")
    duration_ms, overlap_ms = round(duration_s * 1000), round(overlap_s * 1000)
    info = probe(path)
    if info.duration_ms < 1:
        raise RequestError(f"{audio}: the recording is shorter than 1 ms ({info.frames} frames)")
    found = windows(info.duration_ms, duration_ms, overlap_ms, round(min_chunk_s * 1000))
    root = find_dataset_root(path)
    source = as_written(path, root)
    chunks = [
        Chunk(recording_id, chunk_id_of(recording_id, start, end), source, start, end, overlap_ms if start else 0)
        for start, end in found
    ]
    left_out = info.duration_ms - found[-1][1]
    return ChunkPlan(recording_id, path, root, duration_ms, overlap_ms, info.duration_ms, chunks, left_out)


def chunk_sha256(plan: ChunkPlan, chunk: Chunk, info: AudioInfo) -> str:
    """Return the SHA-256 of the WAV that `write_chunk_wavs` makes of this chunk, whether or not it is written."""
    return hashlib.sha256(wav_bytes(window_of(plan.audio_path, info, chunk.start_ms, chunk.end_ms))).hexdigest()


def write_virtual_manifest(
    plan: ChunkPlan, manifest: Path, hash_chunks: bool, on_chunk: Callable[[int], None] = lambda done: None
) -> None:
    """Write the manifest of a recording's virtual chunks: rows that name the recording.

    Parameters
    ----------
    plan
        The recording and its chunks.
    manifest
        The CSV to write.
    hash_chunks
        Whether to read all of the audio and write each chunk's hash.
    on_chunk
        Called with the number of chunks hashed so far.

    Raises
    ------
    AudioError
        When the audio breaks off.
    """
    # Relative to the manifest's own dataset: outside of the recording's, a path in that one would lead nowhere.
    source = as_written(plan.audio_path, find_dataset_root(manifest))
    chunks = [replace(chunk, source_path=source) for chunk in plan.chunks]
    if hash_chunks:
        info = probe(plan.audio_path)
        for number, chunk in enumerate(plan.chunks):
            chunks[number] = replace(chunks[number], sha256=chunk_sha256(plan, chunk, info))
            on_chunk(number + 1)
    write_manifest(manifest, chunks)


def write_chunk_wavs(
    plan: ChunkPlan, chunks_dir: Path, manifest: Path, on_chunk: Callable[[int], None] = lambda done: None
) -> list[Chunk]:
    """Write each chunk as a WAV, then the manifest, then remove chunk WAVs of an earlier cut of this recording.

    The status file in `chunks_dir` says `in_progress` from the start, `completed` at the end, and `failed` with the
    reason when anything goes wrong.

    Parameters
    ----------
    plan
        The recording and its chunks.
    chunks_dir
        The folder for the WAVs, of this recording alone.
    manifest
        The CSV to write.
    on_chunk
        Called with the number of chunks written so far.

    Returns
    -------
    list of Chunk
        The rows of the manifest, with hashes and the WAVs' paths.
    """
    folder = absolute(chunks_dir)
    _refuse_another_recordings_folder(plan, folder)
    status = _StatusFile(plan, folder / STATUS_FILE, manifest)
    status.write(ChunkState.IN_PROGRESS)
    try:
        chunks = _write_wavs(plan, folder, find_dataset_root(manifest), on_chunk)
        write_manifest(manifest, chunks)
        _remove_earlier_cut(plan, folder)
    except BaseException as error:
        status.write(ChunkState.FAILED, error=str(error) or type(error).__name__)
        raise
    status.write(ChunkState.COMPLETED, rows=len(chunks))
    return chunks


def _write_wavs(
    plan: ChunkPlan, folder: Path, dataset_root: Path | None, on_chunk: Callable[[int], None]
) -> list[Chunk]:
    info = probe(plan.audio_path)
    chunks = []
    for number, chunk in enumerate(plan.chunks):
        data = wav_bytes(window_of(plan.audio_path, info, chunk.start_ms, chunk.end_ms))
        target = folder / f"{chunk.chunk_id}.wav"
        atomic.write_bytes(target, data)
        digest = hashlib.sha256(data).hexdigest()
        chunks.append(replace(chunk, source_path=as_written(target, dataset_root), sha256=digest))
        on_chunk(number + 1)
    return chunks


def _refuse_another_recordings_folder(plan: ChunkPlan, folder: Path) -> None:
    """Refuse to replace the chunks of another recording of the same name: recorders name files by the time alone."""
    try:
        known = orjson.loads((folder / STATUS_FILE).read_bytes())["audio_path"]
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        return
    mine = as_written(plan.audio_path, plan.dataset_root)
    if known != mine:
        raise RequestError(
            f"{folder}: holds the chunks of {known}, another recording of the same name as {mine}; "
            "give --output-dir and --manifest"
        )


def _remove_earlier_cut(plan: ChunkPlan, folder: Path) -> None:
    current = {f"{chunk.chunk_id}.wav" for chunk in plan.chunks}
    ours = re.compile(rf"{re.escape(plan.recording_id)}_chunk_\d+_\d+\.wav")
    for path in folder.iterdir():
        if ours.fullmatch(path.name) and path.name not in current:
            path.unlink()


class _StatusFile:
    """A recording's `.chunk_status.json`, rewritten at each change of state."""

    def __init__(self, plan: ChunkPlan, path: Path, manifest: Path) -> None:
        self._plan = plan
        self._path = path
        self._manifest = manifest
        self._started_at = now()

    def write(self, state: ChunkState, rows: int | None = None, error: str | None = None) -> None:
        written_at = now()
        root = self._plan.dataset_root
        content = {
            "recording_id": self._plan.recording_id,
            "audio_path": as_written(self._plan.audio_path, root),
            "manifest_path": as_written(self._manifest, root),
            "status": state.value,
            "started_at": self._started_at,
            "completed_at": written_at if state is ChunkState.COMPLETED else None,
            "updated_at": written_at,
            "manifest_rows": rows,
            "chunk_duration": self._plan.duration_ms / 1000,
            "overlap": self._plan.overlap_ms / 1000,
            "error": error,
        }
        atomic.write_bytes(self._path, orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
