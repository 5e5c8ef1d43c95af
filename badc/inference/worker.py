"""Inference on a worker: what it does with its chunks."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import repeat
from typing import Any

from badc.chunks.manifest import Chunk
from badc.detections.fingerprint import ALL_CHANNELS, CHANNEL, MODEL_VERSION
from badc.detections.result import ChunkResult, result_path, write_result
from badc.errors import BadcError, RunnerError
from badc.inference.attempt import Attempt
from badc.inference.findings import label_counts
from badc.inference.gathering import write_embeddings
from badc.inference.plan import InferOrder, PlannedChunk
from badc.inference.turns import Turn, Turns
from badc.recordings.audio import AudioWindow
from badc.recordings.channels import with_channels
from badc.runners.current import runner_for
from badc.runners.interface import BatchRunner, RunnerOutput
from badc.system import atomic
from badc.system.clock import now
from badc.system.gpu_memory import ADVICE, is_gpu_out_of_memory
from badc.system.gpus import Gpu, GpuReader, GpuSampler, cuda_environment, gpu_of_this_worker
from badc.system.memory import MemoryLimit
from badc.system.paths import as_written, require_inside
from badc.telemetry.events import FailureKind

_Failure = dict[str, Any]
_Outcome = tuple[bool, dict[str, Any], dict[str, tuple[int, int, float, float]]]
_KEPT_OUTPUT_CHARS = 500
_turns = Turns()


def infer_chunks(
    chunks: Sequence[PlannedChunk],
    order: InferOrder,
    report: Callable[[Attempt], None],
    may_begin: Callable[[], bool] = lambda: True,
) -> list[Attempt]:
    """Analyse chunks on this worker and write their detections; return the ended attempts, in the order of the chunks.

    Chunks go to the runner one by one, or in one call if it can do that. A chunk that fails does not keep the others
    from being tried and raises nothing: its attempt says why it failed. `report` is called with each attempt when it
    starts and when it has ended. Several threads may call this: no more than `order.at_once` are at the runner. Once
    `may_begin` says no, the chunks that are left get no attempt.
    """
    calls = [chunks] if len(chunks) > 1 and order.in_one_call else [[planned] for planned in chunks]
    gpu = _gpu_of_this_process()
    return [attempt for call in calls for attempt in _Call(call, order, gpu, report).attempts(may_begin)]


class _Call:
    """One call of the runner, and the attempts at the chunks in it."""

    def __init__(
        self, chunks: Sequence[PlannedChunk], order: InferOrder, gpu: Gpu | None, report: Callable[[Attempt], None]
    ) -> None:
        self._chunks = chunks
        self._order = order
        self._gpu = gpu
        self._report = report
        self._reader = None if gpu is None else _reader_of(gpu)

    def attempts(self, may_begin: Callable[[], bool]) -> list[Attempt]:
        """Make the call once it is its turn, if it may begin then; return the ended attempts.

        The next call has its turn while this one's results are written.
        """
        gpu, order = self._gpu, self._order
        wanted_at_once = order.at_once.gpu if gpu else order.at_once.cpu
        with _turns.one(order.runner, wanted_at_once, order.alone) as turn:
            if not may_begin():
                return []
            index, name = (gpu.index, gpu.name) if gpu else (None, None)
            started = [Attempt(p.key, index, name, host=socket.gethostname()) for p in self._chunks]
            for attempt in started:
                self._report(attempt)
            clock = time.perf_counter()
            with (
                GpuSampler(self._reader, order.gpu_sample_interval_s) as sampler,
                MemoryLimit(order.worker_memory_gib) as memory,
            ):
                outputs = self._outputs(turn)
            # Each chunk's share of the call, so that sums and means over chunks match the time spent.
            runtime_s = round((time.perf_counter() - clock) / len(self._chunks), 3)
            finished_at = now()
        outcomes = [self._settle(planned, output) for planned, output in zip(self._chunks, outputs, strict=True)]
        if memory.reason is not None:
            outcomes = [
                (ok, details if ok else {**details, "error": f"{details['error']}: {memory.reason}"}, found)
                for ok, details, found in outcomes
            ]
        shared = self._shared(wanted_at_once, sampler)
        ended = [
            replace(
                attempt, finished_at=finished_at, ok=ok, runtime_s=runtime_s, details={**shared, **details}, found=found
            )
            for attempt, (ok, details, found) in zip(started, outcomes, strict=True)
        ]
        for attempt in ended:
            self._report(attempt)
        return ended

    def _shared(self, wanted_at_once: int, sampler: GpuSampler) -> dict[str, Any]:
        """Return the details for telemetry that the chunks of the call share."""
        shared: dict[str, Any] = {"runner": self._order.runner.name}
        if len(self._chunks) > 1:
            shared["chunks_in_call"] = len(self._chunks)
        now_at_once = _turns.now(self._order.runner, wanted_at_once)
        if wanted_at_once > 1:
            shared["chunks_at_once"] = now_at_once.at_once
        if now_at_once.why_fewer is not None:
            shared["why_fewer_at_once"] = now_at_once.why_fewer
        if self._reader is not None:
            shared["gpu_metrics"] = sampler.metrics()
            if self._reader.trouble is not None:
                shared["gpu_trouble"] = self._reader.trouble
        return shared

    def _outputs(self, turn: Turn) -> list[RunnerOutput | _Failure]:
        """Return for each chunk what the runner gave, or telemetry's details of why there is nothing."""
        ready = [self._ready(planned) for planned in self._chunks]
        items = [item for item in ready if not isinstance(item, Exception)]
        given: Iterator[RunnerOutput | Exception]
        try:
            given = iter(self._detect(items, turn))
        except Exception as error:
            given = repeat(error)
        outputs = [item if isinstance(item, Exception) else next(given) for item in ready]
        for output in outputs:
            if isinstance(output, RunnerOutput) and output.fits_at_once is not None:
                _turns.lower(self._order.runner, output.fits_at_once, output.why_fewer)
        # A runner that failed is renewed for that before the turn ends, so that no other chunk gets it as it is.
        return [self._failure(output, turn) if isinstance(output, Exception) else output for output in outputs]

    def _ready(self, planned: PlannedChunk) -> tuple[Chunk, AudioWindow] | Exception:
        """Return the chunk and the channels of its window that are to be analysed, or why there are none."""
        assert planned.audio is not None
        try:
            window, note = with_channels(planned.audio, self._order.channel)
        except Exception as error:
            return error
        return planned.chunk.with_note(note), window

    def _detect(self, items: Sequence[tuple[Chunk, AudioWindow]], turn: Turn) -> Sequence[RunnerOutput | Exception]:
        if not items:
            return ()
        wants_embeddings = self._order.embeddings is not None
        runner = runner_for(self._order.runner, cuda_environment(self._gpu), turn.at_once, wants_embeddings)
        if len(items) > 1:
            assert isinstance(runner, BatchRunner)
            return runner.detect_batch(items)
        return [runner.detect(*items[0])]

    def _settle(self, planned: PlannedChunk, output: RunnerOutput | _Failure) -> _Outcome:
        """Write what the runner gave; return whether that succeeded, the details for telemetry, the labels found."""
        if not isinstance(output, RunnerOutput):
            return False, output, {}
        try:
            return True, _write(planned, output, self._order), label_counts(output.result.detections)
        except Exception as error:
            return False, self._failure(error), {}

    def _failure(self, error: Exception, turn: Turn | None = None) -> _Failure:
        """Return what telemetry keeps of a failure.

        If the GPU ran out of memory in a turn, the runner, which holds it, is closed, and the next takes one chunk less
        at once.
        """
        if isinstance(error, RunnerError):
            details = {"error": str(error), **_process_output(error.stdout, error.stderr, error.returncode)}
            if turn is not None and is_gpu_out_of_memory(str(error), error.stdout, error.stderr):
                _turns.renew()
                if turn.at_once > 1:
                    _turns.lower(self._order.runner, turn.at_once - 1, str(error))
                details |= {"failure_kind": FailureKind.GPU_OUT_OF_MEMORY.value, "error": f"{error}; {ADVICE}"}
            return details
        if isinstance(error, BadcError):
            return {"error": str(error)}
        if isinstance(error, OSError):
            return {"error": f"{error.strerror or error}: {error.filename or self._order.output_dir}"}
        # A bug in a runner fails its chunk, not the run.
        return {"error": f"{type(error).__name__}: {error}"}


