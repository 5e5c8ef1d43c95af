"""The task of aggregation."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

import badc.aggregate
from badc.aggregate import Aggregation
from badc.settings import AggregateSettings


@task(name="aggregate-detections", cache_policy=NO_CACHE, persist_result=False)
def aggregate_detections(settings: AggregateSettings) -> Aggregation:
    """Write the tables of a folder of detections (see `badc.aggregate.aggregate`)."""
    return badc.aggregate.aggregate(settings)
