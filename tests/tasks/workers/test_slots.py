"""Slots: a task for each that a worker can do now, and the next one ahead for a worker that is quick."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from threading import Event

import pytest

import tasks.workers.slots as module
from tasks.workers.slots import WorkerSlots


def once(*answers: bool) -> Callable[[], bool]:
    """Return a function that says yes once, so that a wait for a slot ends at once."""
    left = [True, *answers]
    return lambda: left.pop(0) if left else False


def taken(slots: WorkerSlots, stack: ExitStack) -> list[str]:
    """Take every slot that is free; return their workers."""
    workers = []
    while True:
        try:
            workers.append(stack.enter_context(slots.one(once())))
        except CancelledError:
            return workers


def test_a_worker_has_as_many_as_its_threads_but_for_the_spare_one() -> None:
    slots = WorkerSlots(lambda: {"gpu": 4, "cpu": 2}, most_at_once=3, spare_threads=1)
    slots.workers()
    assert slots.count() == 4
    with ExitStack() as stack:
        assert sorted(taken(slots, stack)) == ["cpu", "gpu", "gpu", "gpu"]


def test_the_emptiest_worker_is_next() -> None:
    slots = WorkerSlots(lambda: {"a": 4, "b": 4}, most_at_once=2)
    with ExitStack() as stack:
        first = [stack.enter_context(slots.one(once())) for _ in range(2)]
        assert sorted(first) == ["a", "b"]


def test_a_quick_worker_gets_the_next_ahead_and_a_slow_one_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    slots = WorkerSlots(lambda: {"quick": 2, "slow": 2}, spare_threads=1)
    now = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    with slots.one(once(), "quick"):
        now += 1.9
    with slots.one(once(), "slow"):
        now += 2.1
    with ExitStack() as stack:
        assert sorted(taken(slots, stack)) == ["quick", "quick", "slow"]
    with slots.one(once(), "quick"):
        with slots.one(once(), "quick"):
            now += 3.8  # of which it waited half for the one before
        assert slots.count() == 4
    with slots.one(once(), "quick"):
        now += 2.1
    assert slots.count() == 3


def test_without_a_spare_thread_nothing_is_ahead() -> None:
    slots = WorkerSlots(lambda: {"a": 1})
    for _ in range(3):
        with slots.one(once(), "a"), ExitStack() as stack:
            assert taken(slots, stack) == []


def test_a_limit_counts_and_so_does_the_next_ahead() -> None:
    slots = WorkerSlots(lambda: {"gpu": 4}, most_at_once=3, spare_threads=1)
    slots.limit("gpu", 1)
    with slots.one(once()), ExitStack() as stack:
        assert taken(slots, stack) == []
    with ExitStack() as stack:
        assert len(taken(slots, stack)) == 2


def test_a_preferred_worker_that_is_gone_is_any() -> None:
    slots = WorkerSlots(lambda: {"a": 1})
    with slots.one(once(), "gone") as worker:
        assert worker == "a"


def test_an_avoided_worker_is_taken_only_if_there_is_no_other() -> None:
    slots = WorkerSlots(lambda: {"a": 1, "b": 1})
    with slots.one(once(), avoided={"a"}) as first:
        assert first == "b"
        with pytest.raises(CancelledError):  # it waits for b, though a is free
            slots.one(once(), avoided={"a"}).__enter__()
    with slots.one(once(), avoided={"a", "b"}) as worker:
        assert worker in {"a", "b"}


def test_a_worker_that_fails_what_others_can_do_gets_no_more() -> None:
    slots = WorkerSlots(lambda: {"bad": 1, "good": 1})
    for number in range(3):
        slots.failed("bad", "gpu-1", f"chunk {number}", "no kernel image")
        told = slots.succeeded("good", f"chunk {number}")
        assert bool(told) == (number == 2)
    ((label, why),) = told
    assert label == "gpu-1"
    assert "no kernel image" in why
    assert slots.count() == 1
    for _ in range(3):
        with slots.one(once()) as worker:
            assert worker == "good"


def test_chunks_that_fail_everywhere_are_no_fault_of_a_worker() -> None:
    slots = WorkerSlots(lambda: {"a": 1, "b": 1})
    for number in range(20):
        for worker in ("a", "b"):
            slots.failed(worker, worker, f"chunk {number}", "no such sample rate")
        assert slots.succeeded("b", f"other chunk {number}") == []
    assert slots.count() == 2


def test_a_success_between_them_ends_a_row_of_failures() -> None:
    slots = WorkerSlots(lambda: {"a": 1, "b": 1})
    for number in range(20):
        slots.failed("a", "a", f"chunk {number}", "flaky")
        assert slots.succeeded("b", f"chunk {number}") == []
        if number % 2:
            assert slots.succeeded("a", f"later chunk {number}") == []
    assert slots.count() == 2


def test_who_came_first_is_served_first_and_who_gives_up_takes_nothing() -> None:
    slots = WorkerSlots(lambda: {"a": 1})
    served: list[int] = []

    def come(number: int) -> None:
        with suppress(CancelledError), slots.one(lambda: number != 1 or not giving_up.is_set()):
            served.append(number)

    giving_up = Event()
    with ThreadPoolExecutor(5) as pool, slots.one(lambda: True):
        for number in range(5):
            pool.submit(come, number)
            while len(slots._queue) <= number:
                pass
        giving_up.set()
        while len(slots._queue) == 5:
            pass
    assert served == [0, 2, 3, 4]
    with slots.one(once()) as worker:
        assert worker == "a"
