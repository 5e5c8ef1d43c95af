"""The summary of a run: what became of each chunk and worker, from which a later run resumes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import orjson

from badc.chunks.manifest import Chunk
from badc.errors import ExitCode, RequestError
from badc.system import atomic
from badc.system.annex import require_content
from badc.system.texts import csv_writer
from badc.telemetry.events import LINE_BEGIN, EventStatus, read_events

_NAME_ONE = "--resume-summary takes a run's *.summary.json or its telemetry *.jsonl"


class RunState(StrEnum):
    """The state of a run."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    INTERRUPTED = "interrupted"

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of a command whose run is in this state; one still running counts as failed."""
        codes = {RunState.COMPLETED: ExitCode.OK, RunState.INTERRUPTED: ExitCode.INTERRUPTED}
        return codes.get(self, ExitCode.FAILED)


class JobStatus(StrEnum):
    """What became of a chunk so far."""

    SUCCESS = "success"
    FAILURE = "failure"
    NOT_RUN = "not_run"


@dataclass(slots=True)
class Job:
    """One chunk's state.

    `retries` counts the attempts that came after a failed one. `output` is the detections file, as the format writes
    paths, or None until there is one. `worker` is the label of the last attempt's worker, `last_backoff_s` the delay
    before the last retry.
    """

    recording_id: str
    status: JobStatus = JobStatus.NOT_RUN
    attempts: int = 0
    retries: int = 0
    output: str | None = None
    worker: str | None = None
    last_backoff_s: float | None = None
    last_error: str | None = None


@dataclass(slots=True)
class WorkerCount:
    """What a worker did.

    `failure` counts chunks that failed for good on it, `retries` chunks that it finished after an earlier attempt had
    failed, and `failed_retries` attempts that failed on it, final or not. `host` is the name of its machine.
    """

    success: int = 0
    failure: int = 0
    retries: int = 0
    failed_retries: int = 0
    host: str | None = None

    @property
    def jobs(self) -> int:
        """Chunks that ended on it."""
        return self.success + self.failure


@dataclass(slots=True)
class RunSummary:
    """The content of a summary file.

    `configuration` is that of the run, `settings` what makes its results, as far as it is known before the first of
    them, and `fingerprint` their digest (see `badc.detections.fingerprint`). `no_output` counts the chunks of this run
    for which its command wrote nothing.
    """

    telemetry_log: str
    manifest: str
    runner: str
    started_at: str
    updated_at: str
    state: RunState = RunState.RUNNING
    workers: dict[str, WorkerCount] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    configuration: dict[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    no_output: int = 0


def summary_path(telemetry_log: Path) -> Path:
    """Return `<telemetry log>.summary.json`."""
    return telemetry_log.with_name(f"{telemetry_log.name}.summary.json")


def resumable(telemetry_log: Path) -> Path | None:
    """Return what a run can resume from: the summary beside a log, the log itself after a hard kill, or None."""
    summary = summary_path(telemetry_log)
    # A killed run leaves a summary older than its log.
    # One in the annex counts, whether or not its content is here.
    newest = [path for path in (summary, telemetry_log) if os.path.lexists(path)]
    if len(newest) == 2 and telemetry_log.lstat().st_mtime > summary.lstat().st_mtime:
        return telemetry_log
    return newest[0] if newest else None


def workers_csv_path(telemetry_log: Path) -> Path:
    """Return `<telemetry log>.summary.json.workers.csv`."""
    return telemetry_log.with_name(f"{telemetry_log.name}.summary.json.workers.csv")


def write_summary(path: Path, summary: RunSummary) -> None:
    """Write a summary atomically."""
    atomic.write_bytes(path, orjson.dumps(summary, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def write_workers_csv(path: Path, workers: Mapping[str, WorkerCount]) -> None:
    """Write the table of the workers atomically."""
    with (
        atomic.replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv_writer(stream)
        writer.writerow(("worker", "jobs", "success", "failure", "retries", "failed_retries", "host"))
        for label, count in sorted(workers.items()):
            writer.writerow((label, count.jobs, *asdict(count).values()))


class EarlierJobs:
    """The jobs of an earlier run by recording id (empty if the file names none) and chunk id, not by its own keys."""

    def __init__(self, jobs: dict[tuple[str, str], Job]) -> None:
        self._jobs = jobs

    def __len__(self) -> int:
        return len(self._jobs)

    def find(self, chunk: Chunk) -> Job | None:
        """Return what the earlier run made of a chunk, or None if it did not have it."""
        return self._jobs.get((chunk.recording_id, chunk.chunk_id)) or self._jobs.get(("", chunk.chunk_id))

    def others(self, chunks: Iterable[Chunk]) -> dict[str, Job]:
        """Return, by key, the jobs of all other chunks: a resumed run's summary keeps them."""
        known = {(recording, chunk.chunk_id) for chunk in chunks for recording in (chunk.recording_id, "")}
        left = {pair: job for pair, job in self._jobs.items() if pair not in known}
        taken = {chunk_id for _, chunk_id in known}
        return {
            f"{rec}/{chunk_id}" if rec and chunk_id in taken else chunk_id: left[rec, chunk_id]
            for rec, chunk_id in left
        }


