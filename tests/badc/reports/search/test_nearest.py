"""The search for the nearest embeddings: exact, over many files, with what counts in them and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from badc.chunks.manifest import Chunk
from badc.detections import embeddings
from badc.detections.embeddings import UnreadableEmbeddingsError, Windows, file_of, gather, model_of, write_chunk
from badc.errors import RequestError
from badc.reports.search.nearest import Query, search, stored

Make = Callable[..., Chunk]
SETTINGS = {"runner": "birdnet", "model_version": "V2.4", "channel": None}


def write(folder: Path, chunk: Chunk, rows: np.ndarray[Any, Any], **changed: Any) -> None:
    windows = Windows([1000 * number for number in range(len(rows))], 1000, rows.astype(np.float32))
    write_chunk(folder, chunk, "/data", windows, SETTINGS | changed)


def query(*rows: Any) -> Query:
    return Query("clip", np.array(rows, np.float32), model_of(SETTINGS))


@pytest.mark.parametrize("number", [1, 3])
def test_the_best_are_those_of_a_plain_computation(
    tmp_path: Path, chunk: Make, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(embeddings, "_ROWS_PER_GROUP", 16)
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(600, 8)).astype(np.float32)
    for recording in range(3):
        for start in range(2):
            begin = recording * 200 + start * 100
            made = chunk(f"R{recording}", start * 100_000, (start + 1) * 100_000)
            write(tmp_path, made, rows[begin : begin + 100])
        if recording:  # the files of one are not gathered
            gather(tmp_path, f"R{recording}")
    wanted = rng.normal(size=(number, 8)).astype(np.float32)

    def unit(vectors: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    expected = (unit(rows.astype(np.float64)) @ unit(wanted.astype(np.float64)).T).max(axis=1)
    best = np.argsort(-expected)[:20]
    seen: list[tuple[int, int]] = []
    found = search(tmp_path, query(*wanted), 20, lambda done, total: seen.append((done, total)))
    assert (found.compared, found.of_other_models) == (600, 0)
    assert [hit.similarity for hit in found.hits] == pytest.approx(expected[best], abs=1e-6)
    assert [(hit.recording_id, hit.start_ms) for hit in found.hits] == [
        (f"R{place // 200}", place % 200 * 1000) for place in best
    ]
    first = found.hits[0]
    assert first.chunk_start_ms <= first.start_ms < first.end_ms <= first.chunk_end_ms  # type: ignore[operator]
    assert (first.source_path, first.dataset_root) == (f"{first.recording_id}.wav", "/data")
    assert seen[-1] == (4, 4)
    assert len(search(tmp_path, query(*wanted), 5000).hits) == 600


def test_a_chunk_that_was_made_again_counts_once(tmp_path: Path, chunk: Make) -> None:
    write(tmp_path, chunk(), np.array([[1.0, 0]]))
    write(tmp_path, chunk(start_ms=1000, end_ms=2000), np.array([[1.0, 1]]))
    gather(tmp_path, "REC")
    write(tmp_path, chunk(), np.array([[0.0, 1]]))
    found = search(tmp_path, query([1, 0]), 10)
    assert [(hit.start_ms, round(hit.similarity, 3)) for hit in found.hits] == [(1000, 0.707), (0, 0)]


def test_those_of_another_model_are_left_out_and_counted(tmp_path: Path, chunk: Make) -> None:
    write(tmp_path, chunk("A"), np.array([[1.0, 0]]))
    write(tmp_path, chunk("B"), np.array([[1.0, 0, 0], [1, 1, 1]]), model_version="V3")
    found = search(tmp_path, query([1, 0]), 10)
    assert ([hit.recording_id for hit in found.hits], found.compared, found.of_other_models) == (["A"], 1, 2)


def test_windows_without_a_direction_are_like_nothing(tmp_path: Path, chunk: Make) -> None:
    write(tmp_path, chunk(), np.array([[0.0, 0], [np.nan, 1], [2, 0]]))
    write(tmp_path, chunk("EMPTY"), np.empty((0, 2)))
    found = search(tmp_path, query([1, 0], [0, 0]), 10)
    assert [(hit.start_ms, hit.similarity) for hit in found.hits] == [(2000, 1)]
    with pytest.raises(RequestError, match="clip: its embedding has no direction"):
        search(tmp_path, query([0, 0]), 10)


def test_a_folder_without_embeddings_and_other_files_are_named(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(RequestError, match="no embeddings"):
            search(folder, query([1, 0]), 10)
    file_of(tmp_path, "REC").write_bytes(b"something else")
    with pytest.raises(UnreadableEmbeddingsError, match=r"REC\.parquet: cannot be read as embeddings"):
        search(tmp_path, query([1, 0]), 10)


@pytest.mark.parametrize("gathered", [True, False])
def test_the_window_of_a_recording_that_contains_a_time(tmp_path: Path, chunk: Make, gathered: bool) -> None:
    write(tmp_path, chunk(start_ms=60_000, end_ms=62_000), np.array([[1.0, 0], [0, 1]]))
    write(tmp_path, chunk(start_ms=62_000, end_ms=64_000), np.array([[1.0, 1], [2, 1]]))
    if gathered:
        gather(tmp_path, "REC")
    for at_ms, start_ms, row in ((61_000, 61_000, [0, 1]), (62_999, 62_000, [1, 1])):
        found = stored(tmp_path, "REC", at_ms)
        assert (found.start_ms, found.rows.tolist(), found.model) == (start_ms, [row], model_of(SETTINGS))
    for at_ms in (59_999, 64_000):
        with pytest.raises(RequestError, match="the recording REC has no window at that time"):
            stored(tmp_path, "REC", at_ms)
    with pytest.raises(RequestError, match="the recording OTHER is not in it"):
        stored(tmp_path, "OTHER", 0)
