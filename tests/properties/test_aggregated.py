"""Aggregation: the tables have every detection of the outputs, and nothing else."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from badc.chunks.manifest import Chunk
from badc.detections.aggregate import aggregate
from badc.detections.result import ChunkResult, Detection, ResultStatus, result_path, write_result
from badc.detections.settings import AggregateSettings
from badc.recordings.names import nfc
from tests.properties.examples import NAMES, TEXTS, examples

_COLUMNS = ("recording_id", "chunk_id", "timestamp_ms", "end_ms", "label", "label_code", "label_name", "confidence")
_TIMES_MS = st.none() | st.integers(0, 10**15 - 1)
_DETECTIONS = st.builds(
    Detection,
    label=TEXTS.filter(bool),
    confidence=st.none() | st.floats(0, 1).map(abs),
    timestamp_ms=_TIMES_MS,
    end_ms=_TIMES_MS,
    label_code=st.none() | TEXTS,
    label_name=st.none() | TEXTS,
    extra=st.dictionaries(TEXTS.filter(lambda key: key not in _COLUMNS), st.none() | st.booleans() | TEXTS, max_size=2),
)
_SETTINGS = st.dictionaries(
    TEXTS, st.none() | st.booleans() | st.floats(0, 1) | TEXTS | st.lists(TEXTS, max_size=2), max_size=3
)


@st.composite
def results(draw: st.DrawFn) -> ChunkResult:
    start_ms = draw(st.integers(0, 10**14))
    chunk = Chunk(draw(NAMES), draw(NAMES), draw(TEXTS.filter(bool)), start_ms, start_ms + draw(st.integers(1, 10**9)))
    detections = tuple(draw(st.lists(_DETECTIONS, max_size=4)))
    status = ResultStatus.OK if detections else draw(st.sampled_from(ResultStatus))
    runner = draw(st.sampled_from(["birdnet", "custom", "stub"]))
    return ChunkResult(chunk, runner, status, detections, settings=draw(st.none() | _SETTINGS))


def _identity(result: ChunkResult) -> tuple[str, str]:
    return nfc(result.chunk.recording_id), nfc(result.chunk.chunk_id)


def _in_csv(value: Any) -> str:
    return "" if value is None else f"{value:.6f}" if isinstance(value, float) else str(value)


@examples(3, 300)
@given(st.lists(results(), min_size=1, max_size=8, unique_by=_identity))
def test_tables_have_the_detections_of_the_outputs(made: list[ChunkResult]) -> None:
    with TemporaryDirectory() as base:
        folder = Path(base, "out")
        for result in made:
            write_result(result_path(folder, result.chunk), result)
        told = AggregateSettings(
            detections_dir=folder, output=Path(base, "t.csv"), parquet=Path(base, "t.parquet"), merge_overlaps=False
        )
        counts = aggregate(told)
        expected = Counter(
            (*_identity(result), d.timestamp_ms, d.end_ms, d.label, d.label_code, d.label_name, d.confidence)
            for result in made
            for d in result.detections
        )
        assert counts.bad_files == []
        assert (counts.chunks, counts.detections) == (len(made), expected.total())
        rows = pq.read_table(Path(base, "t.parquet"), columns=list(_COLUMNS)).to_pylist()
        assert Counter(tuple(row[name] for name in _COLUMNS) for row in rows) == expected
        with Path(base, "t.csv").open(encoding="utf-8", newline="") as stream:
            lines = [tuple(row[name] for name in _COLUMNS) for row in csv.DictReader(stream)]
        as_numbers = Counter((*line[:-1], _in_csv(float(line[-1])) if line[-1] else "") for line in lines)
        assert as_numbers == Counter(tuple(map(_in_csv, row)) for row in expected.elements())
