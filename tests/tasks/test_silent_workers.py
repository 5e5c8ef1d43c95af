"""Workers that do not report: one event when it has been too long, one when they are heard again."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.slow


class Books:
    """Stands for a ledger: what it says of the running chunks is set by the test."""

    def __init__(self) -> None:
        self.open: list[tuple[str, str, str]] = []
        self.slowest: list[tuple[float, str]] = []

    def running(self) -> list[tuple[str, str, str]]:
        return self.open


def test_a_worker_is_silent_once_and_then_heard(prefect_api: str) -> None:
    from prefect import flow

    from tasks.silent_workers import HEARD, SILENT, SilentWorkers

    said: list[str] = []
    ids: list[str] = []

    @flow(name="watching", persist_result=False)
    def watching() -> None:
        from prefect.runtime import flow_run

        ids.append(str(flow_run.id))
        books = Books()
        watch = SilentWorkers(books, said.append, least_silence_s=0.2)  # type: ignore[arg-type]
        now = datetime.now(UTC).isoformat()
        books.open = [("gpu-0", "REC_chunk_0", now), ("gpu-1", "REC_chunk_1", now)]
        watch.look()
        assert said == []
        time.sleep(0.3)
        books.open[1] = ("gpu-1", "REC_chunk_2", datetime.now(UTC).isoformat())
        watch.look()
        time.sleep(0.3)
        books.slowest = [(60.0, "REC_chunk_3")]  # now a minute is nothing unusual
        watch.look()
        assert len(said) == 1
        books.open = []
        time.sleep(0.3)
        watch.look()

    watching()
    assert said[0].startswith("gpu-0: no report for ")
    found = events(prefect_api, ids[0])
    assert [(e["event"], e["resource"]["prefect.resource.id"]) for e in found] == [
        (SILENT, "badc.worker.gpu-0"),
        (HEARD, "badc.worker.gpu-0"),
    ]
    assert found[0]["payload"]["chunk"] == "REC_chunk_0"


def events(url: str, run_id: str) -> list[dict[str, Any]]:
    """Both events of a flow run, as soon as the server has them."""
    wanted = {"event": {"prefix": ["badc.worker."]}, "related": {"id": [f"prefect.flow-run.{run_id}"]}}
    user, _, password = os.environ["PREFECT_API_AUTH_STRING"].partition(":")
    end = time.monotonic() + 30
    while True:
        answer = httpx.post(
            f"{url}/events/filter", json={"filter": wanted, "limit": 50}, auth=(user, password), timeout=30
        )
        found: list[dict[str, Any]] = answer.raise_for_status().json()["events"]
        if len(found) == 2 or time.monotonic() > end:
            return sorted(found, key=lambda event: str(event["occurred"]))
        time.sleep(0.3)
