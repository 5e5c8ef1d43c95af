"""How far one recording of a dataset's inference is, what to do with it, and why."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from badc.chunks.manifest import Chunk, Manifest, read_manifest
from badc.chunks.status import ChunkState, read_chunk_status, status_path
from badc.datasets.inference.settings import OrchestrateSettings
from badc.datasets.inference.tables import made_otherwise
from badc.errors import BadcError, numbered
from badc.inference.other_results import OtherResults
from badc.inference.outputs import OutputFolders
from badc.recordings.audio import AudioError, probe
from badc.recordings.channels import require_channel
from badc.system.annex import ContentElsewhereError, get_line
from badc.telemetry.summary import JobStatus, read_jobs, resumable


class InferDecision(StrEnum):
    """What to do with a recording."""

    RUN = "run"
    RESUME = "resume"
    REPORT = "report"
    SKIP = "skip"
    LATER = "later"
    REFUSE = "refuse"
    NOT_HERE = "not here"
    NOT_CHUNKED = "not chunked"


TO_RUN = (InferDecision.RUN, InferDecision.RESUME)
CANNOT_RUN = (InferDecision.REFUSE, InferDecision.NOT_HERE)


@dataclass(frozen=True, slots=True)
class RecordingToInfer:
    """A recording, how far it is, what to do with it, and why.

    `recording_id` is the id in its manifest, or the manifest's stem if that has several; `manifest` and `log`, for its
    telemetry, are absolute. Of a recording that is not chunked, the manifest is the audio, as there is none. `done`
    counts the chunks with a valid output, `failed` those that failed for good in the last run; `audio_ms` is the length
    of all chunks together. `chunk_status` is what the chunk status file says, or `missing`. `other` are its results of
    other settings than those asked for, if it has any. Of the done ones, `elsewhere` have their content elsewhere, in
    the annex; so have the files that it `lacks`, without which it cannot be decided what to do.
    """

    recording_id: str
    manifest: Path
    chunks: int
    done: int
    failed: int
    audio_ms: int
    chunk_status: str
    decision: InferDecision
    reason: str
    log: Path
    other: OtherResults | None = None
    source_path: str | None = None  # of its first chunk, as the manifest has it
    elsewhere: int = 0
    lacks: tuple[Path, ...] = ()
    lacks_channel: str | None = None  # that its audio does not have the channel that is asked for
    lacks_audio: Path | None = None  # of one to run: where its first chunk's audio is not
    not_embedded: int = 0  # chunks with a valid result that lack the embeddings that are wanted
    to_gather: bool = False  # complete, but a run was killed before it put the embeddings together

    @property
    def missing(self) -> int:
        """Chunks without a valid output that have not failed."""
        return self.chunks - self.done - self.failed


def log_of(settings: OrchestrateSettings, recording_id: str) -> Path:
    """Return a recording's telemetry log; its name is fixed, so that a later run can resume from it."""
    return settings.telemetry_folder / f"{recording_id}.jsonl"


def look_at(path: Path, settings: OrchestrateSettings, folders: OutputFolders) -> RecordingToInfer:
    """Return how far the recording of a manifest is, given where its outputs are and what makes those asked for."""
    try:
        manifest = read_manifest(path, settings.root)
        outputs = folders.look(manifest, settings.redo_before)
    except ContentElsewhereError as error:
        return replace(_not_read(path, settings, error), decision=InferDecision.NOT_HERE, lacks=error.paths)
    except BadcError as error:
        return _not_read(path, settings, error)
    chunks = manifest.chunks
    ids = {chunk.recording_id for chunk in chunks}
    recording_id = ids.pop() if len(ids) == 1 else path.stem
    standings = outputs.standings
    open_chunks = [chunk for chunk in chunks if chunk not in standings or not standings[chunk].done]
    again = settings.include_existing or bool(open_chunks and not settings.resume_completed)
    log = log_of(settings, recording_id)
    status = "missing"
    lacks: tuple[Path, ...] = ()
    try:
        if (found := read_chunk_status(status_path(settings.below(settings.chunks_dir), recording_id))) is not None:
            status = found.state.value
    except ContentElsewhereError as error:
        status, lacks = InferDecision.NOT_HERE.value, error.paths
    except BadcError as error:
        status = f"unreadable ({error})"
    recording = RecordingToInfer(
        recording_id,
        path,
        chunks=len(chunks),
        done=len(chunks) - len(open_chunks),
        failed=_failed(log, open_chunks),
        audio_ms=sum(chunk.duration_ms for chunk in chunks),
        chunk_status=status,
        decision=InferDecision.RUN,
        reason="",
        log=log,
        other=next(iter(outputs.others(chunks if again else open_chunks)), None),
        source_path=chunks[0].source_path if chunks else None,
        elsewhere=sum(standing.done and standing.elsewhere for standing in standings.values()),
        lacks=lacks,
        not_embedded=outputs.not_embedded,
        to_gather=not open_chunks and folders.has_to_gather(recording_id),
    )
    decision, reason = _decide(recording, settings, folders.made_with)
    if decision in TO_RUN and (lacks_channel := _lacks_channel(manifest, open_chunks or chunks, settings)) is not None:
        return replace(recording, decision=InferDecision.REFUSE, reason=lacks_channel, lacks_channel=lacks_channel)
    audio = manifest.locate(chunks[0].source_path) if decision in TO_RUN else None
    lacks_audio = audio if audio is not None and not os.path.lexists(audio) else None
    return replace(recording, decision=decision, reason=reason, lacks_audio=lacks_audio)


