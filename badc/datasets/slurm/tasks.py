"""The tasks of a job array: which recordings each of them analyses, in a table beside the script."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from badc.system.row_files import PlanRow


class TaskRow(PlanRow):
    """One recording of a task; a task of several has as many rows, one after the other.

    Paths are relative to the dataset's root, or absolute outside of it. `chunks` and `audio_h`, hours of audio, are
    what was left to do when the array was written.
    """

    task: int
    recording_id: str
    manifest_path: str
    telemetry_log: str
    chunks: int
    audio_h: float


def tasks_path(script: Path) -> Path:
    """Return the path of the table of a script's tasks."""
    return script.with_suffix(".tasks.csv")


def packed(audio_h: Sequence[float], hours_per_task: float | None) -> list[int]:
    """Return the number of the task of each recording, given its hours of audio, in the order of the recordings.

    A task gets recordings up to `hours_per_task`, and at least one; without that limit, each recording has its own.
    """
    numbers: list[int] = []
    task, hours = -1, 0.0
    for each in audio_h:
        if task < 0 or hours_per_task is None or hours + each > hours_per_task:
            task, hours = task + 1, 0.0
        hours += each
        numbers.append(task)
    return numbers


def longest_task_h(rows: Sequence[TaskRow]) -> float:
    """Return the hours of audio of the task that has most."""
    hours: dict[int, float] = defaultdict(float)
    for row in rows:
        hours[row.task] += row.audio_h
    return max(hours.values())
