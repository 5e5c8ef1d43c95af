"""Embeddings collected beside the tables: with station and time, those of the tables' chunks, in place of the last."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from badc.chunks.manifest import Chunk, write_manifest
from badc.detections import collected
from badc.detections.aggregate import Aggregation, aggregate
from badc.detections.embeddings import Windows, file_of, gather, told_by, write_chunk
from badc.detections.settings import AggregateSettings
from badc.errors import RequestError

Make = Callable[..., Chunk]
Write = Callable[..., Path]
SETTINGS = {"runner": "birdnet", "model_version": "V2.4", "channel": None}
STATION = "GNWT-290_20230331_235938"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def embed(chunk: Chunk, *rows: list[float], **changed: Any) -> None:
    starts = [100 * number for number in range(len(rows))]
    windows = Windows(starts, 100, np.array(rows, np.float32).reshape(len(rows), -1))
    write_chunk(Path("e"), chunk, None, windows, SETTINGS | changed)


def table(**settings: Any) -> Aggregation:
    given = {"output": Path("t/all.csv"), "parquet": Path("t/all.parquet"), "embeddings": Path("e"), **settings}
    return aggregate(AggregateSettings(detections_dir=Path("out"), **given))


def rows() -> list[dict[str, Any]]:
    files = sorted(Path("t/all_embeddings").iterdir())
    return [row for path in files for row in pq.read_table(path).to_pylist()]


def test_each_window_has_station_and_time_of_its_recording(chunk: Make, detections_file: Write) -> None:
    first, second = chunk(STATION), chunk(STATION, 1000, 2000)
    other = chunk("OTHER")
    for each in (first, second, other):
        detections_file(each)
    embed(second, [3, 4])
    gather(Path("e"), STATION)
    embed(first, [1, 2], [5, 6])  # not gathered yet
    embed(other, [7, 8])
    made = table()
    assert made.written[-1] == Path("t/all_embeddings").absolute()
    assert not [note for note in made.notes if "embeddings" in note]
    found = {(row["recording_id"], row["start_ms"]): row for row in rows()}
    assert {place: row["embedding"] for place, row in found.items()} == {
        (STATION, 0): [1, 2],
        (STATION, 100): [5, 6],
        (STATION, 1000): [3, 4],
        ("OTHER", 0): [7, 8],
    }
    row = found[STATION, 1000]
    assert (row["station"], str(row["recorded_at"])) == ("GNWT-290", "2023-03-31 23:59:38")
    assert found["OTHER", 0]["station"] is None
    assert set(told_by(Path("t/all_embeddings/00000.parquet")).chunks) == {
        first.chunk_id,
        second.chunk_id,
        other.chunk_id,
    }


def test_what_is_missing_or_of_an_earlier_cut_is_counted(chunk: Make, detections_file: Write, tmp_path: Path) -> None:
    kept, bare, before = chunk(), chunk(start_ms=1000, end_ms=2000), chunk(start_ms=0, end_ms=500)
    for each in (kept, bare, before):
        detections_file(each)
    embed(kept, [1, 2])
    embed(before, [1, 2], [3, 4])
    write_manifest(tmp_path / "m.csv", [kept, bare])
    made = table(manifest=(Path("m.csv"),))
    assert "1 analysed chunk has no embeddings" in made.notes
    assert "2 windows with embeddings are left out: of chunks that the table lacks" in made.notes
    assert [row["chunk_id"] for row in rows()] == [kept.chunk_id]


def test_files_stay_of_a_size_and_of_one_model(
    chunk: Make, detections_file: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collected, "_ROWS_PER_FILE", 4)
    for number in range(3):
        detections_file(made := chunk(f"R{number}"))
        embed(made, [1, number], [2, number])
        gather(Path("e"), f"R{number}")
    detections_file(other := chunk("OTHER"))
    embed(other, [1, 2, 3], model_version="V3")
    table()
    sizes = [pq.read_metadata(path).num_rows for path in sorted(Path("t/all_embeddings").iterdir())]
    assert sorted(sizes) == [1, 2, 4]
    assert len({told_by(path).model for path in Path("t/all_embeddings").iterdir()}) == 2


def test_a_second_time_takes_the_place_of_the_first(chunk: Make, detections_file: Write) -> None:
    detections_file(made := chunk())
    embed(made, [1, 2])
    table()
    embed(made, [3, 4])
    table()
    assert [row["embedding"] for row in rows()] == [[3, 4]]
    assert [path.name for path in Path("t").iterdir() if path.name.startswith(".")] == []
    Path("t/all_embeddings/mine.txt").write_text("mine")
    with pytest.raises(RequestError, match=r"all_embeddings: is in the place of the embeddings; move it away"):
        table()
    assert Path("t/all_embeddings/mine.txt").read_text() == "mine"


def test_a_folder_without_embeddings_is_refused_before_anything_is_written(chunk: Make, detections_file: Write) -> None:
    detections_file(chunk())
    with pytest.raises(RequestError, match="e: no embeddings"):
        table()
    assert not Path("t").exists()
    Path("e").mkdir()
    file_of(Path("e"), "REC").write_bytes(b"something else")
    with pytest.raises(Exception, match=r"REC\.parquet: cannot be read as embeddings"):
        table()
    assert not Path("t/all.csv").exists()