@dataclass(frozen=True, slots=True)
class RunConfiguration:
    """What a run was: its state, and its configuration as `RunSummary` has it."""

    state: RunState
    values: Mapping[str, Mapping[str, Any]]


def read_configuration(path: Path) -> RunConfiguration:
    """Read what a run was from its `*.summary.json`.

    Raises
    ------
    RequestError
        When the file cannot be read, or does not say.
    """
    require_content([path], "summary")
    try:
        document = orjson.loads(path.read_bytes())
        found = RunConfiguration(RunState(document["state"]), document["configuration"])
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        raise RequestError(f"{path}: does not say how its run was configured") from None
    if not isinstance(found.values, dict) or not all(isinstance(table, dict) for table in found.values.values()):
        raise RequestError(f"{path}: does not say how its run was configured")
    return found


def read_jobs(path: Path) -> EarlierJobs:
    """Read what a run did from its `*.summary.json`, or from its `.jsonl`, which is newer after a `kill -9`.

    Raises
    ------
    RequestError
        When the file cannot be read or is neither.
    """
    require_content([path], "run to resume")
    try:
        if path.suffix == ".jsonl":
            return EarlierJobs(_jobs_of_log(path))
        document = orjson.loads(path.read_bytes())
    except OSError as error:
        raise RequestError(f"{path}: the run to resume cannot be read ({error.strerror})") from None
    except orjson.JSONDecodeError as error:
        raise RequestError(f"{path}: not JSON ({error}); {_NAME_ONE}") from None
    jobs = document.get("jobs") if isinstance(document, dict) else None
    if not isinstance(jobs, dict):
        raise RequestError(f"{path}: not the summary of a run (it has no 'jobs'); {_NAME_ONE}")
    return EarlierJobs(dict(_job(path, key, raw) for key, raw in jobs.items()))


def _job(path: Path, key: str, raw: object) -> tuple[tuple[str, str], Job]:
    try:
        if not isinstance(raw, dict):
            raise TypeError("not an object")
        values = {name: value for name, value in raw.items() if name in Job.__dataclass_fields__}
        job = Job(**{"recording_id": "", **values, "status": JobStatus(raw["status"])})
        if not isinstance(job.recording_id, str):
            raise TypeError("recording_id is not text")
    except (TypeError, KeyError, ValueError):
        raise RequestError(f"{path}: the job '{key}' has no valid status; {_NAME_ONE}") from None
    return (job.recording_id, key.removeprefix(f"{job.recording_id}/")), job


def _jobs_of_log(path: Path) -> dict[tuple[str, str], Job]:
    jobs: dict[tuple[str, str], Job] = {}
    for event in read_events(path):
        if event.status.is_of_worker:
            continue
        job = jobs.setdefault((event.recording_id, event.chunk_id), Job(event.recording_id))
        _apply(job, event.status, event.details, event.worker)
    if not jobs and not _is_begun(path):
        raise RequestError(f"{path}: holds no telemetry events; {_NAME_ONE}")
    return jobs


def _is_begun(path: Path) -> bool:
    """Whether a log without events is one all the same: empty, or killed while its first line was written."""
    with path.open("rb") as stream:
        first = stream.readline().rstrip(b"\n")
    return first.startswith(LINE_BEGIN) or LINE_BEGIN.startswith(first)


def _apply(job: Job, status: EventStatus, details: dict[str, Any], worker: str | None) -> None:
    job.worker = worker or job.worker
    if status is EventStatus.START:
        job.attempts += 1
        return
    if status is EventStatus.FAILURE:
        # A late failure, of a worker thought lost, does not undo a success; the output is checked anyway.
        if job.status is not JobStatus.SUCCESS:
            job.status = JobStatus.FAILURE
        job.last_error = details.get("error")
        job.last_backoff_s = details.get("backoff_s")
        return
    job.status, job.last_error = JobStatus.SUCCESS, None
    job.output = details.get("output")
    job.retries = max(0, job.attempts - 1)
