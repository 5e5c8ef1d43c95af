"""What an inference run will do, decided before it starts."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from badc.chunks.manifest import Chunk, Manifest, job_keys, read_manifest
from badc.detections.fingerprint import CHANNEL
from badc.detections.result import Standing, result_path
from badc.errors import RequestError, listed, numbered
from badc.inference.embeddings import embeddings_folder, require_room_for
from badc.inference.outputs import OutputFolders
from badc.inference.settings import InferOptions, InferSettings
from badc.recordings.audio import SALVAGED, AudioError, AudioInfo, AudioWindow, probe, window_of
from badc.recordings.channels import require_channel
from badc.recordings.locate import notes_on_places
from badc.runners.interface import AtOnce, RunnerSpec
from badc.system.gpus import NoGpuError, usable_gpus
from badc.system.output_lock import log_lock, output_lock
from badc.system.paths import (
    absolute,
    as_written,
    default_output_dir,
    find_dataset_root,
    new_telemetry_log,
    require_inside,
    require_writable,
)
from badc.system.threads import cores, in_threads
from badc.telemetry.events import require_no_link
from badc.telemetry.summary import EarlierJobs, Job, JobStatus, read_jobs, resumable


@dataclass(frozen=True, slots=True)
class PlannedChunk:
    """A chunk, its key in the run's summary, and its frames (None if its audio cannot be used)."""

    key: str
    chunk: Chunk
    audio: AudioWindow | None


@dataclass(frozen=True, slots=True)
class InferOrder:
    """What a worker must know to analyse chunks; it travels with every task, so it is small. Its paths are absolute.

    `made_with` is what makes the results (see `badc.detections.fingerprint`). `gpu_sample_interval_s` is the time
    between two readings of the GPU's load. With `in_one_call` the runner takes all chunks of a task in one call; not in
    a retry, where one chunk that breaks the call would take the others along each time. `worker_memory_gib` limits a
    worker and its runner together; None for no limit. For `channel` see `badc.recordings.channels.with_channels`.
    `at_once` is how many chunks a worker gives its runner at once; one that is `alone`, as in a retry, does not share
    it. The embeddings go to the folder `embeddings`, unless it is None.
    """

    runner: RunnerSpec
    output_dir: Path
    dataset_root: Path | None
    gpu_sample_interval_s: float
    made_with: Mapping[str, Any]
    in_one_call: bool = False
    worker_memory_gib: float | None = None
    channel: str | None = None
    at_once: AtOnce = field(default_factory=AtOnce)
    alone: bool = False
    embeddings: Path | None = None


@dataclass(frozen=True, slots=True)
class InferPlan:
    """All that a run will do.

    `keys` are those of the manifest's chunks, in its order. `done` are the chunks that the resumed run, `earlier`,
    finished, with its jobs for them. `unusable` are chunks whose audio cannot be used, with the reason; there are none
    unless `keep_going`. `telemetry_log` is absolute.
    """

    settings: InferSettings
    order: InferOrder
    manifest: Manifest
    telemetry_log: Path
    keys: Sequence[str]
    todo: Sequence[PlannedChunk]
    done: Sequence[tuple[str, Chunk, Job]]
    unusable: Sequence[tuple[PlannedChunk, str]]
    earlier: EarlierJobs | None

    @property
    def recordings(self) -> frozenset[str]:
        """Ids of the recordings whose outputs the run may write."""
        return frozenset(planned.chunk.recording_id for planned in self.todo)

    @property
    def gathered(self) -> frozenset[str]:
        """Ids of the recordings whose embeddings are put together at the end of the run."""
        return frozenset(chunk.recording_id for chunk in self.manifest.chunks)

    @contextmanager
    def locked(self, say: Callable[[str], object]) -> Iterator[None]:
        """Hold the outputs of its recordings, and its log, for this run (see `output_lock`)."""
        with ExitStack() as stack:
            stack.enter_context(log_lock(self.telemetry_log, say))
            stack.enter_context(output_lock(self.order.output_dir, self.recordings, self.telemetry_log, say))
            if self.order.embeddings is not None:
                stack.enter_context(output_lock(self.order.embeddings, self.gathered, self.telemetry_log, say))
            yield

    @property
    def resume_command(self) -> str:
        """The command that resumes this run, for the folder where it was started."""
        resumed = resumable(self.telemetry_log) or self.settings.resume_summary
        again = self.settings.model_copy(update={"resume_summary": resumed})
        return shlex.join(["badc", "infer", "run", *again.to_arguments()])

    @property
    def audio_notes(self) -> list[str]:
        """What a person should know of where the audio is (see `notes_on_places`)."""
        sources = dict.fromkeys(planned.chunk.source_path for planned in self.todo)
        return notes_on_places(sources, self.manifest.audio_root)

    def output_of(self, chunk: Chunk) -> str:
        """Return the path of a chunk's detections as telemetry and summary record it."""
        return as_written(result_path(self.order.output_dir, chunk), self.order.dataset_root)


