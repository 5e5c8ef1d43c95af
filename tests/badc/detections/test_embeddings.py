"""The files of embeddings: a chunk's own, and those of a recording that are gathered from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from badc.chunks.manifest import Chunk
from badc.detections import embeddings
from badc.detections.embeddings import (
    OtherModelError,
    UnreadableEmbeddingsError,
    Windows,
    file_of,
    files_in,
    gather,
    kept_chunks,
    model_of,
    parts_of,
    read_file,
    write_chunk,
)

Make = Callable[..., Chunk]
SETTINGS = {"runner": "birdnet", "model_version": "V2.4", "channel": None}


def write(folder: Path, chunk: Chunk, value: float, count: int = 2, size: int = 3, **changed: Any) -> None:
    rows = np.full((count, size), value, np.float32) + np.arange(count, dtype=np.float32)[:, None] / 10
    starts = [300 * number for number in range(count)]
    write_chunk(folder, chunk, "/data", Windows(starts, 400, rows), SETTINGS | changed)


def rows(folder: Path) -> list[tuple[int, float]]:
    """Return start and first number of each row of the recording's file, in order."""
    table = pq.read_table(file_of(folder, "REC"))
    return [(row["start_ms"], round(row["embedding"][0], 3)) for row in table.to_pylist()]


def test_chunks_are_gathered_in_the_order_of_their_starts(tmp_path: Path, chunk: Make) -> None:
    for start in (10_000, 0, 9000):
        write(tmp_path, chunk(start_ms=start, end_ms=start + 1000), start)
    gather(tmp_path, "REC")
    assert rows(tmp_path) == [(0, 0), (300, 0.1), (9000, 9000), (9300, 9000.1), (10_000, 10_000), (10_300, 10_000.1)]
    assert not (tmp_path / "REC").exists()
    first = pq.read_table(file_of(tmp_path, "REC")).to_pylist()[1]
    del first["embedding"]
    assert first == {
        "recording_id": "REC",
        "chunk_id": "REC_chunk_0_1000",
        "chunk_start_ms": 0,
        "chunk_end_ms": 1000,
        "start_ms": 300,
        "end_ms": 700,
        "source_path": "REC.wav",
        "dataset_root": "/data",
        "model": model_of(SETTINGS),
    }
    assert pq.read_schema(file_of(tmp_path, "REC")).field("embedding").type.list_size == 3


def test_later_chunks_are_added_and_those_made_again_replaced(tmp_path: Path, chunk: Make) -> None:
    for start in (0, 2000):
        write(tmp_path, chunk(start_ms=start, end_ms=start + 1000), 1, count=1)
    gather(tmp_path, "REC")
    for start in (1000, 2000):
        write(tmp_path, chunk(start_ms=start, end_ms=start + 1000), 2, count=1)
    gather(tmp_path, "REC")
    assert rows(tmp_path) == [(0, 1), (1000, 2), (2000, 2)]
    assert set(kept_chunks(tmp_path, "REC")) == {
        chunk(start_ms=n * 1000, end_ms=n * 1000 + 1000).chunk_id for n in range(3)
    }
    gather(tmp_path, "REC")
    assert rows(tmp_path) == [(0, 1), (1000, 2), (2000, 2)]


def test_a_chunk_without_a_window_counts_as_embedded(tmp_path: Path, chunk: Make) -> None:
    write(tmp_path, chunk(), 1, count=0)
    assert kept_chunks(tmp_path, "REC") == {"REC_chunk_0_1000": SETTINGS}
    gather(tmp_path, "REC")
    assert kept_chunks(tmp_path, "REC") == {"REC_chunk_0_1000": SETTINGS}
    write(tmp_path, chunk(start_ms=1000, end_ms=2000), 1, count=1)
    gather(tmp_path, "REC")
    assert rows(tmp_path) == [(1000, 1)]
    assert len(kept_chunks(tmp_path, "REC")) == 2


