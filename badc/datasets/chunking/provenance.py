"""The chunking of a dataset in DataLad: what to fetch and check, and the commands to record."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path

from badc.chunks.status import STATUS_FILE
from badc.datalad.content import fetch
from badc.datalad.record import save
from badc.datalad.run import DataladRun, inside
from badc.datalad.worktree import require_clean
from badc.datasets.chunking.decision import ChunkDecision, RecordingToChunk
from badc.datasets.chunking.existing import ChunkOrder
from badc.datasets.chunking.plan import DatasetPlan, require_places
from badc.datasets.chunking.settings import ChunkSettings
from badc.datasets.listing import literal
from badc.errors import BadcError, RequestError, numbered
from badc.recordings.dataset_file import keep_layout
from badc.recordings.names import recording_id_of
from badc.settings.model import option_name
from badc.system.output_lock import output_lock

# A task run costs Prefect's server some 30 ms and 20 kB; a record costs DataLad at least two seconds.
_MOST_TASK_RUNS = 200
_MOST_RECORDS = 50
# A record is rerun through a shell, to which Linux passes a command of at most 128 KiB.
_LARGEST_RECORD = 500
_LARGEST_COMMAND_BYTES = 60_000


def batches(todo: Sequence[RecordingToChunk], recorded: bool) -> Iterator[Sequence[RecordingToChunk]]:
    """Yield the recordings in batches: one task run each, and one record each if they are recorded.

    Up to 200 recordings (50 if recorded) have a task run of their own; more share them. Those that are cut and those
    that only get a chunk status do not share one.
    """
    size = -(-len(todo) // (_MOST_RECORDS if recorded else _MOST_TASK_RUNS))
    for adopting in (False, True):
        alike = [recording for recording in todo if (recording.decision is ChunkDecision.ADOPT) is adopting]
        yield from _batches(alike, recorded, size)


def _batches(todo: Sequence[RecordingToChunk], recorded: bool, size: int) -> Iterator[Sequence[RecordingToChunk]]:
    if not recorded:
        yield from (todo[start : start + size] for start in range(0, len(todo), size or 1))
        return
    batch: list[RecordingToChunk] = []
    command_bytes = 0
    for recording in todo:
        word_bytes = len(shlex.join(["--pattern", literal(recording.audio)]).encode()) + 1
        if batch and (len(batch) >= min(size, _LARGEST_RECORD) or command_bytes + word_bytes > _LARGEST_COMMAND_BYTES):
            yield batch
            batch, command_bytes = [], 0
        batch.append(recording)
        command_bytes += word_bytes
    if batch:
        yield batch


def recording_run(order: ChunkOrder, recording: RecordingToChunk) -> DataladRun:
    """Return the command that chunks one recording of a dataset.

    Raises
    ------
    RequestError
        When the dataset is not a DataLad dataset, or the audio or an output lies outside it.
    """
    root = _root(order)
    audio, manifest, folder = _places(root, order, recording)
    cut = order.cut
    words = ["badc", "chunk", "manifest" if order.virtual else "run", audio]
    if recording_id_of(Path(audio)) != recording.recording_id:
        words.append(f"--recording-id={recording.recording_id}")
    lengths = {"chunk_duration_s": cut.duration_ms, "overlap_s": cut.overlap_ms, "min_chunk_s": cut.min_chunk_ms}
    for name, length_ms in lengths.items():
        words += [option_name(name), f"{length_ms / 1000:.3f}".rstrip("0").rstrip(".")]
    words += ["--salvage"] * cut.salvage + ["--include-existing"] * (recording.anew is not None)
    if order.virtual:
        words += ["--hash-chunks"] * order.hash_chunks + ["--output", manifest, "--status-dir", folder]
    else:
        words += ["--output-dir", folder, "--manifest", manifest]
    return DataladRun(
        root=root,
        message=f"Chunk {recording.recording_id}",
        command=tuple(words),
        inputs=(audio,),
        output_files=(manifest,),
        output_folders=(folder,),
    )


def batch_run(settings: ChunkSettings, order: ChunkOrder, recordings: Sequence[RecordingToChunk]) -> DataladRun:
    """Return the command that chunks these recordings, whatever their state; raises as `recording_run`.

    Where they keep their chunks, as all do if the first does, it writes only their chunk statuses.
    """
    adopting = recordings[0].decision is ChunkDecision.ADOPT
    if len(recordings) == 1 and not adopting:
        return recording_run(order, recordings[0])
    root = _root(order)
    places = [_places(root, order, recording) for recording in recordings]
    changes: dict[str, object] = {
        "dataset": Path(_inside(root, order.root, "the dataset")),
        "pattern": tuple(literal(recording.audio) for recording in recordings),
        "manifest_dir": Path(_inside(order.root, order.manifest_dir, "--manifest-dir")),
        "chunks_dir": Path(_inside(order.root, order.chunks_dir, "--chunks-dir")),
        "include_existing": not adopting,
        "record_datalad": False,
        "limit": None,
        "workers": ChunkSettings.model_fields["workers"].default,
    }
    words = settings.model_copy(update=changes).to_arguments()
    names = " to ".join(dict.fromkeys((recordings[0].recording_id, recordings[-1].recording_id)))
    manifests = tuple(manifest for _, manifest, _ in places)
    return DataladRun(
        root=root,
        message=f"{'Keep the chunks of' if adopting else 'Chunk'} {numbered(len(recordings), 'recording')}, {names}",
        command=("badc", "chunk", "orchestrate", *words, "--apply"),
        inputs=manifests if adopting else tuple(audio for audio, _, _ in places),
        output_files=tuple(f"{folder}/{STATUS_FILE}" for _, _, folder in places) if adopting else manifests,
        output_folders=() if adopting else tuple(folder for _, _, folder in places),
    )


def require_recordable(plan: DatasetPlan) -> None:
    """Refuse to record if files that the run reads or writes are not saved in the dataset.

    What an interrupted or failed run left in a recording's outputs is allowed: this run replaces it.

    Raises
    ------
    RequestError
        With the list of the files, or when an output lies outside the dataset.
    DataladError
        When git fails.
    """
    for resumed, adopting in product((False, True), repeat=2):
        recordings = [r for r in plan.todo if r.resumed is resumed and (r.decision is ChunkDecision.ADOPT) is adopting]
        if recordings:
            require_clean([batch_run(plan.settings, plan.order, recordings)], outputs_may_differ=resumed)


def unsaved_before(plan: DatasetPlan) -> str | None:
    """Return which outputs of skipped recordings are not saved, such as after a killed run, or None.

    Raises DataladError if git fails.
    """
    skipped = [r for r in plan.recordings if r.decision is ChunkDecision.SKIP]
    if not skipped:
        return None
    try:
        require_clean([batch_run(plan.settings, plan.order, skipped)])
    except RequestError as error:
        return f"recordings that were chunked before are skipped, but not all of them are recorded: {error}"
    return None


def save_failures(plan: DatasetPlan, audio: Collection[str]) -> None:
    """Save the chunk statuses of recordings that could not be cut: `datalad run` refuses a dataset with unsaved files.

    Raises DataladError if that fails.
    """
    root = _root(plan.order)
    folders = [_places(root, plan.order, recording)[2] for recording in plan.todo if recording.audio in audio]
    if folders:
        message = f"{numbered(len(folders), 'recording')} could not be chunked"
        save(root, [f"{folder}/{STATUS_FILE}" for folder in folders], message)


def fetch_audio(plan: DatasetPlan, on_progress: Callable[[int, int], None]) -> None:
    """Get the content of the recordings whose content was dropped.

    Raises
    ------
    RequestError
        With the list of those that could not be fetched; the others are here by then.
    DataladError
        When DataLad failed.
    """
    paths = [plan.order.audio_of(r.audio) for r in plan.todo if r.decision is ChunkDecision.FETCH]
    if paths:
        fetch(_root(plan.order), paths, on_progress)


def _root(order: ChunkOrder) -> Path:
    if order.dataset_root is None:
        raise RequestError(
            f"{order.root}: lies in no DataLad dataset (no folder above it has .datalad); make one with "
            "`datalad create --force`"
        )
    return order.dataset_root


def _places(root: Path, order: ChunkOrder, recording: RecordingToChunk) -> tuple[str, str, str]:
    """Return a recording's audio, manifest and chunk folder, below the dataset's root."""
    return (
        _inside(root, order.audio_of(recording.audio), "the audio"),
        _inside(root, recording.manifest_in(order), "--manifest-dir"),
        _inside(root, order.chunks_dir / recording.recording_id, "--chunks-dir"),
    )


def _inside(root: Path, path: Path, what: str) -> str:
    try:
        return inside(root, path, what)
    except RequestError as error:
        raise RequestError(f"{error}; give --no-record-datalad") from None


@contextmanager
def prepared(plan: DatasetPlan, recording: bool, say: Callable[[str], None]) -> Iterator[None]:
    """Check and lock the places that a run writes, and fetch what it reads; hold the lock during the block.

    Raises
    ------
    RequestError
        When a place cannot be written or recorded, or another run writes there.
    """
    require_places(plan)
    if recording:
        require_recordable(plan)
    order = plan.order
    order.place.keep()
    recordings = frozenset(r.recording_id for r in plan.todo)
    with output_lock(order.chunks_dir, recordings, order.manifest_dir, say):
        keep_layout(order.root, plan.settings.layout)
        if recording:
            try:
                fetch_audio(plan, lambda done, total: say(f"{done} of {total} dropped recordings fetched"))
            except BadcError as error:  # the recordings that are still not here fail, each with its reason
                say(str(error))
        yield
