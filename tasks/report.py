"""The task of reporting."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

import badc.reports.bundle
from badc.reports.bundle import Bundle
from badc.reports.settings import BundleSettings


@task(name="make-bundle", cache_policy=NO_CACHE, persist_result=False)
def make_bundle(settings: BundleSettings) -> Bundle:
    """Write all reports of a table of detections (see `badc.reports.bundle.make_bundle`)."""
    return badc.reports.bundle.make_bundle(settings)