def plan_inference(
    settings: InferSettings,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    runner: RunnerSpec | None = None,
) -> InferPlan:
    """Read and check everything that a run needs; nothing is written.

    `on_progress` is called with the number of audio files opened so far, and of all. `runner` is that of `settings` as
    `prepared_runner` returns it, where it is known already: that takes time.

    Raises
    ------
    RequestError
        When the manifest, the audio, the runner, the resumed run or an output folder cannot be used. With `keep_going`,
        unusable audio is no error: those chunks fail, and the rest run.
    """
    manifest = read_manifest(
        settings.manifest, None if settings.dataset_root is None else absolute(settings.dataset_root)
    )
    spec = runner or prepared_runner(settings)
    root = manifest.dataset_root or _dataset_of_chunks(manifest)
    output_dir = absolute(settings.output_dir) if settings.output_dir else default_output_dir(root)
    log = absolute(settings.telemetry_log) if settings.telemetry_log else new_telemetry_log(manifest.path, root)
    if log.is_dir():
        raise RequestError(f"{log}: --telemetry-log is a folder; name a file in it, such as {log / 'run.jsonl'}")
    require_no_link(log)
    keys = job_keys(manifest.chunks)
    earlier = _read_earlier(settings, manifest)
    made_with = made_by(spec, settings, find_dataset_root(manifest.path.parent))
    embeddings = embeddings_folder(settings.embeddings, output_dir, spec)
    outputs = OutputFolders(spec, made_with, output_dir, embeddings).look(manifest, settings.redo_before)
    done, open_chunks = _split_done(manifest, keys, earlier, outputs.standings)
    for other in outputs.others(chunk for _, chunk in open_chunks):
        other.require_leave(settings.replace_results)
    todo, unusable = _locate_audio(manifest, open_chunks, settings, on_progress)
    if unusable and not settings.keep_going:
        raise _unusable_error(unusable, len(manifest.chunks))
    if todo:
        require_writable(output_dir, "output folder")
        for recording_id in dict.fromkeys(planned.chunk.recording_id for planned in todo):
            require_inside(output_dir, output_dir / recording_id)
        if embeddings is not None:
            require_room_for(embeddings, {planned.chunk.recording_id for planned in todo})
        require_writable(log.parent, "telemetry folder")
    order = InferOrder(
        spec,
        output_dir,
        root or _plain_dataset(manifest),
        settings.gpu_sample_interval_s,
        made_with,
        spec.takes_batches,
        settings.worker_memory_gib,
        _channel(spec, settings),
        chunks_at_once(settings, spec),
        embeddings=embeddings,
    )
    return InferPlan(settings, order, manifest, log, keys, todo, done, unusable, earlier)


def _dataset_of_chunks(manifest: Manifest) -> Path | None:
    """Return the dataset that the audio of all chunks of a manifest lies in, wherever the manifest is, or None."""
    sources = {chunk.source_path for chunk in manifest.chunks}
    roots = {find_dataset_root(folder) for folder in {manifest.locate(source).parent for source in sources}}
    return roots.pop() if len(roots) == 1 else None


def _plain_dataset(manifest: Manifest) -> Path | None:
    """Return the dataset without `.datalad` that a manifest's relative paths refer to: results must name it."""
    return None if all(Path(chunk.source_path).is_absolute() for chunk in manifest.chunks) else manifest.audio_root


def made_by(spec: RunnerSpec, settings: InferOptions, dataset_root: Path | None) -> dict[str, Any]:
    """Return what makes the results of a run with this runner, for their fingerprint."""
    return {**spec.made_with(dataset_root), CHANNEL: _channel(spec, settings)}


def _channel(spec: RunnerSpec, settings: InferOptions) -> str | None:
    """Return the choice of channels, None for what the runner does anyway: asking for that is no other setting."""
    return None if settings.channel == spec.own_channel else settings.channel


def _read_earlier(settings: InferSettings, manifest: Manifest) -> EarlierJobs | None:
    if settings.resume_summary is None:
        return None
    earlier = read_jobs(settings.resume_summary)
    if len(earlier) and not any(earlier.find(chunk) for chunk in manifest.chunks):
        raise RequestError(
            f"{settings.resume_summary}: none of its {numbered(len(earlier), 'chunk')} is in {settings.manifest}; "
            "it is the run of another manifest"
        )
    return earlier


def _split_done(
    manifest: Manifest, keys: Sequence[str], earlier: EarlierJobs | None, standings: Mapping[Chunk, Standing]
) -> tuple[list[tuple[str, Chunk, Job]], list[tuple[str, Chunk]]]:
    """Split the chunks into those that the resumed run did, with outputs that are still valid, and the others."""
    done: list[tuple[str, Chunk, Job]] = []
    left: list[tuple[str, Chunk]] = []
    for key, chunk in zip(keys, manifest.chunks, strict=True):
        job = earlier.find(chunk) if earlier else None
        if job is not None and job.status is JobStatus.SUCCESS and chunk in standings and standings[chunk].done:
            done.append((key, chunk, job))
        else:
            left.append((key, chunk))
    return done, left


