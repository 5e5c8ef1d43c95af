"""What a dataset's chunking needs of manifests and chunk statuses that are in the annex, and not here."""

from __future__ import annotations

from collections.abc import Callable

from badc.datalad.content import fetch
from badc.datasets.chunking.plan import DatasetPlan, Progress, plan_dataset
from badc.datasets.chunking.settings import ChunkSettings
from badc.errors import numbered
from badc.system.annex import ContentElsewhereError
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
            number = fetch(find_dataset_root(settings.root) or settings.root, error.paths) if fetching else 0
            if not number:
                raise
        say(f"{numbered(number, 'manifest or chunk status', 'manifests and chunk statuses')} fetched")
