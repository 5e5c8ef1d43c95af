"""How fast a dataset was analysed before, and what follows for the tasks of a job array and their time limit."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from statistics import median

import orjson

from badc.datasets.inference.plan import OrchestrationPlan
from badc.datasets.inference.recording import RecordingToInfer
from badc.datasets.slurm.rendering import notice_s
from badc.errors import numbered
from badc.system.clock import moment
from badc.telemetry.summary import summary_path

_ENOUGH = 20
# What one core reaches with BirdNET (docs/benchmarks.md), where no earlier run tells.
_ASSUMED_SPEED = 50.0
_WORK_OF_A_TASK_S = 1800.0
_START_S = 60.0  # of the job's environment, BADC and the model, generously
_MARGIN = 0.8  # nodes and nights differ


def hours_left(recording: RecordingToInfer) -> float:
    """Return the hours of audio of a recording's chunks that are not done."""
    return recording.audio_ms / 3.6e6 * (1 - recording.done / recording.chunks if recording.chunks else 0)


def seen_speed(plan: OrchestrationPlan) -> float | None:
    """Return how many seconds of audio a second took in earlier runs of this dataset's complete recordings.

    It is the median of some of them; None where there are none, or not of runs from beginning to end.
    """
    found = list(islice(_speeds(plan), _ENOUGH))
    return median(found) if found else None


def _speeds(plan: OrchestrationPlan) -> Iterator[float]:
    for recording in plan.recordings:
        if not recording.chunks or recording.done < recording.chunks:
            continue
        try:
            summary = orjson.loads(summary_path(recording.log).read_bytes())
            jobs = summary["jobs"].values()
            took_s = (moment(summary["updated_at"]) - moment(summary["started_at"])).total_seconds()
            whole = len(jobs) == recording.chunks and all(job["attempts"] for job in jobs)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            continue
        if whole and took_s > 0:
            yield recording.audio_ms / 1000 / took_s


def hours_per_task(plan: OrchestrationPlan) -> float | None:
    """Return up to how many hours of audio a task of an array gets; None if each gets one recording."""
    settings = plan.settings
    if settings.slurm_hours_per_task != "auto":
        return settings.slurm_hours_per_task
    work_s = _WORK_OF_A_TASK_S
    if settings.time_limit_s is not None:
        left_s = settings.time_limit_s - notice_s(settings, settings.grace_period_s) - _START_S
        work_s = min(work_s, max(0.0, left_s * _MARGIN))
    return work_s * (seen_speed(plan) or _ASSUMED_SPEED) / 3600


def notes_on_time(plan: OrchestrationPlan, longest_h: float) -> list[str]:
    """Return what a person should know of the time limit of tasks of which one has so many hours of audio."""
    settings = plan.settings
    if settings.time_limit_s is None:
        return []
    wanted_s = notice_s(settings.model_copy(update={"slurm_time": None}), settings.grace_period_s)
    if settings.time_limit_s < wanted_s + _START_S:
        return [
            f"--slurm-time {settings.slurm_time} leaves a task no time: it takes about a minute to start, and "
            f"{wanted_s} s to end in order"
        ]
    speed = seen_speed(plan)
    if speed is None:
        return []
    needs_s = longest_h * 3600 / speed + _START_S + wanted_s
    if needs_s <= settings.time_limit_s:
        return []
    return [
        f"--slurm-time {settings.slurm_time} is short: a task has {longest_h:.3g} h of audio, for which it needs about "
        f"{needs_s / 3600:.2g} h at {speed:.3g} × real time, the speed of earlier runs here; give it more, or submit "
        f"it {numbered(int(needs_s // settings.time_limit_s) + 1, 'time')}: each does what is left"
    ]
