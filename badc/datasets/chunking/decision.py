"""What to do with one recording of a dataset's chunking, and why."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from badc.datasets.chunking.existing import Chunked, ChunkOrder
from badc.datasets.chunking.settings import ChunkSettings
from badc.datasets.listing import AudioFile
from badc.recordings.locate import is_same_file
from badc.system.annex import get_line
from badc.system.clock import epoch_s, moment


class ChunkDecision(StrEnum):
    """What to do with a recording."""

    CHUNK = "chunk"
    FETCH = "fetch and chunk"
    SKIP = "skip"
    KEEP = "keep"
    ADOPT = "adopt"
    LATER = "later"
    ABSENT = "content not here"
    UNUSABLE = "unusable"


@dataclass(frozen=True, slots=True)
class RecordingToChunk:
    """A recording, what to do with it, and why.

    `recording_id` is empty if the name gives none; `audio` is the path below the dataset, or below the folder of a
    study's recordings; length and number of chunks are None if unknown; `resumed` says that an earlier run left it
    unfinished. `manifest`, absolute, is the one that it has, if any. `anew` is what is there of a recording that is cut
    anew because that was asked for; None for any other.
    """

    recording_id: str
    audio: str
    decision: ChunkDecision
    reason: str
    recording_ms: int | None = None
    chunks: int | None = None
    resumed: bool = False
    manifest: Path | None = None
    anew: Chunked | None = None

    def manifest_in(self, order: ChunkOrder) -> Path:
        """Return the path of its manifest, whether or not it is there."""
        return self.manifest or order.manifest_of(self.recording_id)


def decide(
    file: AudioFile, identifier: str, found: Chunked | None, settings: ChunkSettings, fetching: bool, order: ChunkOrder
) -> RecordingToChunk:
    """Return what to do with a recording, given its id and what is there under it.

    `fetching` says whether dropped content would be fetched.
    """
    planned = RecordingToChunk(identifier, order.place.shown(file.path), ChunkDecision.CHUNK, "new")
    if found is not None:
        planned = _of_found(planned, file, found, settings, order)
    if file.here or planned.decision is not ChunkDecision.CHUNK:
        return planned
    if fetching:
        return replace(planned, decision=ChunkDecision.FETCH)
    reason = f"{planned.reason}; {get_line([order.place.audio / file.path])}"
    return replace(planned, decision=ChunkDecision.ABSENT, reason=reason)


def _of_found(
    planned: RecordingToChunk, file: AudioFile, found: Chunked, settings: ChunkSettings, order: ChunkOrder
) -> RecordingToChunk:
    """Decide on a recording that was looked at before. Its chunks are kept, unless cutting them anew was asked for."""
    manifest = found.manifest if found.manifest_is_in(order) else None
    planned = replace(planned, resumed=found.unfinished, manifest=manifest)
    changed = _changed(file, found)
    missing = found.missing or _other_audio(file, found, order)
    asked = _asked_again(found, settings)
    if asked is not None and not found.shared:
        return replace(planned, reason=missing or changed or asked, anew=found)
    kept = replace(planned, chunks=found.chunks or None)
    if asked is not None:
        reason = f"{found.manifest} lists other recordings too; take its rows out to cut it anew"
        return replace(kept, decision=ChunkDecision.KEEP, reason=reason)
    if missing is None and changed is None:
        return replace(kept, decision=ChunkDecision.SKIP, reason="chunked already")
    if found.repeatable and missing is not None and changed is None:
        return replace(planned, reason=missing)
    decision = ChunkDecision.ADOPT if found.status is None and found.chunks else ChunkDecision.KEEP
    return replace(kept, decision=decision, reason=changed or missing or "")


def _asked_again(found: Chunked, settings: ChunkSettings) -> str | None:
    """Return why a recording is to be cut whatever it has, or None."""
    if settings.include_existing:
        return "chunked before; --include-existing"
    if settings.redo_before is None:
        return None
    at_s = epoch_s(found.status and found.status.completed_at)
    if at_s is not None and at_s >= moment(settings.redo_before).timestamp():
        return None
    return f"chunked before {settings.redo_before}"


def _other_audio(file: AudioFile, found: Chunked, order: ChunkOrder) -> str | None:
    """Return which other recording, or place of it, a chunked recording's manifest names, or None."""
    audio = order.place.audio / file.path
    if found.audio is None or found.audio == audio or is_same_file(found.audio, audio):
        return None
    return f"its manifest names {found.audio}"


def _changed(file: AudioFile, found: Chunked) -> str | None:
    """Return how a chunked recording has changed since, or None."""
    size = None if found.status is None else found.status.audio_bytes
    if size is None or file.size is None or size == file.size:
        return None
    return f"the audio has changed since: {file.size} bytes, then {size}; its chunks are those of the earlier file"
