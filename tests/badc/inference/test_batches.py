"""Recordings that one task run chunks and records together: how many, and that a shell can take their record."""

from __future__ import annotations

import itertools
import shlex
from pathlib import Path

import pytest

from badc.datasets.chunking.decision import ChunkDecision, RecordingToChunk
from badc.datasets.chunking.existing import ChunkOrder
from badc.datasets.chunking.provenance import batch_run, batches
from badc.datasets.chunking.settings import ChunkSettings


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("count", [0, 1, 50, 51, 200, 201, 30_000])
def test_batches_hold_every_recording_once_and_are_not_too_many(count: int, recorded: bool) -> None:
    todo = [RecordingToChunk(f"r{n}", f"audio/s/r{n}.wav", ChunkDecision.CHUNK, "new") for n in range(count)]
    made = [list(batch) for batch in batches(todo, recorded)]
    assert [recording for batch in made for recording in batch] == todo
    assert len(made) <= (count // 500 + 51 if recorded else 200)
    assert max(map(len, made), default=0) <= (500 if recorded else 150)
    if count <= 50:
        assert len(made) == count


def test_a_record_of_long_hostile_names_fits_a_shell(tmp_path: Path) -> None:
    (tmp_path / ".datalad").mkdir()
    name = "o'brien [x] " + "é" * 80
    todo = [RecordingToChunk(f"{n}", f"audio/{name}/{name}{n}.wav", ChunkDecision.CHUNK, "new") for n in range(30_000)]
    order = ChunkOrder.of(ChunkSettings(dataset=tmp_path))
    for batch in itertools.islice(batches(todo, True), 3):
        words = batch_run(ChunkSettings(dataset=tmp_path), order, batch).command_words
        assert len(shlex.join(words).encode()) < 100_000
        assert len(batch) > 50
