"""How the chunks of a run become the batches of its task runs."""

from __future__ import annotations

from typing import Literal

import pytest

from badc.inference.progress import Progress
from flows.infer import _batches


def sizes(chunks: int, size: int | Literal["auto"], workers: int = 2) -> list[int]:
    numbered = list(range(chunks))
    batches = list(_batches(numbered, size, lambda: workers))  # type: ignore[arg-type] # any sequence does
    assert [chunk for batch in batches for chunk in batch] == numbered
    return [len(batch) for batch in batches]


@pytest.mark.parametrize("chunks", [0, 1, 500, 999])
def test_by_default_each_chunk_has_a_task_run(chunks: int) -> None:
    assert sizes(chunks, "auto") == [1] * chunks


@pytest.mark.parametrize("chunks", [1000, 5000, 50_000])
@pytest.mark.parametrize("workers", [1, 2, 16])
def test_a_large_run_has_some_500_to_1000_task_runs(chunks: int, workers: int) -> None:
    made = sizes(chunks, "auto", workers)
    assert 500 <= len(made) <= 1100
    assert made[-1] == 1, "the last ones are small, so that all workers end together"
    assert sorted(made, reverse=True) == made


def test_workers_that_wait_for_work_get_it_in_small_batches() -> None:
    assert max(sizes(2000, "auto", workers=1000)) == 1


def test_a_part_of_a_larger_run_is_cut_as_the_whole_is() -> None:
    left = [6000]

    def of_all() -> Progress:
        return Progress(6000, 6000 - left[0], 0, 0, 0, 0, 0.0, 0)

    def made(chunks: int) -> list[int]:
        return [len(b) for b in _batches(list(range(chunks)), "auto", lambda: 2, of_all)]  # type: ignore[arg-type]

    assert made(3) == [3]
    assert made(30) == [12, 12, 6]
    left[0] = 9
    assert made(3) == [1, 1, 1], "at the end all workers end together"


def test_a_number_is_that_number() -> None:
    assert sizes(10, 4) == [4, 4, 2]
