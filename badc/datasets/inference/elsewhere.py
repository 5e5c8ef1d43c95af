"""What a dataset's inference needs of content that is not here, in the annex: said, or fetched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from badc.datalad.content import fetch
from badc.datalad.environment import recording_wanted
from badc.datasets.attributes import attributes_note
from badc.datasets.chunking.elsewhere import fetch_control_files
from badc.datasets.inference.plan import OrchestrationPlan, plan_orchestration
from badc.datasets.inference.recording import RecordingToInfer
from badc.datasets.inference.settings import OrchestrateSettings
from badc.errors import numbered
from badc.system.annex import get_line
from badc.system.paths import find_dataset_root


def plan_with_content(
    settings: OrchestrateSettings,
    say: Callable[[str], None],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> OrchestrationPlan:
    """Plan a run, and first get the manifests and chunk statuses whose content is not here, where runs are recorded.

    Raises as `plan_orchestration` and `fetch`.
    """
    plan = plan_orchestration(settings, on_progress)
    lacking = [path for recording in plan.recordings for path in recording.lacks]
    if not lacking or not recording_wanted(plan.settings.root, settings.record_datalad)[0]:
        return plan
    fetch_control_files(plan.settings.root, lacking, say)
    again = plan_orchestration(settings, on_progress)
    # A chunk status is looked for once its manifest could be read.
    statuses = [path for recording in again.recordings for path in recording.lacks]
    if not statuses:
        return again
    _fetched(plan.settings.root, statuses)
    return plan_orchestration(settings, on_progress)


def fetch_outputs(plan: OrchestrationPlan, recording: RecordingToInfer) -> None:
    """Get the results of a recording whose content is not here, where runs are recorded; raises as `fetch`."""
    settings = plan.settings
    if recording.elsewhere and recording_wanted(settings.root, settings.record_datalad)[0]:
        _fetched(settings.root, (settings.below(settings.output_dir) / recording.recording_id).iterdir())


def content_notes(plan: OrchestrationPlan) -> Iterator[str]:
    """Yield what a person should know of where the dataset's content is, and is kept."""
    settings = plan.settings
    if number := sum(recording.elsewhere for recording in plan.recordings):
        yield (
            f"{numbered(number, 'output is', 'outputs are')} done, content elsewhere: not compared with what is asked "
            f"for; {get_line([settings.below(settings.output_dir)])}"
        )
    if (note := attributes_note(settings.root)) is not None:
        yield note


def _fetched(root: Path, paths: Iterable[Path]) -> int:
    return fetch(find_dataset_root(root) or root, paths)