def _locate_audio(
    manifest: Manifest,
    chunks: Sequence[tuple[str, Chunk]],
    settings: InferSettings,
    on_progress: Callable[[int, int], None],
) -> tuple[list[PlannedChunk], list[tuple[PlannedChunk, str]]]:
    """Open each audio file once, and find every chunk's frames in it.

    What a manifest says was salvaged when it was cut is salvaged again.
    """
    sources = list(dict.fromkeys(chunk.source_path for _, chunk in chunks))
    found: dict[str, tuple[Path, AudioInfo | str]] = {}
    paths = [manifest.locate(source) for source in sources]
    salvaged = {chunk.source_path for _, chunk in chunks if SALVAGED in chunk.notes}
    wanted = [(path, settings.salvage or source in salvaged) for path, source in zip(paths, sources, strict=True)]
    opened = in_threads(lambda item: _probe_or_reason(*item, settings.channel), wanted)
    for source, path, info in zip(sources, paths, opened, strict=True):
        found[source] = (path, info)
        on_progress(len(found), len(sources))
    todo: list[PlannedChunk] = []
    unusable: list[tuple[PlannedChunk, str]] = []
    for key, chunk in chunks:
        path, info = found[chunk.source_path]
        audio = info if isinstance(info, str) else _window_or_reason(path, info, chunk)
        if isinstance(audio, str):
            unusable.append((PlannedChunk(key, chunk, None), audio))
        else:
            todo.append(PlannedChunk(key, chunk.with_note(audio.source.note), audio))
    return todo, unusable


def _probe_or_reason(path: Path, salvage: bool, channel: str | None) -> AudioInfo | str:
    try:
        info = probe(path, salvage)
        require_channel(path, info, channel)
        return info
    except AudioError as error:
        return str(error)
    except OSError as error:
        return f"{path}: cannot be read ({error.strerror})"


def _window_or_reason(path: Path, info: AudioInfo, chunk: Chunk) -> AudioWindow | str:
    try:
        return window_of(path, info, chunk.start_ms, chunk.end_ms)
    except AudioError as error:
        return str(error)


def _unusable_error(unusable: Sequence[tuple[PlannedChunk, str]], total: int) -> RequestError:
    reasons = list(dict.fromkeys(reason for _, reason in unusable))
    verb = "has" if len(unusable) == 1 else "have"
    return RequestError(
        f"{len(unusable)} of {numbered(total, 'chunk')} {verb} no usable audio; put it right, or give --keep-going to "
        f"run the others:\n{listed(reasons)}"
    )


def prepared_runner(settings: InferOptions) -> RunnerSpec:
    """Return the settings of the runner as the workers of a run get them; raises as `RunnerSpec.prepared`.

    It runs here, or on a scheduler's workers.
    """
    return settings.runner_spec().placed(lambda: has_gpus(settings))


def has_gpus(settings: InferOptions) -> bool:
    """Whether the workers of a run here, or some of them, have GPUs; those of a running scheduler are taken to.

    With `max_gpus` 0 they are not.
    """
    if settings.scheduler is not None:
        return settings.max_gpus != 0
    try:
        return workers_wanted(settings, len(usable_gpus()))[0] > 0
    except NoGpuError:
        return False


def workers_wanted(settings: InferOptions, gpus: int, chunks: int | None = None) -> tuple[int, int]:
    """Return how many GPU and CPU workers a run starts, given the number of usable GPUs: at least one worker in all.

    Without a GPU, and unless the number is given, a CPU worker for each core but one, which is left for the run itself;
    but no more than there are `chunks`, where that is known.
    """
    gpu_workers = gpus if settings.max_gpus is None else min(gpus, settings.max_gpus)
    if settings.runner().gpu_advice is not None:
        gpu_workers = 0  # it would leave them idle
    cpu_workers = settings.cpu_workers
    if cpu_workers is None:
        cpu_workers = 0 if gpu_workers else min(cores() - 1, chunks or cores())
    return gpu_workers, max(cpu_workers, 0 if gpu_workers else 1)


def chunks_at_once(settings: InferOptions, spec: RunnerSpec) -> AtOnce:
    """Return how many chunks a worker gives the runner at once.

    Raises RequestError if several are wanted of a runner that takes one. Without a number, workers of a scheduler that
    already runs get one: how many threads they have, and whether a GPU, is not known before they are asked.
    """
    number = settings.chunks_at_once
    if number is not None and number > 1 and spec.at_once is None:
        raise RequestError(f"--chunks-at-once {number}: {spec.title} takes one chunk at a time; leave it out")
    if number is not None:
        return AtOnce(number, number)
    return AtOnce() if spec.at_once is None or settings.scheduler is not None else spec.at_once
