"""`badc infer orchestrate --slurm-status`: how far a job array is, and what to submit again."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from badc.errors import numbered
from flows.cli.console import counting, print_json, print_table

if TYPE_CHECKING:
    from badc.datasets.inference.array_status import ArrayStatus, RecordingStatus
    from badc.datasets.inference.settings import OrchestrateSettings

_MOST_SHOWN = 50


def show_status(settings: OrchestrateSettings, as_json: bool) -> int:
    """Print how far the array of `slurm_script` is; return 1 if something of it failed, else 0."""
    from badc.datasets.inference.array_status import TaskState, array_script, array_status
    from badc.datasets.inference.plan import plan_orchestration
    from badc.datasets.slurm.tasks import tasks_path

    script = array_script(settings.slurm_script)
    asked = {"chunk_plan": tasks_path(script), "pattern": (), "limit": None, "include_existing": False}
    with counting("manifests looked at") as show:
        plan = plan_orchestration(settings.model_copy(update=asked), show)
    status = array_status(plan, script)
    if as_json:
        print_json([{**asdict(each), "log": each.log and str(each.log)} for each in status.recordings])
    else:
        _print(status)
    return int(any(each.state is TaskState.FAILED for each in status.recordings))


def _print(status: ArrayStatus) -> None:
    from badc.datasets.inference.array_status import TaskState

    tasks: dict[TaskState, set[int]] = defaultdict(set)
    hours: dict[TaskState, float] = defaultdict(float)
    numbers: dict[TaskState, int] = defaultdict(int)
    for each in status.recordings:
        tasks[each.state].add(each.task)
        hours[each.state] += each.audio_h
        numbers[each.state] += 1
    columns = ("state", "recordings", "tasks", "hours left")
    found = [(s.value, numbers[s], len(tasks[s]), round(hours[s], 2)) for s in TaskState if numbers[s]]
    print_table([dict(zip(columns, row, strict=True)) for row in found], "Array")
    left = sum(hours.values())
    if left and status.speed:
        work = f"about {left / status.speed:.2g} h of work at {status.speed:.3g} × real time"
        print(f"{left:.3g} h of audio left, {work}", file=sys.stderr)
    if not status.knows_queue:
        print("badc: Slurm's squeue is not here: what waits or runs counts as failed or not submitted", file=sys.stderr)
    _print_failed([each for each in status.recordings if each.state in (TaskState.FAILED, TaskState.RUNNING)])
    if status.submit_again:
        print("Submit what is not done and not in the queue with:", file=sys.stderr)
        for line in status.submit_again:
            print(line)


def _print_failed(recordings: Sequence[RecordingStatus]) -> None:
    """Print those that failed, and after them those that run."""
    rows = [
        {"task": r.task, "recording": r.recording_id, "state": r.state.value, "why": r.why, "log": str(r.log or "")}
        for r in sorted(recordings, key=lambda r: r.state)[:_MOST_SHOWN]
    ]
    if rows:
        print_table(rows, "Failed and running")
    if len(recordings) > len(rows):
        print(f"… and {numbered(len(recordings) - len(rows), 'more recording')}; --json has all", file=sys.stderr)
