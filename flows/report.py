"""The flow that turns a table of detections into a bundle of reports."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":  # become `badc report bundle`, as flows.infer does
    os.execv(sys.executable, [sys.executable, "-m", "flows", "report", "bundle", *sys.argv[1:]])

from prefect import flow

from badc.reports.bundle import Bundle
from badc.reports.settings import BundleSettings
from tasks.plain_log import log_plainly
from tasks.report import make_bundle


@flow(name="report", flow_run_name="report {settings.parquet.name}", persist_result=False)
def report(settings: BundleSettings) -> Bundle:
    """Write all reports of a table of detections."""
    log_plainly()
    return make_bundle(settings)
