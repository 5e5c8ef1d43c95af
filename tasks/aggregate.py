"""The Prefect task that makes tables of detections."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from badc.datasets.not_chunked import not_chunked_beside
from badc.detections.aggregate import Aggregation, aggregate
from badc.detections.settings import AggregateSettings
from badc.errors import listed
from tasks.show.artifacts import artifact_key, folder_title, show_files
from tasks.show.dataset import show_tables


@task(name="aggregate-detections", cache_policy=NO_CACHE, persist_result=False)
def aggregate_detections(settings: AggregateSettings) -> Aggregation:
    """Write the tables of a folder of detections, and show in Prefect what they hold."""
    made = aggregate(settings, not_chunked=not_chunked_beside(settings))
    name = folder_title(settings.detections_dir)
    unusable = [f"{path}: {reason}" for path, reason in made.bad_files]
    lines = [*made.notes, f"{made.describe()}.", *listed(unusable, made.bad).splitlines()]
    show_files(f"aggregate-{artifact_key(name)}", f"Tables of {name}", lines, made.written)
    show_tables(settings.detections_dir, made)
    return made
