"""Chunks that lie in two files: counted once, whatever the order in which the files are read."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from badc.chunks.manifest import Chunk
from badc.detections.aggregate import Aggregation, aggregate
from badc.detections.settings import AggregateSettings
from badc.errors import BadcError

MakeChunk = Callable[..., Chunk]
Write = Callable[..., Path]


def table(**settings: Any) -> Aggregation:
    return aggregate(
        AggregateSettings(
            detections_dir=Path("out"), output=Path("t/all.csv"), parquet=Path("t/all.parquet"), **settings
        )
    )


def ids() -> list[tuple[str, str, int]]:
    found = pq.read_table("t/all_coverage.parquet").to_pylist()
    return [(row["recording_id"], row["chunk_id"], row["detections"]) for row in found]


def test_a_copy_beside_the_file_is_left_out(chunk: MakeChunk, detections_file: Write) -> None:
    path = detections_file(chunk("REC", 1000, 2000), ("a", 0.5, 0, 10))
    copy = path.with_name("again.json")
    shutil.copyfile(path, copy)
    made = table()
    assert (made.files, made.chunks, made.detections, made.bad) == (2, 1, 1, 1)
    assert made.bad_files == [(path, f"the same chunk as {copy}")]  # what sorts first is read first


@pytest.mark.parametrize("name", ["REC copy", "backup/REC", "zz/REC", "A/deep/REC"])
def test_a_copied_folder_is_left_out(chunk: MakeChunk, detections_file: Write, tmp_path: Path, name: str) -> None:
    for recording in ("QEC", "REC", "SEC"):
        for start in (0, 1000):
            detections_file(chunk(recording, start, start + 1000), ("a", 0.5, 0, 10), ("b", 0.5, 0, 10))
    shutil.copytree(tmp_path / "out" / "REC", tmp_path / "out" / name)
    made = table()
    assert (made.files, made.chunks, made.detections, made.bad) == (8, 6, 12, 2)
    assert len(ids()) == len(set(ids())) == 6
    for path, reason in made.bad_files:
        first = Path(reason.removeprefix("the same chunk as "))
        assert path.name == first.name
        assert path != first
        assert first.is_file()


def test_what_is_left_out_is_the_later_file_s_chunk_and_no_other(
    chunk: MakeChunk, detections_file: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many chunks of different numbers of detections, in pieces that are cut at other places."""
    monkeypatch.setattr("badc.detections.tables._ROWS_PER_READ", 11)
    labels = {}
    for number in range(60):
        recording = f"R{number % 7}"
        found = [(f"first {number}", 0.5, n, n + 1) for n in range(number % 5)]
        labels[(recording, number)] = len(found)
        detections_file(chunk(recording, 1000 * number, 1000 * number + 1000), *found)
    (tmp_path / "out").rename(tmp_path / "first")
    for number in range(0, 60, 3):
        found = [(f"second {number}", 0.5, n, n + 1) for n in range(3)]
        detections_file(chunk(f"R{number % 7}", 1000 * number, 1000 * number + 1000), *found)
    (tmp_path / "out").rename(tmp_path / "second")
    (tmp_path / "out").mkdir()
    (tmp_path / "first").rename(tmp_path / "out" / "1")
    (tmp_path / "second").rename(tmp_path / "out" / "2")
    made = table()
    assert (made.bad, made.chunks, made.detections) == (20, 60, sum(labels.values()))
    found_labels = [row["label"] for row in pq.read_table("t/all.parquet").to_pylist()]
    assert {label.split()[0] for label in found_labels} == {"first"}
    assert all("/2/" in str(path) and "/1/" in reason for path, reason in made.bad_files)


def test_two_recordings_may_have_chunks_of_the_same_id(chunk: MakeChunk, detections_file: Write) -> None:
    for recording in ("b", "a"):
        path = detections_file(chunk(recording, chunk_id="c"), ("x", 0.5, 0, 10))
        path.rename(
            path.parent.parent / f"{'12'[recording == 'a']}.json"
        )  # read in another order than that of the rows
    made = table()
    assert (made.chunks, made.bad) == (2, 0)


@pytest.mark.parametrize("name", ["REC copy", "backup/REC"])
def test_strict_stops_there(chunk: MakeChunk, detections_file: Write, tmp_path: Path, name: str) -> None:
    for recording in ("QEC", "REC"):
        detections_file(chunk(recording), ("a", 0.5, 0, 10))
    shutil.copytree(tmp_path / "out" / "REC", tmp_path / "out" / name)
    with pytest.raises(BadcError, match="the same chunk as"):
        table(strict=True)
    assert not Path("t/all.csv").exists()


def test_of_very_many_bad_files_the_first_are_kept_and_all_are_counted(
    chunk: MakeChunk, detections_file: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("badc.detections.aggregate._MOST_BAD_FILES_KEPT", 3)
    detections_file(chunk())
    for number in range(7):
        (tmp_path / "out" / f"{number}.json").write_text("[]")
    made = table()
    assert (made.bad, len(made.bad_files)) == (7, 3)
