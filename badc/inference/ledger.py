"""The books of one run: one process writes what the workers report into telemetry and summary."""

from __future__ import annotations

import heapq
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import replace
from typing import Any

from badc.chunks.manifest import Chunk
from badc.detections.fingerprint import fingerprint_of
from badc.detections.result import ResultStatus, without_output
from badc.inference.attempt import Attempt
from badc.inference.config_file import effective_configuration
from badc.inference.findings import RunFindings
from badc.inference.plan import InferPlan, PlannedChunk
from badc.inference.progress import Progress
from badc.system.clock import now
from badc.telemetry.events import ChunkEvent, EventStatus, FailureKind, TelemetryLog
from badc.telemetry.summary import (
    Job,
    JobStatus,
    RunState,
    RunSummary,
    WorkerCount,
    summary_path,
    workers_csv_path,
    write_summary,
    write_workers_csv,
)

# The summary is rewritten after this many times the time that writing it takes: 1 % of the run at most.
_WRITE_COST_FACTOR = 100
_LEAST_WRITE_INTERVAL_S = 1.0
_REMEMBERED_ATTEMPTS = 10_000
_SLOWEST_KEPT = 10
WORKER_LOST = "the worker died during this attempt; the chunk runs again on another"


class RunLedger:
    """Keeps telemetry and summary of one run. Its methods may be called from any thread.

    Where its disk takes nothing, events are kept here until it does; `unwritten` is why, or None.
    """

    def __init__(self, plan: InferPlan) -> None:
        self._plan = plan
        self._lock = threading.RLock()
        self._log = TelemetryLog(plan.telemetry_log)
        self._chunks = {planned.key: planned.chunk for planned in plan.todo}
        self._chunks |= {planned.key: planned.chunk for planned, _ in plan.unusable}
        self._open: dict[str, tuple[Attempt, str]] = {}  # key of a running chunk -> its attempt and worker label
        # Tokens of attempts whose end is written. A report may come twice, but not thousands of attempts later.
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._silent: dict[str, float] = {}  # worker label -> `time.monotonic()` of its last sign of life
        self.retired: dict[str, str] = {}  # worker label -> why it gets no more chunks
        self._hosts: dict[str, str | None] = {}  # worker label -> its machine
        self._backoffs: dict[str, float | None] = {}  # key -> delay that follows if the coming attempt fails
        self._slowest: list[tuple[float, str]] = []
        self._findings = RunFindings()
        self._clock = time.monotonic()
        self._next_write = 0.0
        self._finished = False
        self.unwritten: OSError | None = None
        self._done = self._failed = self._audio_ms = 0
        self._skipped = len(plan.done)
        self._audio_total_ms = sum(planned.chunk.duration_ms for planned in plan.todo)
        jobs = plan.earlier.others(plan.manifest.chunks) if plan.earlier else {}
        jobs |= {key: Job(chunk.recording_id) for key, chunk in zip(plan.keys, plan.manifest.chunks, strict=True)}
        started = now()
        self.summary = RunSummary(
            telemetry_log=str(plan.telemetry_log),
            manifest=str(plan.manifest.path),
            runner=plan.order.runner.name,
            started_at=started,
            updated_at=started,
            jobs=jobs,
            configuration=effective_configuration(plan.settings),
            fingerprint=fingerprint_of(plan.order.made_with),
            settings=dict(plan.order.made_with),
        )
        self._write_down_what_will_not_run()
        self.save(force=True)

    def expect(self, keys: Iterable[str], backoff_s: float | None) -> None:
        """Note, before chunks go to a worker, the delay that would follow a failure (None for a last attempt)."""
        with self._lock:
            self._backoffs.update(dict.fromkeys(keys, backoff_s))

    def started(self, attempt: Attempt, worker: str) -> None:
        """Write that a worker began a chunk. If the chunk was running elsewhere, that worker was lost."""
        with self._lock:
            if attempt.token in self._ended or self._finished:
                return
            lost = self._open.get(attempt.key)
            if lost is not None and lost[0].token == attempt.token:
                return
            if lost is not None:
                self._write_end(*lost, error=WORKER_LOST, kind=FailureKind.WORKER_LOST)
            self._hosts[worker] = attempt.host
            job = self.summary.jobs[attempt.key]
            job.attempts += 1
            job.worker = worker
            self._open[attempt.key] = (attempt, job.worker)
            details = {"attempt": job.attempts, "runner": self._plan.order.runner.name}
            self._event(attempt, EventStatus.START, job.worker, details)

    def ended(self, attempt: Attempt, worker: str) -> bool:
        """Write how a worker's attempt ended; return whether that was new, since a second report is ignored."""
        with self._lock:
            if attempt.token in self._ended or self._finished:
                return False
            self.started(attempt, worker)
            _, label = self._open.pop(attempt.key)
            self._remember_ended(attempt)
            job = self.summary.jobs[attempt.key]
            job.retries = job.attempts - 1
            count = self.summary.workers.setdefault(label, WorkerCount(host=attempt.host))
            details = {"attempt": job.attempts} | attempt.details
            self._findings.add_gpu(label, attempt.gpu_name, attempt.details.get("gpu_metrics"))
            if attempt.ok:
                self._succeeded(attempt, job, count, details)
                self._event(attempt, EventStatus.SUCCESS, label, details)
            else:
                self._attempt_failed(attempt.key, job, count, details)
                self._event(attempt, EventStatus.FAILURE, label, details)
            return True

    def close_open(self, keys: Iterable[str], error: str) -> None:
        """End the attempts of chunks whose worker will never report again."""
        with self._lock:
            for key in () if self._finished else keys:
                if key in self._open:
                    self._write_end(*self._open.pop(key), error=error)

    def failed_for_good(self, keys: Iterable[str]) -> None:
        """Mark these chunks as failed, with no attempt to follow, except those that succeeded."""
        with self._lock:
            for key in () if self._finished else keys:
                job = self.summary.jobs[key]
                if job.status is JobStatus.SUCCESS:
                    continue
                job.status = JobStatus.FAILURE
                self._failed += 1
                if job.worker is not None:
                    self.summary.workers.setdefault(job.worker, WorkerCount()).failure += 1

    def check_disk(self) -> list[str]:
        """Return which outputs, or the log, were deleted since they were written; chunks of lost outputs become failed.

        A run may take a night, in which somebody clears a disk.
        """
        with self._lock:
            keys = {chunk: key for key, chunk, _ in self._plan.done}
            keys |= {planned.chunk: planned.key for planned in self._plan.todo}
            done = (chunk for chunk, key in keys.items() if self.summary.jobs[key].status is JobStatus.SUCCESS)
            missing = []
            for chunk in without_output(self._plan.order.output_dir, done):
                self._take_back(keys[chunk], chunk)
                missing.append(f"{keys[chunk]}: {self.summary.jobs[keys[chunk]].last_error}")
            if not self._log.is_whole():
                missing.append(f"{self._log.path}: the telemetry log was deleted, replaced or cut during the run")
            return missing

    def _take_back(self, key: str, chunk: Chunk) -> None:
        job = self.summary.jobs[key]
        job.status = JobStatus.FAILURE
        job.last_error = f"its output was deleted or emptied after it was written: {self._plan.output_of(chunk)}"
        self._failed += 1
        if key not in self._chunks:  # it was done before this run
            self._skipped -= 1
            return
        self._done -= 1
        self._audio_ms -= chunk.duration_ms
        count = self.summary.workers[str(job.worker)]
        count.success -= 1
        count.failure += 1

    def undone(self, chunks: Iterable[PlannedChunk]) -> list[PlannedChunk]:
        """Return the chunks that have not succeeded yet."""
        with self._lock:
            return [planned for planned in chunks if self.summary.jobs[planned.key].status is not JobStatus.SUCCESS]

    def errors_of(self, keys: Iterable[str]) -> list[str]:
        """Return `key: reason` of the last failure of each of these chunks that has one."""
        with self._lock:
            jobs = ((key, self.summary.jobs[key]) for key in keys)
            return [f"{key}: {job.last_error}" for key, job in jobs if job.last_error is not None]

    def running(self) -> list[tuple[str, str, str]]:
        """Return what the workers are doing: worker label, the chunk's key, and when it was begun (ISO-8601)."""
        with self._lock:
            return [(label, key, attempt.started_at) for key, (attempt, label) in self._open.items()]

    def worker_is_silent(self, worker: str, key: str, silent_s: float, limit_s: float | None) -> None:
        """Write that a worker that has this chunk gives no sign of life; `limit_s` is how long it may."""
        with self._lock:
            self._silent[worker] = time.monotonic() - silent_s
            limit = {} if limit_s is None else {"limit_s": limit_s}
            self._news(EventStatus.WORKER_SILENT, worker, key, {"silent_s": round(silent_s, 1), **limit})

    def worker_is_heard(self, worker: str, key: str, silent_s: float) -> None:
        """Write that a silent worker gives a sign of life again, after so long."""
        with self._lock:
            self._silent.pop(worker, None)
            self._news(EventStatus.WORKER_HEARD, worker, key, {"silent_s": round(silent_s, 1)})

    def worker_is_gone(self, worker: str) -> None:
        """Note that a silent worker is given up; the `failure` of its chunk is written when that runs again."""
        with self._lock:
            self._silent.pop(worker, None)

    def worker_is_retired(self, worker: str, key: str, reason: str) -> None:
        """Write that a worker gets no more chunks, and why; this chunk was the last that it failed."""
        with self._lock:
            self.retired[worker] = reason
            self._news(EventStatus.WORKER_RETIRED, worker, key, {"error": reason})

    def named(self, worker: str) -> str:
        """Return a worker's label and machine, for a person."""
        host = self._hosts.get(worker)
        return worker if host is None else f"{worker} on {host}"

    @property
    def slowest(self) -> list[tuple[float, str]]:
        """The chunks that took longest, as (seconds, key), slowest first."""
        with self._lock:
            return sorted(self._slowest, reverse=True)

    def findings(self) -> RunFindings:
        """Return a copy of the labels found and the GPU use so far."""
        with self._lock:
            return deepcopy(self._findings)

    def gpu_utilization(self) -> dict[str, float | None]:
        """Return each worker's GPU load over its last chunk, in percent, or None where the driver gives none."""
        with self._lock:
            return {worker: use.utilization for worker, use in sorted(self._findings.gpus.items())}

    def progress(self) -> Progress:
        """Return how far the run is."""
        with self._lock:
            return Progress(
                total=len(self._plan.todo) + len(self._plan.unusable) + len(self._plan.done) - self._skipped,
                done=self._done,
                failed=self._failed,
                skipped=self._skipped,
                audio_ms=self._audio_ms,
                audio_total_ms=self._audio_total_ms,
                elapsed_s=time.monotonic() - self._clock,
                running=len(self._open),
                no_output=self.summary.no_output,
                troubles=self._troubles(),
            )

    def save(self, force: bool = False) -> None:
        """Rewrite the summary if it is due: seldom enough to cost less than 1 % of the run."""
        with self._lock:
            begin = time.monotonic()
            if self._finished or (not force and begin < self._next_write):
                return
            try:
                self._log.flush()
                self._write_summary()
            except OSError as error:
                self.unwritten = error
                self._next_write = time.monotonic() + _LEAST_WRITE_INTERVAL_S
                return
            self.unwritten = None
            end = time.monotonic()
            self._next_write = end + max(_LEAST_WRITE_INTERVAL_S, _WRITE_COST_FACTOR * (end - begin))

    def _write_summary(self) -> None:
        self.summary.updated_at = now()
        write_summary(summary_path(self._plan.telemetry_log), self.summary)

    def _write_workers(self) -> None:
        write_workers_csv(workers_csv_path(self._plan.telemetry_log), self.summary.workers)

    def finish(self, state: RunState) -> None:
        """Close the books: end open attempts, and write the run's state into summary and workers CSV.

        What the disk does not take is left out, and the run has failed. Later reports, and a second `finish`, are
        ignored.
        """
        with self._lock:
            if self._finished:
                return
            for key in list(self._open):
                self._write_end(*self._open.pop(key), error="interrupted before it ended")
            self.summary.state = state
            self.unwritten = None
            for write in (self._log.flush, self._write_summary, self._write_workers, self._log.close):
                try:
                    write()
                except OSError as error:
                    self.unwritten = self.unwritten or error
            if self.unwritten is not None and state is RunState.COMPLETED:
                self.summary.state = RunState.FAILED
            self._finished = True

    def _write_down_what_will_not_run(self) -> None:
        for key, chunk, earlier in self._plan.done:
            output = self._plan.output_of(chunk)
            self.summary.jobs[key] = replace(earlier, recording_id=chunk.recording_id, output=output)
            details = {"output": output, "runner": self.summary.runner}
            self._write(ChunkEvent(chunk.chunk_id, chunk.recording_id, EventStatus.SKIPPED, now(), details=details))
        for planned, reason in self._plan.unusable:
            attempt = Attempt(planned.key, None, None)
            self._event(attempt, EventStatus.START, None, {"attempt": 1})
            ended = replace(attempt, finished_at=now(), runtime_s=0.0)
            self._event(ended, EventStatus.FAILURE, None, {"attempt": 1, "error": reason})
            job = self.summary.jobs[planned.key]
            job.attempts, job.last_error = 1, reason
            self.failed_for_good([planned.key])

    def _succeeded(self, attempt: Attempt, job: Job, count: WorkerCount, details: dict[str, Any]) -> None:
        key, chunk, runtime_s = attempt.key, self._chunks[attempt.key], attempt.runtime_s or 0.0
        if job.status is JobStatus.SUCCESS:
            return  # it ran twice: its worker died after the report, before the result was fetched
        job.status, job.output, job.last_error = JobStatus.SUCCESS, details["output"], None
        self._done += 1
        self.summary.no_output += details.get("status") == ResultStatus.NO_OUTPUT
        self._findings.add_labels(attempt.found)
        heapq.heappush(self._slowest, (runtime_s, key))
        if len(self._slowest) > _SLOWEST_KEPT:
            heapq.heappop(self._slowest)
        self._audio_ms += chunk.duration_ms
        self._backoffs.pop(attempt.key, None)
        count.success += 1
        count.retries += job.attempts > 1

    def _attempt_failed(self, key: str, job: Job, count: WorkerCount, details: dict[str, Any]) -> None:
        count.failed_retries += 1
        job.last_error = details.get("error")
        backoff = self._backoffs.get(key)
        if backoff is not None:
            details["backoff_s"] = job.last_backoff_s = backoff

    def _write_end(self, attempt: Attempt, label: str, error: str, kind: FailureKind | None = None) -> None:
        """Write the failure of an attempt that nobody else will end."""
        self._remember_ended(attempt)
        job = self.summary.jobs[attempt.key]
        job.last_error = error
        self.summary.workers.setdefault(label, WorkerCount(host=attempt.host)).failed_retries += 1
        details = {"attempt": job.attempts, "error": error} | ({} if kind is None else {"failure_kind": kind.value})
        self._event(replace(attempt, finished_at=now()), EventStatus.FAILURE, label, details)

    def _troubles(self) -> tuple[str, ...]:
        now_s = time.monotonic()
        silent = (f"{worker} silent for {now_s - since_s:.0f} s" for worker, since_s in self._silent.items())
        return (*silent, *(f"{worker} gets no more chunks" for worker in self.retired))

    def _news(self, status: EventStatus, worker: str, key: str, details: dict[str, Any]) -> None:
        if not self._finished:
            self._event(Attempt(key, None, None, host=self._hosts.get(worker)), status, worker, details)

    def _remember_ended(self, attempt: Attempt) -> None:
        self._ended[attempt.token] = None
        if len(self._ended) > _REMEMBERED_ATTEMPTS:
            self._ended.popitem(last=False)

    def _event(self, attempt: Attempt, status: EventStatus, label: str | None, details: dict[str, Any]) -> None:
        chunk = self._chunks[attempt.key]
        self._write(
            ChunkEvent(
                chunk_id=chunk.chunk_id,
                recording_id=chunk.recording_id,
                status=status,
                timestamp=attempt.started_at,
                finished_at=attempt.finished_at if status is not EventStatus.START else None,
                runtime_s=attempt.runtime_s if status is not EventStatus.START else None,
                worker=label,
                host=attempt.host,
                gpu_index=attempt.gpu_index,
                gpu_name=attempt.gpu_name,
                details=details,
            )
        )

    def _write(self, event: ChunkEvent) -> None:
        try:
            self._log.write(event)
        except OSError as error:
            if self.unwritten is None:
                self._next_write = time.monotonic()  # however long the summary takes, it tells when the disk is back
            self.unwritten = error
