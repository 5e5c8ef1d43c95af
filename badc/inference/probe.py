"""Probing: the longest chunk that a runner can process, found by running it on windows of a recording."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from badc.chunks.manifest import Chunk, chunk_id_of
from badc.errors import BadcError, RequestError, RunnerError, RunnerTimeoutError
from badc.inference.probe_settings import LEAST_WINDOW_S, ProbeSettings
from badc.recordings.audio import AudioError, AudioInfo, window_of
from badc.recordings.audio import probe as probe_audio
from badc.recordings.channels import with_channels
from badc.recordings.names import recording_id_of
from badc.runners.current import close_runner, runner_for
from badc.runners.interface import Runner, RunnerSpec
from badc.system.clock import now
from badc.system.gpu_memory import is_gpu_out_of_memory
from badc.system.gpus import Gpu, GpuReader, GpuSampler, NoGpuError, cuda_environment, usable_gpus
from badc.system.memory import HostMemorySampler
from badc.system.paths import absolute, as_written, find_dataset_root, first_free, require_writable
from badc.telemetry.events import ChunkEvent, EventStatus, TelemetryLog

_LEAST_MS = round(LEAST_WINDOW_S * 1000)
_GRID_MS = 3000  # BirdNET analyses 3 s at a time, so a chunk of whole windows loses nothing
_SAMPLE_INTERVAL_S = 0.1
_KEPT_OUTPUT_CHARS = 500
_KEPT_LINE_CHARS = 200


class ProbeOutcome(StrEnum):
    """How an attempt at a window ended."""

    OK = "ok"
    FAILED = "failed"
    OUT_OF_MEMORY = "out_of_memory"
    TOO_SLOW = "too_slow"


@dataclass(frozen=True, slots=True)
class ProbeAttempt:
    """One attempt at one window, which begins with the recording.

    `runtime_s` leaves out the time to load a model that the runner keeps. `peak_gpu_mib` is the most memory in use on
    the GPU, by any program; None without a GPU, or if the driver failed. `peak_host_mib` is the most resident memory of
    this process and its descendants; None if it cannot be read. Times are ISO-8601 with offset. `reason` is None if the
    window worked; else `stderr` is the end of what the runner's process printed.
    """

    duration_ms: int
    outcome: ProbeOutcome
    runtime_s: float
    peak_gpu_mib: int | None
    peak_host_mib: int | None
    started_at: str
    finished_at: str
    reason: str | None = None
    stderr: str = ""


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What probing found.

    `gpu` is None if it ran on the CPU. `most_ms` is the longest window that there was to try, `longest_ms` the longest
    that worked, and `recommended_ms` the chunk duration to use; the last two are None if nothing worked. `attempts` are
    in their order, and `log`, absolute, is their log.
    """

    runner: str
    gpu: Gpu | None
    most_ms: int
    longest_ms: int | None
    recommended_ms: int | None
    attempts: tuple[ProbeAttempt, ...]
    log: Path

    @property
    def nearest_failure(self) -> ProbeAttempt | None:
        """The shortest window that did not work, or None if every one did."""
        bad = [attempt for attempt in self.attempts if attempt.outcome is not ProbeOutcome.OK]
        return min(bad, key=lambda attempt: attempt.duration_ms, default=None)


def probe(settings: ProbeSettings, on_attempt: Callable[[ProbeAttempt], None] = lambda attempt: None) -> ProbeReport:
    """Run a runner on windows of a recording to find the longest that it can process; its detections are discarded.

    The window doubles until one does not work; then the gap between it and the longest that worked is halved until it
    is within the tolerance. If the first window does not work, the shortest is tried before the halving. `on_attempt`
    is called when an attempt has ended.

    Raises
    ------
    RequestError
        When the recording, the runner, the GPU or the log's folder cannot be used; nothing was run.
    """
    path = absolute(settings.audio)
    recording_id = recording_id_of(path)
    try:
        info = probe_audio(path)
    except AudioError as error:
        raise RequestError(str(error)) from None
    most_ms = info.duration_ms
    if most_ms < 1:
        raise RequestError(f"{settings.audio}: the recording is shorter than 1 ms ({info.frames} frames)")
    if settings.max_duration_s is not None:
        most_ms = min(most_ms, round(settings.max_duration_s * 1000))
    gpu = _chosen_gpu(settings.gpu_index)
    spec = _limited_spec(settings)
    log_path = _log_path(settings, recording_id, find_dataset_root(path))
    log = TelemetryLog(log_path)
    trial = _Trial(settings, path, recording_id, info, spec, gpu, log, on_attempt)
    try:
        longest_ms = longest_that_fits(
            trial.fits, round(settings.initial_duration_s * 1000), most_ms, round(settings.tolerance_s * 1000)
        )
    finally:
        close_runner()
        log.close()
    recommended_ms = None if longest_ms is None else recommended(longest_ms, settings.safety_margin)
    return ProbeReport(spec.name, gpu, most_ms, longest_ms, recommended_ms, tuple(trial.attempts), log_path)