def test_what_a_kill_left_half_done_is_gathered_once(
    tmp_path: Path, chunk: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, chunk(), 1, count=1)
    copy = (tmp_path / "REC" / "REC_chunk_0_1000.parquet").read_bytes()
    gather(tmp_path, "REC")
    (tmp_path / "REC").mkdir()
    (tmp_path / "REC" / "REC_chunk_0_1000.parquet").write_bytes(copy)  # killed before it was removed
    (tmp_path / "REC" / ".tmp-1-ab").write_bytes(b"half")
    assert [(path.name, sorted(without)) for path, without in files_in(tmp_path)] == [
        ("REC.parquet", ["REC_chunk_0_1000"]),
        ("REC_chunk_0_1000.parquet", []),
    ]
    gather(tmp_path, "REC")
    assert rows(tmp_path) == [(0, 1)]

    write(tmp_path, chunk(start_ms=1000, end_ms=2000), 2, count=1)
    monkeypatch.setattr(embeddings, "write_file", lambda *args: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(OSError, match="No space left"):
        gather(tmp_path, "REC")
    assert rows(tmp_path) == [(0, 1)]
    assert len(parts_of(tmp_path, "REC")) == 1
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_those_of_another_model_go_only_where_a_run_replaces_them(tmp_path: Path, chunk: Make) -> None:
    for start in (0, 1000):
        write(tmp_path, chunk(start_ms=start, end_ms=start + 1000), 1, count=1)
    gather(tmp_path, "REC")
    write(tmp_path, chunk(), 2, count=1, size=5, model_version="V3")
    with pytest.raises(OtherModelError, match=r"REC\.parquet: .* 1 chunk has embeddings of another"):
        gather(tmp_path, "REC")
    assert rows(tmp_path) == [(0, 1), (1000, 1)]
    assert len(parts_of(tmp_path, "REC")) == 1
    gather(tmp_path, "REC", replace=True)
    assert rows(tmp_path) == [(0, 2)]
    assert {made["model_version"] for made in kept_chunks(tmp_path, "REC").values()} == {"V3"}


def test_the_choice_of_a_channel_makes_no_other_model(tmp_path: Path, chunk: Make) -> None:
    write(tmp_path, chunk(), 1, count=1)
    write(tmp_path, chunk(start_ms=1000, end_ms=2000), 2, count=1, channel="2")
    gather(tmp_path, "REC")
    assert rows(tmp_path) == [(0, 1), (1000, 2)]


def test_rows_of_two_lengths_are_an_error_that_names_the_recording(tmp_path: Path, chunk: Make) -> None:
    write(tmp_path, chunk(), 1)
    write(tmp_path, chunk(start_ms=1000, end_ms=2000), 1, size=4)
    with pytest.raises(UnreadableEmbeddingsError, match="REC: cannot be read as embeddings"):
        gather(tmp_path, "REC")
    assert len(parts_of(tmp_path, "REC")) == 2


@pytest.mark.parametrize("content", [b"", b"PAR1 is no Parquet", None])
def test_another_file_in_its_place_is_named_and_left(tmp_path: Path, chunk: Make, content: bytes | None) -> None:
    place = file_of(tmp_path, "REC")
    if content is None:
        pq.write_table(pa.table({"a": [1]}), place)
    else:
        place.write_bytes(content)
    before = place.read_bytes()
    write(tmp_path, chunk(), 1)
    with pytest.raises(UnreadableEmbeddingsError, match=r"REC\.parquet: cannot be read as embeddings .*move it away"):
        kept_chunks(tmp_path, "REC")
    with pytest.raises(UnreadableEmbeddingsError):
        gather(tmp_path, "REC")
    assert place.read_bytes() == before


def test_a_long_recording_is_written_in_groups_and_read_back(
    tmp_path: Path, chunk: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embeddings, "_ROWS_PER_GROUP", 4)
    for number in range(5):
        write(tmp_path, chunk(start_ms=number * 1000, end_ms=number * 1000 + 1000), number, count=3)
    gather(tmp_path, "REC")
    assert pq.ParquetFile(file_of(tmp_path, "REC")).num_row_groups == 4
    read = list(read_file(file_of(tmp_path, "REC")))
    assert max(table.num_rows for table in read) <= 4
    write(tmp_path, chunk(start_ms=2000, end_ms=3000), 9, count=1)
    gather(tmp_path, "REC")
    starts = [start for start, _ in rows(tmp_path)]
    assert starts == [0, 300, 600, 1000, 1300, 1600, 2000, 3000, 3300, 3600, 4000, 4300, 4600]
