"""Chunking one recording of a dataset as planned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from badc.chunks.cutting import (
    known_of,
    plan_cut,
    remove_earlier_cut,
    status_of,
    write_real_chunks,
    write_virtual_chunks,
)
from badc.chunks.status import ChunkState, ChunkStatus, keeping_status, status_path, write_chunk_status
from badc.datasets.chunking.decision import ChunkDecision, RecordingToChunk
from badc.datasets.chunking.existing import ChunkOrder
from badc.errors import BadcError
from badc.recordings.dataset_file import audio_as_written
from badc.system.clock import now
from badc.system.paths import as_written, require_inside


class ChunkingInterruptedError(BadcError):
    """The run was stopped while chunking a recording."""


@dataclass(frozen=True, slots=True)
class ChunkOutcome:
    """How the chunking of a recording ended; `audio` is its path below the dataset, `error` why it failed, or None."""

    recording_id: str
    audio: str
    chunks: int = 0
    error: str | None = None


def chunk_recording(
    recording: RecordingToChunk, order: ChunkOrder, interrupted: Callable[[], bool] = lambda: False
) -> ChunkOutcome:
    """Chunk one recording, and write its progress to its chunk status. A failure is returned, not raised.

    Of a recording that keeps its chunks, only the chunk status is written. `interrupted` is asked after each chunk
    whether to stop.

    Raises
    ------
    ChunkingInterruptedError
        When it was stopped; its status says `failed`, and the next run chunks it again.
    """
    identifier = recording.recording_id
    path = status_path(order.chunks_dir, identifier)
    try:
        require_inside(order.chunks_dir, path.parent)
        if recording.decision is ChunkDecision.ADOPT:
            chunks = _adopt(recording, order)
        else:
            chunks = _cut(recording, order, interrupted)
    except ChunkingInterruptedError:
        raise
    except BadcError as error:
        reason = str(error).removeprefix(f"{order.audio_of(recording.audio)}: ")
        return ChunkOutcome(identifier, recording.audio, error=reason)
    except OSError as error:
        return ChunkOutcome(identifier, recording.audio, error=f"{error.filename or path}: {error.strerror or error}")
    except Exception as error:  # a bug, or a lack of memory, fails its recording, not the run
        return ChunkOutcome(identifier, recording.audio, error=f"{type(error).__name__}: {error}")
    return ChunkOutcome(identifier, recording.audio, chunks)


def _cut(recording: RecordingToChunk, order: ChunkOrder, interrupted: Callable[[], bool]) -> int:
    identifier = recording.recording_id
    audio, manifest = order.audio_of(recording.audio), recording.manifest_in(order)
    path = status_path(order.chunks_dir, identifier)
    status = status_of(
        identifier,
        audio,
        manifest,
        order.root_of(path),
        order.cut,
        order.virtual,
        order.hash_chunks or not order.virtual,
    )

    def after_chunk(done: int) -> None:
        if interrupted():
            raise ChunkingInterruptedError("interrupted")

    with keeping_status(path, status) as found:
        plan = plan_cut(audio, identifier, order.cut, order.dataset_root)
        if order.virtual:
            chunks = write_virtual_chunks(plan, manifest, order.hash_chunks, after_chunk, order.root_of(manifest))
        else:
            chunks = write_real_chunks(plan, path.parent, manifest, after_chunk, order.root_of(manifest))
        if recording.anew is not None:
            kept = () if order.virtual else {f"{chunk.chunk_id}.wav" for chunk in chunks}
            remove_earlier_cut(identifier, path.parent, kept)
        found |= known_of(plan)
    return len(chunks)


def _adopt(recording: RecordingToChunk, order: ChunkOrder) -> int:
    """Write the chunk status that a manifest lacks which a person or another tool made; how it was cut is not known."""
    at = now()
    audio, manifest = order.audio_of(recording.audio), recording.manifest_in(order)
    path = status_path(order.chunks_dir, recording.recording_id)
    status = ChunkStatus(
        recording_id=recording.recording_id,
        audio_path=audio_as_written(audio, order.root_of(path)),
        manifest_path=as_written(manifest, order.root_of(path)),
        state=ChunkState.COMPLETED,
        started_at=at,
        completed_at=at,
        updated_at=at,
        manifest_rows=recording.chunks,
    )
    write_chunk_status(path, status)
    return recording.chunks or 0
