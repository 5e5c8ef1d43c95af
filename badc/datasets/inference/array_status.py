"""How far a job array of a dataset's inference is: each recording by what its outputs, its log and Slurm say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from badc.datasets.inference.plan import OrchestrationPlan
from badc.datasets.inference.recording import InferDecision, RecordingToInfer
from badc.datasets.inference.speed import hours_left, seen_speed
from badc.datasets.slurm.array_script import submit_lines
from badc.datasets.slurm.queue import BY_SLURM, TaskLog, ends_in_accounts, logs_of, queued
from badc.datasets.slurm.rendering import log_folder
from badc.datasets.slurm.tasks import TaskRow, tasks_path
from badc.errors import RequestError, in_a_line
from badc.system.paths import absolute
from badc.system.row_files import read_plan

_OUTCOMES = "recording\tstate\t"  # how the head of a run's table begins


class TaskState(StrEnum):
    """What becomes of a recording of a job array."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    OPEN = "not submitted"


@dataclass(frozen=True, slots=True)
class RecordingStatus:
    """A recording of a job array. `audio_h` are the hours of its audio that are left, `log` that of its last task."""

    task: int
    recording_id: str
    state: TaskState
    audio_h: float
    why: str
    log: Path | None


@dataclass(frozen=True, slots=True)
class ArrayStatus:
    """How far a job array is. `speed` is what `seen_speed` says; without Slurm, what waits is not known."""

    recordings: Sequence[RecordingStatus]
    submit_again: Sequence[str]
    speed: float | None
    knows_queue: bool


def array_script(script: Path | None) -> Path:
    """Return the path of an array's script, absolute; RequestError if it is not given, or has no table of tasks."""
    if script is None:
        raise RequestError("--slurm-status: name the array's script with --slurm-script")
    path = absolute(script)
    if not tasks_path(path).is_file():
        raise RequestError(f"{tasks_path(path)}: no such table of tasks; --slurm-script writes it with the array")
    return path


def array_status(plan: OrchestrationPlan, script: Path) -> ArrayStatus:
    """Return how far the array of a script is; `plan` is that of its recordings, and knows what is done."""
    settings = plan.settings
    rows = read_plan(tasks_path(script), TaskRow)
    logs = logs_of(script, log_folder(settings, script), settings.slurm_job_name)
    accounts = ends_in_accounts(log.job for log in logs.values())
    logs = {task: replace(log, why=accounts.get(log.job) or log.why) for task, log in logs.items()}
    queue = queued(script)
    known = {recording.recording_id: recording for recording in plan.recordings}
    found = [_status(row, known.get(row.recording_id), logs.get(row.task), (queue or {}).get(row.task)) for row in rows]
    again = {r.task for r in found if r.state in (TaskState.FAILED, TaskState.OPEN)}
    busy = {r.task for r in found if r.state in (TaskState.WAITING, TaskState.RUNNING)}
    lines = submit_lines(script, sorted(again - busy), settings.slurm_max_array)
    return ArrayStatus(found, lines, seen_speed(plan), queue is not None)


def _status(
    row: TaskRow, recording: RecordingToInfer | None, log: TaskLog | None, queue: str | None
) -> RecordingStatus:
    path = None if log is None else log.path
    if recording is None:
        return RecordingStatus(row.task, row.recording_id, TaskState.FAILED, row.audio_h, "its manifest is gone", path)
    left = hours_left(recording)

    def is_(state: TaskState, why: str) -> RecordingStatus:
        return RecordingStatus(row.task, row.recording_id, state, left, why, path)

    if recording.decision is InferDecision.SKIP:
        return is_(TaskState.DONE, "")
    if queue == "PENDING":
        return is_(TaskState.WAITING, "")
    if queue is not None:
        return is_(TaskState.RUNNING, f"{recording.done} of {recording.chunks} chunks")
    if log is None:
        return is_(TaskState.OPEN, "no task of it has a log")
    return is_(TaskState.FAILED, _why(recording, log))


def _why(recording: RecordingToInfer, log: TaskLog) -> str:
    """Return why a recording is not done though its task ended: what its row in the log says, and the task's end."""
    # The table of what became of the recordings, and not that of the plan, which comes first.
    outcomes = log.text.rpartition(f"\n{_OUTCOMES}")[2].splitlines() if f"\n{_OUTCOMES}" in log.text else []
    rows = [line.split("\t") for line in outcomes if line.startswith(f"{recording.recording_id}\t")]
    if rows and rows[-1][-1]:
        return "; ".join([rows[-1][-1], *([log.why] if log.why.startswith(BY_SLURM) else [])])
    if recording.decision is InferDecision.REFUSE:
        return in_a_line(recording.reason)
    return log.why or "its task ended without a word, as after a kill"
