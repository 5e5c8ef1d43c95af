"""Workers that start while recordings are chunked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from badc.errors import RequestError
from badc.inference.settings import InferOptions
from flows.run import workers_ahead
from flows.run.workers_ahead import WorkersAhead
from tasks.workers.cluster import Cluster


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happens to the cluster: real ones take seconds."""
    seen: list[str] = []

    @contextmanager
    def opened(settings: InferOptions, chunks: int | None = None) -> Iterator[Cluster]:
        seen.append("opened" if threading.current_thread() is not threading.main_thread() else "opened in front")
        yield Cluster("tcp://x", {}, "one worker")
        seen.append("closed")

    monkeypatch.setattr(workers_ahead, "open_cluster", opened)
    return seen


def test_they_start_behind_what_is_done_meanwhile_and_once(events: list[str]) -> None:
    with WorkersAhead(InferOptions()) as workers:
        workers.start()
        workers.start()
        assert workers.ready() is workers.ready()
        assert events == ["opened"]
    assert events == ["opened", "closed"]


def test_nothing_starts_that_nobody_asks_for(events: list[str]) -> None:
    with WorkersAhead(InferOptions()):
        pass
    assert events == []


def test_what_was_started_for_nothing_ends_too(events: list[str]) -> None:
    with WorkersAhead(InferOptions()) as workers:
        workers.start()
    assert events == ["opened", "closed"]


def test_a_failed_start_is_raised_where_the_workers_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def refused(settings: InferOptions, chunks: int | None = None) -> Iterator[Cluster]:
        raise RequestError("no scheduler answers")
        yield

    monkeypatch.setattr(workers_ahead, "open_cluster", refused)
    with WorkersAhead(InferOptions()) as workers:
        workers.start()
        with pytest.raises(RequestError, match="no scheduler answers"):
            workers.ready()