def longest_that_fits(fits: Callable[[int], bool], first_ms: int, most_ms: int, tolerance_ms: int) -> int | None:
    """Return the longest window that fits, in ms, or None if not even the shortest does.

    The search starts with `first_ms` (at least 3 s). The shortest window is 3 s, or `most_ms` if that is less; the
    result may be up to `tolerance_ms` below the limit.
    """
    least_ms = min(_LEAST_MS, most_ms)
    good_ms, window_ms = 0, min(first_ms, most_ms)
    while fits(window_ms):
        good_ms = window_ms
        if window_ms == most_ms:
            return good_ms
        window_ms = min(2 * window_ms, most_ms)
    bad_ms = window_ms
    if not good_ms:
        # A runner that always fails is noticed at the second try; halving would take many.
        if bad_ms == least_ms or not fits(least_ms):
            return None
        good_ms = least_ms
    while bad_ms - good_ms > tolerance_ms:
        middle_ms = _between(good_ms, bad_ms)
        if fits(middle_ms):
            good_ms = middle_ms
        else:
            bad_ms = middle_ms
    return good_ms


def recommended(longest_ms: int, safety_margin: float) -> int:
    """Return the chunk duration to use, in ms, where windows of up to `longest_ms` work.

    It is `safety_margin` (0..1) of that, rounded down to a multiple of 3 s if it is at least 3 s.
    """
    with_margin_ms = round(longest_ms * safety_margin)
    return with_margin_ms // _GRID_MS * _GRID_MS if with_margin_ms >= _GRID_MS else with_margin_ms


def _between(low_ms: int, high_ms: int) -> int:
    """Return the middle of two lengths, in whole seconds if any lie between the two."""
    middle_ms = (low_ms + high_ms) // 2
    whole_ms = round(middle_ms / 1000) * 1000
    return whole_ms if low_ms < whole_ms < high_ms else middle_ms


class _Trial:
    """The attempts of one search; each is logged at its start too, because it may take the whole machine down."""

    def __init__(
        self,
        settings: ProbeSettings,
        path: Path,
        recording_id: str,
        info: AudioInfo,
        spec: RunnerSpec,
        gpu: Gpu | None,
        log: TelemetryLog,
        on_attempt: Callable[[ProbeAttempt], None],
    ) -> None:
        self.attempts: list[ProbeAttempt] = []
        self._settings = settings
        self._path = path
        self._recording_id = recording_id
        self._info = info
        self._spec = spec
        self._gpu = gpu
        self._reader = None if gpu is None else GpuReader(gpu)
        self._log = log
        self._on_attempt = on_attempt
        self._warm = False

    def fits(self, duration_ms: int) -> bool:
        """Run the runner on the first `duration_ms` of the recording; return whether that worked."""
        chunk = self._chunk(duration_ms)
        started_at = now()
        self._write(chunk, EventStatus.START, started_at)
        with GpuSampler(self._reader, _SAMPLE_INTERVAL_S) as gpu_load, HostMemorySampler(_SAMPLE_INTERVAL_S) as host:
            outcome, runtime_s, reason, stderr = self._run(chunk)
        attempt = ProbeAttempt(
            duration_ms,
            outcome,
            round(runtime_s, 3),
            ((gpu_load.metrics() or {}).get("peak") or {}).get("memory_used_mb"),
            host.peak_mib,
            started_at,
            now(),
            reason,
            stderr[-_KEPT_OUTPUT_CHARS:],
        )
        self.attempts.append(attempt)
        self._write(chunk, EventStatus.FAILURE if reason else EventStatus.SUCCESS, started_at, attempt)
        self._on_attempt(attempt)
        return outcome is ProbeOutcome.OK

    def _chunk(self, duration_ms: int) -> Chunk:
        source = as_written(self._path, find_dataset_root(self._path))
        return Chunk(self._recording_id, chunk_id_of(self._recording_id, 0, duration_ms), source, 0, duration_ms)

    def _detect(self, runner: Runner, chunk: Chunk) -> None:
        window, _ = with_channels(window_of(self._path, self._info, chunk.start_ms, chunk.end_ms))
        runner.detect(chunk, window)

    def _ready_runner(self, duration_ms: int) -> Runner:
        """Return the runner with any model that it keeps already loaded, so that loading is not in a window's time."""
        runner = runner_for(self._spec, cuda_environment(self._gpu))
        if not self._warm and self._spec.keeps_model:
            self._detect(runner, self._chunk(min(_LEAST_MS, duration_ms)))
        self._warm = True
        return runner

    def _run(self, chunk: Chunk) -> tuple[ProbeOutcome, float, str | None, str]:
        """Return outcome, seconds, reason and standard error of an attempt; a failed attempt ends its runner."""
        outcome, reason, stderr = ProbeOutcome.OK, None, ""
        begin = time.perf_counter()
        try:
            runner = self._ready_runner(chunk.duration_ms)
            begin = time.perf_counter()
            self._detect(runner, chunk)
        except RunnerError as error:
            outcome, reason = self._verdict(error)
            stderr = error.stderr
        except BadcError as error:
            outcome, reason = ProbeOutcome.FAILED, str(error)
        except Exception as error:  # whatever a runner raises, this window did not work
            outcome, reason = ProbeOutcome.FAILED, f"{type(error).__name__}: {error}"
        runtime_s = time.perf_counter() - begin
        most_s = self._settings.max_seconds
        untimed = getattr(self._spec, "chunk_timeout_s", None) is None  # a runner that cannot be stopped in time
        if reason is None and untimed and most_s is not None and runtime_s > most_s:
            outcome, reason = ProbeOutcome.TOO_SLOW, _too_slow(self._settings)
        if reason is not None:
            close_runner()
            self._warm = False
        return outcome, runtime_s, reason, stderr

    def _verdict(self, error: RunnerError) -> tuple[ProbeOutcome, str]:
        if isinstance(error, RunnerTimeoutError):
            return ProbeOutcome.TOO_SLOW, _too_slow(self._settings)
        out_of_memory = is_gpu_out_of_memory(str(error), error.stdout, error.stderr)
        last_words = [line.strip() for line in error.stderr.splitlines() if line.strip()][-1:]
        reason = ": ".join([str(error), *(line[:_KEPT_LINE_CHARS] for line in last_words)])
        return ProbeOutcome.OUT_OF_MEMORY if out_of_memory else ProbeOutcome.FAILED, reason

    def _write(self, chunk: Chunk, status: EventStatus, started_at: str, attempt: ProbeAttempt | None = None) -> None:
        details: dict[str, Any] = {"runner": self._spec.name, "duration_s": chunk.duration_ms / 1000}
        if attempt is not None:
            details |= {
                "outcome": attempt.outcome.value,
                "peak_gpu_mib": attempt.peak_gpu_mib,
                "peak_host_mib": attempt.peak_host_mib,
            }
            details |= {"error": attempt.reason} if attempt.reason else {}
            details |= {"stderr": attempt.stderr} if attempt.stderr else {}
        gpu = self._gpu
        self._log.write(
            ChunkEvent(
                chunk_id=chunk.chunk_id,
                recording_id=chunk.recording_id,
                status=status,
                timestamp=started_at,
                finished_at=attempt.finished_at if attempt else None,
                runtime_s=attempt.runtime_s if attempt else None,
                worker=f"gpu-{gpu.index}" if gpu else "cpu-0",
                host=socket.gethostname(),
                gpu_index=gpu.index if gpu else None,
                gpu_name=gpu.name if gpu else None,
                details=details,
            )
        )


