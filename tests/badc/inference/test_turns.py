"""How many threads get at a process's runner at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from badc.inference import turns as module
from badc.inference import worker
from badc.inference.turns import Turns


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When the process's runner was closed."""
    times: list[float] = []
    monkeypatch.setattr(module, "close_runner", lambda: times.append(time.monotonic()))
    return times


class Crowd:
    """Threads that each hold a turn until they are let go; `inside` names those that have one."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.inside: list[str] = []
        self._go: dict[str, threading.Event] = {}
        self._threads: list[threading.Thread] = []

    def add(self, name: str, runner: str = "a", at_once: int = 3, alone: bool = False) -> None:
        go = self._go[name] = threading.Event()

        def hold() -> None:
            with self.turns.one(runner, at_once, alone):
                self.inside.append(name)
                go.wait(10)
                self.inside.remove(name)

        self._threads.append(threading.Thread(target=hold))
        self._threads[-1].start()
        time.sleep(0.05)

    def let_go(self, *names: str) -> None:
        for name in names:
            self._go[name].set()
        time.sleep(0.1)

    def end(self) -> None:
        for go in self._go.values():
            go.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    crowd = Crowd(Turns())
    yield crowd
    crowd.end()


def test_no_more_than_are_allowed_get_in(crowd: Crowd) -> None:
    for name in "1234":
        crowd.add(name)
    assert sorted(crowd.inside) == ["1", "2", "3"]
    crowd.let_go("2")
    assert sorted(crowd.inside) == ["1", "3", "4"]


def test_who_is_to_be_alone_waits_for_all_and_nobody_joins_or_overtakes(crowd: Crowd) -> None:
    crowd.add("1")
    crowd.add("alone", alone=True)
    crowd.add("late")
    assert crowd.inside == ["1"]
    crowd.let_go("1")
    assert crowd.inside == ["alone"]
    crowd.let_go("alone")
    assert crowd.inside == ["late"]


def test_another_runner_waits_until_the_first_is_free(crowd: Crowd) -> None:
    crowd.add("1")
    crowd.add("other", runner="b")
    assert crowd.inside == ["1"]
    crowd.let_go("1")
    assert crowd.inside == ["other"]


def test_a_lower_number_holds_from_then_on_and_for_that_runner(crowd: Crowd) -> None:
    crowd.turns.lower("a", 2, "too little memory")
    crowd.turns.lower("a", 3, "an old thought")
    assert crowd.turns.now("a", 3) == module.Turn(2, "too little memory")
    assert crowd.turns.now("a", 1) == module.Turn(1, None)
    assert crowd.turns.now("b", 3) == module.Turn(3, None)
    for name in "123":
        crowd.add(name)
    assert sorted(crowd.inside) == ["1", "2"]


def test_a_number_that_is_lowered_while_chunks_are_in_the_runner_renews_it_when_they_are_done(
    crowd: Crowd, closed: list[float]
) -> None:
    crowd.add("1")
    crowd.add("2")
    crowd.turns.lower("a", 2, "too little memory")
    crowd.add("3")
    crowd.let_go("1")
    assert (crowd.inside, closed) == (["2"], [])
    crowd.let_go("2")
    assert (crowd.inside, len(closed)) == (["3"], 1)


def test_a_runner_to_be_renewed_is_closed_when_it_is_empty_and_not_before(crowd: Crowd, closed: list[float]) -> None:
    crowd.add("1")
    crowd.add("2")
    crowd.turns.renew()
    crowd.add("3")
    crowd.let_go("1")
    assert (crowd.inside, closed) == (["2"], [])
    crowd.let_go("2")
    assert crowd.inside == ["3"]
    assert len(closed) == 1


def test_a_chunk_whose_turn_comes_after_the_stop_is_not_begun(plan) -> None:
    """As one that waits on a worker for the chunk before it."""
    made = plan(seconds=1)
    order, stopped, ended = made.order, threading.Event(), []
    with worker._turns.one(order.runner, order.at_once.cpu):
        waiting = threading.Thread(
            target=lambda: ended.append(
                worker.infer_chunks(made.todo, order, lambda attempt: None, lambda: not stopped.is_set())
            )
        )
        waiting.start()
        waiting.join(0.3)
        stopped.set()
    waiting.join(10)
    assert ended == [[]]
