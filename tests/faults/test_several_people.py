"""What people do to each other in one dataset: tables and reports while a run writes, or while others make them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from badc.chunks.manifest import Chunk, chunk_id_of
from badc.detections.aggregate import aggregate
from badc.detections.result import ChunkResult, Detection, ResultStatus, result_path, write_result
from badc.detections.settings import AggregateSettings
from badc.reports.rankings.quicklook import quicklook
from badc.reports.settings import QuicklookSettings

_NAME = "SITE_20230509_094500"


def _write(out: Path, numbers: range, label: str) -> None:
    for number in numbers:
        chunk_id = chunk_id_of(_NAME, number * 1000, number * 1000 + 1000)
        chunk = Chunk(_NAME, chunk_id, "a.wav", number * 1000, number * 1000 + 1000)
        found = tuple(Detection(label, 0.5, 0, 1000 - n) for n in range(20))
        write_result(result_path(out, chunk), ChunkResult(chunk, "custom", ResultStatus.OK, found))


def _meanwhile(work: Callable[[], object], look: Callable[[], object], times: int = 3) -> None:
    """Look some times while a thread works."""
    failures: list[BaseException] = []
    is_over = threading.Event()

    def keep_working() -> None:
        try:
            while not is_over.is_set():
                work()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=keep_working)
    thread.start()
    try:
        for _ in range(times):
            look()
    finally:
        is_over.set()
        thread.join()
    assert failures == []


def _tables(out: Path, table: Path) -> tuple[int, int]:
    made = aggregate(AggregateSettings(detections_dir=out, output=table.with_suffix(".csv"), parquet=table))
    assert made.bad_files == []
    return made.chunks, made.detections


def test_tables_made_while_a_run_writes_have_whole_results_only(tmp_path: Path) -> None:
    out, table = tmp_path / "out", tmp_path / "t.parquet"
    _write(out, range(20), "Ovenbird")
    seen: list[tuple[int, int]] = []

    def run() -> None:
        _write(out, range(120), "Veery")  # the first of them are analysed again

    _meanwhile(run, lambda: seen.append(_tables(out, table)))
    assert seen == sorted(seen)
    assert all(detections == 20 * chunks for chunks, detections in seen)
    assert _tables(out, table) == (120, 2400)


def test_reports_made_while_somebody_makes_the_tables_are_of_one_version(tmp_path: Path) -> None:
    out, table = tmp_path / "out", tmp_path / "t.parquet"
    _write(out, range(50), "Ovenbird")
    _tables(out, table)
    counts: set[int] = set()

    def look() -> None:
        counts.add(quicklook(QuicklookSettings(parquet=table)).labels.rows[0][2])

    _meanwhile(lambda: _tables(out, table), look)
    assert counts == {1000}
