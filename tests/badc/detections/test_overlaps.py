"""Detections of one call in overlapping chunks: which are one, which row stays, and that nothing else is lost."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from badc.chunks.manifest import Chunk, write_manifest
from badc.detections.aggregate import Aggregation, aggregate
from badc.detections.settings import AggregateSettings

MakeChunk = Callable[..., Chunk]
Write = Callable[..., Path]
Found = tuple[str, float, int, int]


def table(**settings: Any) -> Aggregation:
    return aggregate(
        AggregateSettings(
            detections_dir=Path("out"), output=Path("t/all.csv"), parquet=Path("t/all.parquet"), **settings
        )
    )


def rows() -> list[dict[str, Any]]:
    return list(pq.read_table("t/all.parquet").to_pylist())


def summary() -> list[tuple[str, int, int, float, int]]:
    return [
        (row["label"], row["absolute_time_ms"], row["absolute_end_ms"], row["confidence"], row["merged_from"])
        for row in rows()
    ]


@pytest.fixture
def heard(chunk: MakeChunk, detections_file: Write) -> Callable[..., None]:
    """Return a function that writes a chunk's detections, given by label, confidence and times in the recording."""

    def write(start_ms: int, end_ms: int, *found: Found, recording: str = "REC", **more: Any) -> None:
        in_chunk = [(label, confidence, at - start_ms, end - start_ms) for label, confidence, at, end in found]
        detections_file(chunk(recording, start_ms, end_ms, **{"overlap_ms": 5000, **more}), *in_chunk)

    return write


def test_a_call_that_two_chunks_heard_is_one_row_with_the_higher_confidence(heard: Callable[..., None]) -> None:
    heard(0, 60_000, ("a", 0.5, 10_000, 13_000), ("a", 0.5, 57_000, 60_000))
    heard(55_000, 115_000, ("a", 0.9, 56_500, 59_500), ("a", 0.4, 90_000, 93_000))
    made = table()
    assert (made.merged, made.detections, made.chunks, made.analysed_ms) == (1, 3, 2, 115_000)
    assert summary() == [("a", 10_000, 13_000, 0.5, 1), ("a", 56_500, 59_500, 0.9, 2), ("a", 90_000, 93_000, 0.4, 1)]
    # The stronger row stays as it was, with its own chunk and its own times.
    assert rows()[1]["chunk_id"] == "REC_chunk_55000_115000"
    assert (rows()[1]["timestamp_ms"], rows()[1]["end_ms"]) == (1500, 4500)


def test_coverage_still_says_what_each_chunk_found(heard: Callable[..., None]) -> None:
    heard(0, 60_000, ("a", 0.5, 57_000, 60_000))
    heard(55_000, 115_000, ("a", 0.9, 57_000, 60_000), ("b", 0.9, 70_000, 73_000))
    table()
    assert [row["detections"] for row in pq.read_table("t/all_coverage.parquet").to_pylist()] == [1, 2]
    assert len(rows()) == 2


def test_of_two_alike_the_earlier_chunk_s_row_stays(heard: Callable[..., None]) -> None:
    heard(0, 60_000, ("a", 0.5, 56_000, 59_000))
    heard(55_000, 115_000, ("a", 0.5, 56_000, 59_000))
    table()
    assert [row["chunk_id"] for row in rows()] == ["REC_chunk_0_60000"]


def test_what_is_not_one_call_stays_apart(heard: Callable[..., None]) -> None:
    heard(0, 60_000, ("a", 0.5, 55_000, 57_000), ("b", 0.5, 57_000, 60_000))
    heard(55_000, 115_000, ("a", 0.9, 57_000, 60_000), ("c", 0.9, 57_000, 60_000))
    heard(55_000, 115_000, ("b", 0.9, 57_000, 60_000), recording="OTHER")
    made = table()
    assert made.merged == 0
    assert {merged for *_, merged in summary()} == {1}


def test_two_detections_of_one_chunk_are_never_one(heard: Callable[..., None]) -> None:
    heard(0, 60_000, ("a", 0.5, 55_500, 58_500), ("a", 0.6, 57_000, 60_000))
    heard(55_000, 115_000, ("b", 0.9, 57_000, 60_000))
    table()
    assert len(rows()) == 3


