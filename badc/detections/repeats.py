"""Chunks that occur in two detections files, as in a copied folder: counted twice, every rate would be wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from badc.detections.tables import TableStage, seeing

_SCHEMA = pa.schema([("path", pa.string())])
_ROWS_PER_READ = 50_000


class RepeatedChunks:
    """The detections files of an aggregation, by chunk, in the order in which they were read.

    Files of one recording nearly always follow each other, so repeats are found at once among the recording being read.
    Only if a recording comes back later does DuckDB compare all files at the end, from a table at `path`. Memory holds
    one recording's ids, however many files there are. `database` is that of `stage_database`.
    """

    def __init__(self, path: Path, database: duckdb.DuckDBPyConnection) -> None:
        self._path = path
        self._database = database
        self._recording = ""
        self._files: dict[str, str] = {}
        self._comes_back = False
        self._paths: list[str] = []
        # All paths differ, so a dictionary would only cost time.
        self._writer = pq.ParquetWriter(path, _SCHEMA, compression="zstd", use_dictionary=False)

    def __enter__(self) -> RepeatedChunks:
        return self

    def __exit__(self, *exception: object) -> None:
        self.flush()
        self._writer.close()

    def first_file(self, recording_id: str, chunk_id: str, path: str) -> str | None:
        """Return the file in which the chunk occurred before, or None; this file is then the chunk's."""
        if recording_id != self._recording:
            # In ascending order, a recording that was left does not come back.
            self._comes_back = self._comes_back or recording_id < self._recording
            self._recording = recording_id
            self._files = {}
        first = self._files.setdefault(chunk_id, path)
        if first is not path:
            return first
        self._paths.append(path)
        return None

    def flush(self) -> None:
        """Write what was added since the last flush."""
        if self._paths:
            self._writer.write_table(pa.table([self._paths], schema=_SCHEMA))
            self._paths = []

    def drop_from(self, detections: TableStage, coverage: TableStage, on_repeated: Callable[[str, str], Any]) -> None:
        """Remove from the tables the repeats that `first_file` could not see: chunks of recordings that came back.

        The tables' rows are in the order in which the chunks were added. `on_repeated` gets each file that is left out
        and the file that has the same chunk.
        """
        if not self._comes_back:
            return
        dropped: list[np.ndarray[Any, Any]] = []
        # Row by row, the files are those of coverage.
        found = seeing(self._database, {"files": self._path, "chunks": coverage.path}).sql(
            """
            WITH suspects AS (
              SELECT hash(recording_id, chunk_id) AS key FROM chunks GROUP BY ALL HAVING count(*) > 1),
            ranked AS (
              SELECT file_row_number, path, first_value(path) OVER same AS first_path,
                row_number() OVER same AS place
              FROM chunks JOIN files USING (file_row_number)
              WHERE hash(recording_id, chunk_id) IN (SELECT key FROM suspects)
              WINDOW same AS (PARTITION BY recording_id, chunk_id ORDER BY file_row_number))
            SELECT file_row_number, path, first_path FROM ranked WHERE place > 1 ORDER BY file_row_number
            """
        )
        for batch in found.to_arrow_reader(_ROWS_PER_READ):
            for _, path, first in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                on_repeated(path, first)
            dropped.append(batch.column(0).to_numpy())
        if dropped:
            _drop(detections, coverage, np.concatenate(dropped))


def _drop(detections: TableStage, coverage: TableStage, chunks: np.ndarray[Any, Any]) -> None:
    """Remove chunks, given by their ascending row numbers in coverage, from both tables."""
    # Detections first, while coverage still says how many rows belong to each chunk.
    masks = (np.repeat(keep, counts) for keep, counts in _kept(coverage, chunks))
    detections.change(_Filter(masks))
    coverage.change(_Filter(keep for keep, _ in _kept(coverage, chunks)))


def _kept(
    coverage: TableStage, chunks: np.ndarray[Any, Any]
) -> Iterator[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """Yield, piece by piece, which rows of coverage stay, and how many detections each has."""
    at = 0
    for batch in coverage.batches(["detections"]):
        keep = np.ones(batch.num_rows, dtype=bool)
        low, high = np.searchsorted(chunks, (at, at + batch.num_rows))
        keep[chunks[low:high] - at] = False
        yield keep, batch.column(0).to_numpy()
        at += batch.num_rows


class _Filter:
    """Filters successive pieces of a table by masks that come in pieces of other sizes."""

    def __init__(self, masks: Iterator[np.ndarray[Any, Any]]) -> None:
        self._masks = masks
        self._left: np.ndarray[Any, Any] = np.zeros(0, dtype=bool)

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        while len(self._left) < batch.num_rows:
            self._left = np.concatenate([self._left, next(self._masks)])
        mask, self._left = self._left[: batch.num_rows], self._left[batch.num_rows :]
        return batch.filter(pa.array(mask))
