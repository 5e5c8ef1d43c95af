"""The Prefect tasks that make reports: a bundle of them, and the page of all recordings of a dataset."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

import badc.reports.bundle
from badc.datasets.inference.of_all import write_page_of_all
from badc.datasets.inference.settings import OrchestrateSettings
from badc.reports.bundle import Bundle
from badc.reports.settings import BundleSettings
from tasks.show.artifacts import artifact_key, folder_title, show_files


@task(name="make-bundle", cache_policy=NO_CACHE, persist_result=False)
def make_bundle(settings: BundleSettings) -> Bundle:
    """Write all reports of a table of detections (see `badc.reports.bundle.make_bundle`), and link to them."""
    made = badc.reports.bundle.make_bundle(settings)
    name = f"{folder_title(settings.folder)}/{settings.prefix}"
    show_files(f"report-{artifact_key(name)}", f"Reports of {settings.prefix}", made.notes, made.written)
    return made


@task(name="make-page-of-all", cache_policy=NO_CACHE, persist_result=False)
def make_page_of_all(settings: OrchestrateSettings) -> Path:
    """Write the page of all recordings of a dataset, and link to it."""
    page = write_page_of_all(settings)
    show_files(f"report-{artifact_key(settings.title)}", f"Report of {settings.title}", [], [page])
    return page