def test_each_detection_joins_the_one_it_shares_most_time_with(heard: Callable[..., None]) -> None:
    """As BirdNET with overlapping windows of its own gives them."""
    heard(0, 60_000, ("a", 0.5, 55_500, 58_500), ("a", 0.6, 57_000, 60_000))
    heard(55_000, 115_000, ("a", 0.7, 57_000, 60_000), ("a", 0.8, 58_500, 61_500))
    table()
    assert summary() == [
        ("a", 55_500, 58_500, 0.5, 1),
        ("a", 57_000, 60_000, 0.7, 2),
        ("a", 58_500, 61_500, 0.8, 1),
    ]


def test_a_call_in_three_chunks_is_one(heard: Callable[..., None]) -> None:
    for start, confidence in ((0, 0.5), (20_000, 0.9), (40_000, 0.7)):
        heard(start, start + 60_000, ("a", confidence, 50_000 + start // 20, 53_000 + start // 20))
    made = table()
    assert made.merged == 2
    assert summary() == [("a", 51_000, 54_000, 0.9, 3)]


def test_a_chunk_between_that_missed_the_call_does_not_part_it(heard: Callable[..., None]) -> None:
    heard(0, 60_000, ("a", 0.5, 50_000, 53_000))
    heard(20_000, 80_000)
    heard(40_000, 100_000, ("a", 0.4, 50_000, 53_000))
    table()
    assert summary() == [("a", 50_000, 53_000, 0.5, 2)]


def test_a_row_of_touching_detections_is_not_swallowed_by_its_strongest(heard: Callable[..., None]) -> None:
    """A bird that sings on, in chunks of 3 s every 1.5 s: as many rows as chunks of 3 s without overlap would give."""
    for number in range(20):
        at = 1500 * number
        heard(at, at + 3000, ("a", 0.5 + number / 100, at, at + 3000), overlap_ms=1500)
    made = table()
    assert made.merged == 10
    assert [(at, merged) for _, at, _, _, merged in summary()] == [(3000 * n + 1500, 2) for n in range(10)]


def test_only_the_time_inside_the_chunk_counts(heard: Callable[..., None]) -> None:
    """A window that reaches past its chunk heard nothing there."""
    heard(0, 60_000, ("a", 0.5, 59_000, 62_000))
    heard(60_000, 120_000, ("a", 0.5, 60_000, 63_000))
    assert table(merge_overlaps=True).merged == 0
    heard(50_000, 61_000, ("b", 0.5, 52_000, 53_000))  # some chunks overlap, but not those
    assert table(merge_overlaps=True).merged == 0


def test_chunks_with_the_same_start_are_told_apart(heard: Callable[..., None]) -> None:
    heard(0, 30_000, ("a", 0.5, 1000, 4000), ("a", 0.6, 10_000, 13_000))
    heard(0, 60_000, ("a", 0.6, 1000, 4000), ("a", 0.5, 10_000, 13_000))
    table()
    assert summary() == [("a", 1000, 4000, 0.6, 2), ("a", 10_000, 13_000, 0.6, 2)]


def test_detections_without_times_or_length_are_never_one(chunk: MakeChunk, tmp_path: Path) -> None:
    import json

    for number, start in enumerate((0, 55_000)):
        window = {"start_ms": start, "end_ms": start + 60_000, "overlap_ms": 5000}
        at = 57_000 - start
        found = [
            {"label": "no start", "end_ms": at},
            {"label": "no end", "timestamp_ms": at},
            {"label": "no time"},
            {"label": "point", "timestamp_ms": at, "end_ms": at},
        ]
        document = {"chunk_id": f"c{number}", "recording_id": "R", "detections": found, "chunk": window}
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out" / f"{number}.json").write_text(json.dumps(document))
    made = table()
    assert (made.merged, made.detections) == (0, 8)


def test_a_detection_without_confidence_gives_way(chunk: MakeChunk, tmp_path: Path) -> None:
    import json

    for number, (start, confidence) in enumerate(((0, None), (55_000, 0.0))):
        window = {"start_ms": start, "end_ms": start + 60_000, "overlap_ms": 5000}
        found = [{"label": "a", "timestamp_ms": 57_000 - start, "end_ms": 58_000 - start, "confidence": confidence}]
        document = {"chunk_id": f"c{number}", "recording_id": "R", "detections": found, "chunk": window}
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out" / f"{number}.json").write_text(json.dumps(document))
    table()
    assert summary() == [("a", 57_000, 58_000, 0.0, 2)]


@pytest.mark.parametrize(
    ("overlap_ms", "merge", "merged"), [(5000, None, 1), (0, None, 0), (5000, False, 0), (0, True, 1), (5000, True, 1)]
)
def test_the_default_is_what_the_chunks_say(
    heard: Callable[..., None], overlap_ms: int, merge: bool | None, merged: int
) -> None:
    heard(0, 60_000, ("a", 0.5, 57_000, 60_000), overlap_ms=0)
    heard(55_000, 115_000, ("a", 0.9, 57_000, 60_000), overlap_ms=overlap_ms)
    made = table(merge_overlaps=merge)
    assert (made.merged, made.detections) == (merged, 2 - merged)


def test_the_manifest_may_say_that_chunks_overlap(heard: Callable[..., None], chunk: MakeChunk, tmp_path: Path) -> None:
    heard(0, 60_000, ("a", 0.5, 57_000, 60_000), overlap_ms=0)
    heard(55_000, 115_000, ("a", 0.9, 57_000, 60_000), overlap_ms=0)
    assert table().merged == 0
    write_manifest(tmp_path / "m.csv", [chunk("REC", 0, 60_000), chunk("REC", 55_000, 115_000, overlap_ms=5000)])
    assert table(manifest=(tmp_path / "m.csv",)).merged == 1


def slowly(found: list[tuple[str, int, int, Found]]) -> int:
    """Count what stays, straight from the definition: for small tables only."""
    calls: list[tuple[str, str, int, int]] = []
    for recording, start, end, of_chunk in _chunks(found):
        free = [c for c in calls if c[0] == recording]
        others = [c for c in calls if c[0] != recording]
        pairs = sorted(
            (
                (-(min(c[3], d[3], end) - max(c[2], d[2], start)), i, j)
                for i, c in enumerate(free)
                for j, d in enumerate(of_chunk)
                if c[1] == d[0] and min(c[3], d[3], end) > max(c[2], d[2], start)
            ),
        )
        joined: dict[int, int] = {}
        for _, i, j in pairs:
            if i not in joined and j not in joined.values():
                joined[i] = j
        for i, j in joined.items():
            c, d = free[i], of_chunk[j]
            free[i] = (c[0], c[1], max(c[2], d[2], start), min(c[3], d[3], end))
        free += [
            (recording, d[0], max(d[2], start), min(d[3], end))
            for j, d in enumerate(of_chunk)
            if j not in joined.values()
        ]
        calls = others + free
    return len(calls)


def _chunks(found: list[tuple[str, int, int, Found]]) -> list[tuple[str, int, int, list[Found]]]:
    chunks: dict[tuple[str, int, int], list[Found]] = {}
    for recording, start, end, detection in found:
        chunks.setdefault((recording, start, end), []).append(detection)
    return [(*key, sorted(chunks[key], key=lambda d: (d[2], d[0]))) for key in sorted(chunks)]


@pytest.mark.parametrize("seed", range(5))
def test_any_detections_come_to_the_same_as_the_definition(heard: Callable[..., None], seed: int) -> None:
    dice = random.Random(seed)
    found = []
    for recording in ("A", "B"):
        for number in range(12):
            start = number * 7000
            for _ in range(dice.randrange(6)):
                at = start + dice.randrange(0, 9) * 1000
                found.append((recording, start, start + 10_000, (dice.choice("ab"), dice.random(), at, at + 2500)))
    for recording, start, end, of_chunk in _chunks(found):
        heard(start, end, *of_chunk, recording=recording)
    made = table()
    assert made.detections == slowly(found)
    # Every row that was there is still counted somewhere.
    assert sum(row["merged_from"] for row in rows()) == len(found)


def test_more_rows_than_are_read_at_once(heard: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """The ends of the pieces fall between the rows of one call."""
    monkeypatch.setattr("badc.detections.tables._ROWS_PER_READ", 7)
    for recording in ("A", "B", "C"):
        for number in range(10):
            start = 55_000 * number
            shared = [("a", 0.5, start + 1000, start + 4000), ("a", 0.6, start + 56_000, start + 59_000)]
            heard(start, start + 60_000, *shared, ("b", 0.5, start + 30_000, start + 33_000), recording=recording)
    made = table()
    assert (made.merged, made.detections) == (27, 63)
    assert [row["merged_from"] for row in rows()].count(2) == 27
    assert {row["confidence"] for row in rows() if row["merged_from"] == 2} == {0.6}
    keys = [(row["recording_id"], row["chunk_start_ms"], row["timestamp_ms"]) for row in rows()]
    assert keys == sorted(keys)