def _not_read(path: Path, settings: OrchestrateSettings, error: BadcError) -> RecordingToInfer:
    log = log_of(settings, path.stem)
    return RecordingToInfer(path.stem, path, 0, 0, 0, 0, "", InferDecision.REFUSE, str(error), log)


def _lacks_channel(manifest: Manifest, chunks: Sequence[Chunk], settings: OrchestrateSettings) -> str | None:
    """Return that the audio has no channel of the number that is asked for; what cannot be read is the run's matter."""
    if settings.channel is None or not settings.channel.isdigit():
        return None
    for path in {manifest.locate(source) for source in {chunk.source_path for chunk in chunks}}:
        try:
            info = probe(path, salvage=True)
        except (AudioError, OSError):
            continue
        try:
            require_channel(path, info, settings.channel)
        except AudioError as error:
            return str(error)
    return None


def _failed(log: Path, open_chunks: Sequence[Chunk]) -> int:
    """Return how many of these chunks without an output failed for good in the last run."""
    path = resumable(log)
    if path is None or not open_chunks:
        return 0
    try:
        jobs = read_jobs(path)
    except BadcError:  # no run can resume from this file; one that tries will say so
        return 0
    found = (jobs.find(chunk) for chunk in open_chunks)
    return sum(job is not None and job.status is JobStatus.FAILURE for job in found)


def _decide(
    recording: RecordingToInfer, settings: OrchestrateSettings, made_with: Mapping[str, Any]
) -> tuple[InferDecision, str]:
    if recording.chunks == 0:
        return InferDecision.SKIP, "the manifest has no chunks"
    other = recording.other
    if other is not None and not other.may_go(settings.replace_results):
        return InferDecision.REFUSE, other.summary()
    if recording.done == recording.chunks and not settings.include_existing:
        return _complete(recording, settings, made_with)
    if recording.chunk_status != ChunkState.COMPLETED and not settings.allow_partial_chunks:
        return _not_chunked(recording)
    if recording.done == 0:
        return InferDecision.RUN, _nothing_done(recording)
    if recording.done == recording.chunks:
        return InferDecision.RUN, "complete, and wanted again (--include-existing)"
    if settings.resume_completed:
        return InferDecision.RESUME, "partly done"
    return InferDecision.RUN, "partly done; all of it runs again (--resume-completed resumes it)"


def _nothing_done(recording: RecordingToInfer) -> str:
    if recording.other is not None:
        return f"replaces {recording.other.summary()}"
    if recording.not_embedded:
        return f"{numbered(recording.not_embedded, 'chunk has', 'chunks have')} an output without embeddings"
    return "no chunk has an output"


def _not_chunked(recording: RecordingToInfer) -> tuple[InferDecision, str]:
    if recording.lacks:
        return InferDecision.NOT_HERE, f"the content of its chunk status is not here; {get_line(recording.lacks)}"
    return InferDecision.REFUSE, f"its chunk status is {recording.chunk_status}, not completed"


def _complete(
    recording: RecordingToInfer, settings: OrchestrateSettings, made_with: Mapping[str, Any]
) -> tuple[InferDecision, str]:
    if recording.to_gather:
        return InferDecision.RESUME, "complete; its embeddings are not put together yet"
    if settings.lacks_reports(recording.recording_id):
        return InferDecision.REPORT, "complete; its tables and reports are missing"
    if settings.bundle and made_otherwise(settings.table_of(recording.recording_id), made_with):
        return InferDecision.REPORT, "complete; its tables and reports are of results of other settings"
    if not recording.elsewhere:
        return InferDecision.SKIP, "complete: every chunk has a valid output"
    number = "all" if recording.elsewhere == recording.chunks else f"{recording.elsewhere} of {recording.chunks}"
    reason = f"done, content elsewhere: {number} outputs, which could not be compared with what is asked for"
    return InferDecision.SKIP, reason