def _chosen_gpu(index: int | None) -> Gpu | None:
    try:
        gpus = usable_gpus()
    except NoGpuError as error:
        if index is None:
            return None
        raise RequestError(f"--gpu-index {index}: {error}") from None
    if index is None:
        return gpus[0]
    for gpu in gpus:
        if gpu.index == index:
            return gpu
    numbers = ", ".join(str(number) for number in dict.fromkeys(gpu.index for gpu in gpus))
    raise RequestError(f"--gpu-index {index}: no such GPU can be used here; there is {numbers} (see `badc gpus`)")


def _limited_spec(settings: ProbeSettings) -> RunnerSpec:
    """Return the runner with the shorter of the two time limits, so that a window that is too slow is stopped."""
    limits_s = [limit_s for limit_s in (settings.max_seconds, settings.chunk_timeout_s) if limit_s is not None]
    return settings.model_copy(update={"chunk_timeout_s": min(limits_s, default=None)}).runner_spec()


def _too_slow(settings: ProbeSettings) -> str:
    most_s, timeout_s = settings.max_seconds, settings.chunk_timeout_s
    if most_s is not None and (timeout_s is None or most_s <= timeout_s):
        return f"took longer than --max-seconds {most_s:g} s"
    return f"took longer than --chunk-timeout {timeout_s:g} s"


def _log_path(settings: ProbeSettings, recording_id: str, dataset_root: Path | None) -> Path:
    log = absolute(settings.log) if settings.log else new_probe_log(recording_id, dataset_root)
    if log.is_dir():
        raise RequestError(f"{log}: --log is a folder; name a file in it, such as {log / 'probe.jsonl'}")
    require_writable(log.parent, "telemetry folder")
    return log


def new_probe_log(recording_id: str, dataset_root: Path | None, at: datetime | None = None) -> Path:
    """Return an unused log path: `<recording>_<UTC yyyymmddThhmmssZ>.jsonl`.

    It lies in `artifacts/telemetry/probe` of the dataset, or outside a dataset in `data/telemetry/probe` of the working
    directory. A second search within the same second gets `_2`, and so on.
    """
    folder = (dataset_root / "artifacts" if dataset_root else Path.cwd() / "data") / "telemetry" / "probe"
    return first_free(folder, recording_id, at)
