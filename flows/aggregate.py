"""The flow that turns a folder of detections into tables."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":  # become `badc infer aggregate`, as flows.infer does
    os.execv(sys.executable, [sys.executable, "-m", "flows", "infer", "aggregate", *sys.argv[1:]])

from prefect import flow

from badc.detections.aggregate import Aggregation
from badc.detections.settings import AggregateSettings
from tasks.aggregate import aggregate_detections
from tasks.plain_log import log_plainly


@flow(name="aggregate", flow_run_name="aggregate {settings.detections_dir.name}", persist_result=False)
def aggregate(settings: AggregateSettings) -> Aggregation:
    """Write the tables of detections and of coverage for a folder of detections."""
    log_plainly()
    return aggregate_detections(settings)
