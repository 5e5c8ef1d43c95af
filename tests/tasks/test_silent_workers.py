"""Workers that do not report, or give no sign of life: said when it has been too long, and when it is over."""

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
        self.news: list[tuple[object, ...]] = []

    def running(self) -> list[tuple[str, str, str]]:
        return self.open

    def named(self, worker: str) -> str:
        return f"{worker} on node1"

    def worker_is_silent(self, worker: str, key: str, silent_s: float, limit_s: float | None) -> None:
        self.news.append(("silent", worker, key, silent_s, limit_s))

    def worker_is_heard(self, worker: str, key: str, silent_s: float) -> None:
        self.news.append(("heard", worker, key, silent_s))

    def worker_is_gone(self, worker: str) -> None:
        self.news.append(("gone", worker))


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
        watch = SilentWorkers(books, said.append, lambda worker: 0.0, 120.0, least_silence_s=0.2)  # type: ignore[arg-type]
        # By the clocks of machines that never had their time set, which must not count.
        books.open = [
            ("gpu-0", "REC_chunk_0", "1970-01-01T00:00:09Z"),
            ("gpu-1", "REC_chunk_1", "2099-01-01T00:00:00Z"),
        ]
        watch.look()
        assert said == []
        time.sleep(0.3)
        books.open[1] = ("gpu-1", "REC_chunk_2", "2099-01-01T00:00:09Z")
        watch.look()
        time.sleep(0.3)
        books.slowest = [(60.0, "REC_chunk_3")]  # now a minute is nothing unusual
        watch.look()
        assert len(said) == 1
        books.open = []
        time.sleep(0.3)
        watch.look()

    watching()
    assert said[0].startswith("gpu-0 on node1: no report for ")
    found = events(prefect_api, ids[0])
    assert [(e["event"], e["resource"]["prefect.resource.id"]) for e in found] == [
        (SILENT, "badc.worker.gpu-0"),
        (HEARD, "badc.worker.gpu-0"),
    ]
    assert found[0]["payload"]["chunk"] == "REC_chunk_0"


def test_a_worker_without_signs_of_life_is_said_and_what_becomes_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import tasks.silent_workers as module

    told: list[tuple[str, str, str]] = []
    monkeypatch.setattr(module, "tell_of_worker", lambda *words: told.append(words))
    monkeypatch.setattr(module, "_LOOK_INTERVAL_S", 0.0)
    said: list[str] = []
    books, now = Books(), datetime.now(UTC).isoformat()
    books.open = [("gpu-0", "A", now), ("gpu-0", "B", now), ("gpu-1", "C", now), ("gpu-2", "D", now)]
    silences: dict[str, float | None] = {"gpu-0": 29.0, "gpu-1": 31.0, "gpu-2": 1.0}
    watch = module.SilentWorkers(books, said.append, silences.get, 120.0)  # type: ignore[arg-type]
    watch.look()
    silences |= {"gpu-0": 32.0, "gpu-1": 34.0}
    watch.look()
    silences |= {"gpu-0": 0.5, "gpu-1": None}
    watch.look()
    watch.look()
    assert said == [
        "gpu-1 on node1: silent for 31 s; its chunks run again within 89 s",
        "gpu-0 on node1: silent for 32 s; its chunks run again within 88 s",
        "gpu-1 on node1: given up after 34 s; its chunks run again",
        "gpu-0 on node1: gives signs of life again, after 32 s",
    ]
    assert books.news == [
        ("silent", "gpu-1", "C", 31.0, 120.0),
        ("silent", "gpu-0", "B", 32.0, 120.0),
        ("gone", "gpu-1"),
        ("heard", "gpu-0", "B", 32.0),
    ]
    assert [event for event, *_ in told] == [module.SILENT, module.SILENT, module.HEARD]


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
