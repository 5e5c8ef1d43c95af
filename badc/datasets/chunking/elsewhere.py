"""What a dataset's chunking needs of manifests and chunk statuses that are in the annex, and not here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from badc.datalad.content import fetch
from badc.datasets.chunking.decision import ChunkDecision
from badc.datasets.chunking.plan import DatasetPlan, Progress, plan_dataset
from badc.datasets.chunking.settings import ChunkSettings
from badc.errors import RequestError, numbered
from badc.system.annex import ContentElsewhereError, size_of_content
from badc.system.paths import find_dataset_root


def plan_with_manifests(
    settings: ChunkSettings,
    fetching: bool,
    say: Callable[[str], None],
    on_progress: Progress = lambda what, done, total: None,
) -> DatasetPlan:
    """Plan a run, and first get the manifests and chunk statuses whose content is not here, if `fetching`.

    Raises as `plan_dataset` and `fetch`.
    """
    while True:  # a chunk status is looked for once its manifest could be read
        try:
            return plan_dataset(settings, fetching, on_progress)
        except ContentElsewhereError as error:
            if not fetching or not fetch_control_files(settings.root, error.paths, say):
                raise


def fetch_control_files(root: Path, paths: Iterable[Path], say: Callable[[str], None]) -> int:
    """Get manifests and chunk statuses whose content is not here; return how many, and say it. Raises as `fetch`."""
    if number := fetch(find_dataset_root(root) or root, paths):
        say(f"{numbered(number, 'manifest or chunk status', 'manifests and chunk statuses')} fetched")
    return number


def require_room(plan: DatasetPlan, disk_limit: int | None) -> None:
    """Raise RequestError if chunking would fetch more than `disk_limit` bytes of audio, none of which it drops."""
    paths = [plan.order.audio_of(r.audio) for r in plan.todo if r.decision is ChunkDecision.FETCH]
    fetched = sum(size_of_content(path) or 0 for path in paths)
    if disk_limit is not None and fetched > disk_limit:
        raise RequestError(
            f"--disk-limit: {numbered(len(paths), 'recording')} would be fetched to be chunked, {fetched / 1e9:.3g} "
            "GB, and only what is fetched to be analysed is dropped again. Chunk fewer at a time with --chunk-limit, "
            "and drop them with `datalad drop` afterwards"
        )
