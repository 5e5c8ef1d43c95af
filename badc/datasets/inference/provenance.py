"""The DataLad record of a dataset's inference: what it needs, and how it is made."""

from __future__ import annotations

from collections.abc import Callable

from badc.datalad.content import fetch
from badc.datalad.record import record
from badc.datalad.run import DataladRun
from badc.datalad.worktree import require_clean
from badc.datasets.inference.plan import OrchestrationPlan
from badc.datasets.inference.recording import RecordingToInfer
from badc.errors import numbered
from badc.inference.provenance import infer_run


def require_recordable(plan: OrchestrationPlan) -> None:
    """Refuse runs in a dataset that is not saved where they read and write.

    Raises
    ------
    RequestError
        With the list of the files, or when part of a run lies outside the dataset.
    """
    # The next run resumes from what an interrupted one left behind.
    require_clean([_run(plan, r) for r in plan.todo], outputs_may_differ=plan.settings.resume_completed)


def fetch_inputs(plan: OrchestrationPlan, recording: RecordingToInfer, say: Callable[[str], None]) -> None:
    """Get the content of what a recording's run reads, unless it is here; raises BadcError if that fails."""
    run = _run(plan, recording)
    resumed = plan.infer_settings(recording).resume_summary
    number = fetch(run.root, [*run.inputs, *([] if resumed is None else [resumed])])
    if number:
        say(f"{recording.recording_id}: {numbered(number, 'dropped file')} fetched")


def record_recording(plan: OrchestrationPlan, recording: RecordingToInfer) -> str | None:
    """Record a recording's completed run; return the commit, or None if nothing changed. DataladError if that fails."""
    return record(_run(plan, recording))


def _run(plan: OrchestrationPlan, recording: RecordingToInfer) -> DataladRun:
    settings = plan.settings.infer_settings(recording.manifest, recording.log, resume=None)
    return infer_run(settings, rerunnable=True)