@lru_cache(maxsize=1)
def _gpu_of_this_process() -> Gpu | None:
    """Return the worker's GPU, looked up once: one that the driver loses later remains this worker's."""
    return gpu_of_this_worker()


@lru_cache(maxsize=1)
def _reader_of(gpu: Gpu) -> GpuReader:
    """Return this process's reader of its GPU, whose handle stays open from chunk to chunk."""
    return GpuReader(gpu)


def _write(planned: PlannedChunk, output: RunnerOutput, order: InferOrder) -> dict[str, Any]:
    chunk, root = planned.chunk, order.dataset_root
    path = result_path(order.output_dir, chunk)
    require_inside(order.output_dir, path.parent)  # again: the folder may have become a link since the run was planned
    made_with = _made_with(output.result, planned.audio, order)
    result = replace(
        output.result,
        chunk=output.result.chunk.with_note(output.note),
        dataset_root=None if root is None else str(root),
        settings=made_with,
    )
    if order.embeddings is not None:
        write_embeddings(output, chunk, made_with, order)
    if output.raw_files:
        folder = path.with_name(f"{chunk.chunk_id}_{result.runner}")
        require_inside(order.output_dir, folder)
        for name, data in output.raw_files.items():
            atomic.write_bytes(folder / name, data)
        result = replace(result, extra={**result.extra, f"{result.runner}_output": as_written(folder, root)})
    write_result(path, result)
    return {
        "output": as_written(path, root),
        "status": result.status.value,
        "detections": len(result.detections),
        **({"note": output.note} if output.note else {}),
        **({"engine": output.engine} if output.engine else {}),
        **_process_output(output.stdout, output.stderr, output.returncode),
    }


def _made_with(result: ChunkResult, audio: AudioWindow | None, order: InferOrder) -> dict[str, Any]:
    made = dict(order.made_with)
    if result.model_version is not None:
        made[MODEL_VERSION] = result.model_version
    if audio is not None and audio.source.channels == 1:
        made[CHANNEL] = None  # the choice makes no difference here, so it must make no other fingerprint
    elif made.get(CHANNEL) is None:
        made[CHANNEL] = ALL_CHANNELS
    return made


def _process_output(stdout: str, stderr: str, returncode: int | None) -> dict[str, Any]:
    found = {"stdout": stdout[-_KEPT_OUTPUT_CHARS:], "stderr": stderr[-_KEPT_OUTPUT_CHARS:]}
    return {name: text for name, text in found.items() if text} | (
        {} if returncode is None else {"returncode": returncode}
    )
