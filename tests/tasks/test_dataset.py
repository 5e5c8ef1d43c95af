"""What Prefect is told of a dataset: its tables as assets, and that it has been analysed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prefect.assets import Asset

import tasks.show.dataset as module
from badc.datasets.inference.settings import OrchestrateSettings
from badc.detections.aggregate import Aggregation
from badc.telemetry.summary import RunState


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, str], dict[str, Any]]]:
    events: list[tuple[str, dict[str, str], dict[str, Any]]] = []
    monkeypatch.setattr(
        module, "emit_event", lambda event, resource, payload: events.append((event, resource, payload))
    )
    return events


def test_each_table_is_an_asset_with_what_is_in_it(told: Any) -> None:
    tables = [Path(f"/data/ridge/{name}") for name in ("all.csv", "all_coverage.csv", "all.parquet")]
    made = Aggregation(
        chunks=5, detections=7, missing=2, not_chunked=1, analysed_ms=5_400_000, fingerprints=["f1"], written=tables
    )
    module.show_tables(Path("/data/ridge/artifacts/infer"), made)
    assert {event for event, _, _ in told} == {"prefect.asset.materialization.succeeded"}
    assert [(resource["prefect.resource.id"], resource["badc.table"]) for _, resource, _ in told] == [
        ("file:///data/ridge/all.csv", "detections.csv"),
        ("file:///data/ridge/all_coverage.csv", "coverage.csv"),
        ("file:///data/ridge/all.parquet", "detections.parquet"),
    ]
    shared = {"hours": 1.5, "missing_chunks": 2, "fingerprints": ["f1"]}
    assert told[0][2] == {"path": "/data/ridge/all.csv", "rows": 7, **shared}
    assert told[1][2] == {"path": "/data/ridge/all_coverage.csv", "rows": 6, **shared}


def test_a_path_of_any_name_has_a_key(told: Any) -> None:
    for name in ("o'brien [1] é.parquet", "100 %.csv", "x" * 600):
        assert Asset(key=module.asset_key(Path("/data") / name)).key.startswith("file:///data/")


def test_only_a_dataset_that_is_complete_is_analysed(told: Any) -> None:
    settings = OrchestrateSettings(dataset=Path("/data/ridge"))
    for state in RunState:
        module.tell_if_analysed(settings, state)
    (event,) = told
    assert event == (
        "badc.dataset.analysed",
        {"prefect.resource.id": "badc.dataset.ridge", "prefect.resource.name": "ridge"},
        {
            "root": "/data/ridge",
            "detections": "/data/ridge/artifacts/infer",
            "manifests": "/data/ridge/manifests",
        },
    )
