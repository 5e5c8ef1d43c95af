"""Merge the detections of one call in two overlapping chunks into one row.

Detections are the same call when they have the same recording and label, come from different chunks, and share a moment
that all of them cover. Only the part of a detection inside its chunk counts, so chunks that do not overlap share
nothing. Each chunk gives at most one detection; if there are several candidates, the longest shared time decides. The
row with the highest confidence stays as it is, with its own times, which that confidence refers to; `merged_from` says
how many rows it stands for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from badc.detections.result import ResultStatus
from badc.detections.tables import TableStage

_COLUMNS = (
    "recording_id",
    "chunk_id",
    "chunk_start_ms",
    "chunk_end_ms",
    "absolute_time_ms",
    "absolute_end_ms",
    "label",
    "confidence",
)
_LONGEST_OVERLAP = """
    SELECT max(before - start_ms) FROM (
      SELECT start_ms, max(end_ms) OVER (
        PARTITION BY recording_id ORDER BY start_ms, end_ms ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
      FROM this WHERE start_ms IS NOT NULL AND end_ms IS NOT NULL)
"""
_ANALYSED_MS = f"""
    SELECT sum(end_ms - greatest(start_ms, before)) FROM (
      SELECT start_ms, end_ms, max(end_ms) OVER (
        PARTITION BY recording_id ORDER BY start_ms, end_ms ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
      FROM this WHERE status IN ('{ResultStatus.OK}', '{ResultStatus.NO_DETECTIONS}'))
    WHERE before IS NULL OR end_ms > before
"""


@dataclass(frozen=True, slots=True)
class _Overlaps:
    """A detection in the part of a chunk that another chunk may cover too; `row` is its place in the table."""

    row: int
    recording_id: str
    chunk_id: str
    chunk_start_ms: int
    start_ms: int
    end_ms: int
    label: str
    confidence: float


@dataclass(slots=True)
class _BirdCall:
    """Detections of one call: the time that they share, and their rows."""

    start_ms: int
    end_ms: int
    best: _Overlaps
    rows: list[int]

    def add(self, found: _Overlaps) -> None:
        self.start_ms = max(self.start_ms, found.start_ms)
        self.end_ms = min(self.end_ms, found.end_ms)
        self.rows.append(found.row)
        if found.confidence > self.best.confidence:
            self.best = found


def analysed_ms(coverage: TableStage) -> int:
    """Return how much audio a table of coverage says was analysed, in ms; what chunks share counts once."""
    return coverage.number(_ANALYSED_MS)


def merge_overlaps(detections: TableStage, coverage: TableStage) -> int:
    """Merge each call that overlapping chunks detected into one row; return how many rows were removed.

    The detections must be sorted by recording and start of the chunk. The windows in coverage give the longest overlap.
    """
    longest_ms = coverage.number(_LONGEST_OVERLAP)
    if longest_ms <= 0:
        return 0
    before = detections.rows
    detections.change(_Merger(_changes(_found_near_edges(detections, longest_ms))))
    return before - detections.rows


def _found_near_edges(detections: TableStage, longest_ms: int) -> Iterator[_Overlaps]:
    """Yield the detections that another chunk may have heard too, with the times inside their chunk."""
    first_row = 0
    for batch in detections.batches(_COLUMNS):
        start = batch.column("chunk_start_ms")
        end = pc.if_else(
            batch.column("chunk_end_ms").is_null(), batch.column("absolute_end_ms"), batch.column("chunk_end_ms")
        )
        from_ms = pc.max_element_wise(batch.column("absolute_time_ms"), start, skip_nulls=False)
        to_ms = pc.min_element_wise(batch.column("absolute_end_ms"), end, skip_nulls=False)
        near = pc.or_(pc.less(from_ms, pc.add(start, longest_ms)), pc.greater(to_ms, pc.subtract(end, longest_ms)))
        rows = np.flatnonzero(pc.and_(near, pc.less(from_ms, to_ms)).fill_null(False).to_numpy(zero_copy_only=False))
        chosen = [batch.column(name) for name in ("recording_id", "chunk_id", "chunk_start_ms")]
        chosen += [from_ms, to_ms, batch.column("label"), batch.column("confidence").fill_null(-1.0)]
        values = [column.take(pa.array(rows)).to_pylist() for column in chosen]
        yield from map(_Overlaps, (rows + first_row).tolist(), *values)
        first_row += batch.num_rows


def _changes(found: Iterable[_Overlaps]) -> Iterator[tuple[int, int]]:
    """Yield the rows that change, in order, with their new `merged_from`; 0 for rows to remove."""
    for _, of_recording in groupby(found, key=attrgetter("recording_id")):
        changes: list[tuple[int, int]] = []
        for call in _calls(of_recording):
            changes += [(row, len(call.rows) if row == call.best.row else 0) for row in call.rows]
        yield from sorted(changes)


def _calls(of_recording: Iterable[_Overlaps]) -> Iterator[_BirdCall]:
    """Yield the calls that more than one chunk of a recording heard."""
    open_calls: dict[str, list[_BirdCall]] = {}
    for start_ms, together in groupby(of_recording, key=attrgetter("chunk_start_ms")):
        chunks: dict[str, dict[str, list[_Overlaps]]] = {}
        for found in together:  # chunks with the same start lie mixed
            chunks.setdefault(found.chunk_id, {}).setdefault(found.label, []).append(found)
        for labels in chunks.values():
            for label, of_label in labels.items():
                calls = open_calls.get(label, [])
                # No later chunk starts earlier, so nothing joins what ended before this one.
                yield from (call for call in calls if call.end_ms <= start_ms and len(call.rows) > 1)
                open_calls[label] = _join([call for call in calls if call.end_ms > start_ms], of_label)
    for calls in open_calls.values():
        yield from (call for call in calls if len(call.rows) > 1)


def _join(calls: list[_BirdCall], of_chunk: list[_Overlaps]) -> list[_BirdCall]:
    """Add a chunk's detections of one label to the calls that they share time with, each to at most one."""
    pairs = []
    for index, call in enumerate(calls):
        for found in of_chunk:
            shared_ms = min(call.end_ms, found.end_ms) - max(call.start_ms, found.start_ms)
            if shared_ms > 0:
                pairs.append((-shared_ms, index, found.row, found))
    joined: set[int] = set()
    taken: set[int] = set()
    for _, index, row, found in sorted(pairs, key=lambda pair: pair[:3]):
        if index not in joined and row not in taken:
            calls[index].add(found)
            joined.add(index)
            taken.add(row)
    return calls + [_BirdCall(f.start_ms, f.end_ms, f, [f.row]) for f in of_chunk if f.row not in taken]


class _Merger:
    """Applies changes, which come in the order of the rows, to successive pieces of the table."""

    def __init__(self, changes: Iterator[tuple[int, int]]) -> None:
        self._changes = changes
        self._next = next(changes, None)
        self._row = 0

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        merged: np.ndarray[Any, Any] = np.ones(batch.num_rows, dtype=np.int64)
        end = self._row + batch.num_rows
        while self._next is not None and self._next[0] < end:
            merged[self._next[0] - self._row] = self._next[1]
            self._next = next(self._changes, None)
        self._row = end
        place = batch.schema.get_field_index("merged_from")
        return batch.set_column(place, batch.schema.field(place), pa.array(merged)).filter(pa.array(merged > 0))
