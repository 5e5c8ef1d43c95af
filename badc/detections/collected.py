"""The embeddings of all recordings, collected beside their tables, with station and time: `X_embeddings/` of `X`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from badc.detections.embeddings import EMBEDDING, Told, files_here, read_file, told_by, write_file
from badc.detections.result import ResultStatus
from badc.detections.tables import COVERAGE_SCHEMA, CoverageStage
from badc.errors import RequestError, numbered
from badc.recordings.names import nfc
from badc.system.paths import absolute
from badc.system.sql import quoted

_COLLECTED = "embeddings"
_FILES_AT_A_TIME = 200
_ROWS_PER_FILE = 100_000
_OF_COVERAGE = ("station", "study_area", "recorded_at", "recorded_utc_offset_min")
_Chunk = tuple[str, str]  # ids of recording and chunk, in NFC
_Places = Mapping[_Chunk, Sequence[Any]]


@dataclass(slots=True)
class Collected:
    """How many windows were collected, and of how many chunks; `unlisted` windows are of chunks without a row."""

    windows: int = 0
    chunks: int = 0
    unlisted: int = 0
    analysed: int = 0

    def notes(self) -> Iterator[str]:
        """Yield a sentence on each thing that a person should know."""
        if lacking := self.analysed - self.chunks:
            yield f"{numbered(lacking, 'analysed chunk has', 'analysed chunks have')} no embeddings"
        if self.unlisted:
            are = "is" if self.unlisted == 1 else "are"
            yield f"{numbered(self.unlisted, 'window')} with embeddings {are} left out: of chunks that the table lacks"


def embeddings_beside(table: Path) -> Path:
    """Return the folder of the embeddings beside a table of detections."""
    return table.with_name(f"{table.stem}_embeddings")


class EmbeddingsToCollect:
    """The embeddings in a folder, if one is given, which are to be collected beside a table.

    Raises
    ------
    RequestError
        When there are none, or something else is in the place of those collected; ContentElsewhereError when their
        content is in the annex only.
    """

    def __init__(self, folder: Path | None, table: Path) -> None:
        self._files = [] if folder is None else files_here(absolute(folder))
        self._target = embeddings_beside(absolute(table))
        if not self._files or not self._target.exists():
            return
        # On NFS, a removed file that somebody has open stays as `.nfs…`.
        if not self._target.is_dir() or any(
            path.suffix != ".parquet" and not path.name.startswith(".nfs") for path in self._target.iterdir()
        ):
            raise RequestError(f"{self._target}: is in the place of the embeddings; move it away")

    def collect(self, scratch: Path, coverage: CoverageStage) -> list[str]:
        """Collect those of the chunks in the coverage; return what a person should know of them."""
        if not self._files:
            return []
        return list(collect(self._files, scratch / _COLLECTED, coverage).notes())

    def publish(self, scratch: Path) -> list[Path]:
        """Put what was collected in its place, beside the table; return that, if anything was."""
        if not self._files:
            return []
        if self._target.exists():
            self._target.rename(scratch / "embeddings of before")
        (scratch / _COLLECTED).rename(self._target)
        return [self._target]


def collect(files: Sequence[tuple[Path, frozenset[str]]], target: Path, coverage: CoverageStage) -> Collected:
    """Write the embeddings of the chunks in a table of coverage to a new folder, each model's in files of its own.

    Raises UnreadableEmbeddingsError if a file is something else.
    """
    made = Collected()
    unanswered = f"('missing', '{ResultStatus.NO_OUTPUT}')"
    made.analysed = coverage.number(
        f"SELECT count(*) FROM this WHERE chunk_id IS NOT NULL AND status NOT IN {unanswered}"
    )
    models: dict[str, list[tuple[Path, frozenset[str]]]] = {}
    for path, without in files:
        models.setdefault(told_by(path).model, []).append((path, without))
    target.mkdir()
    number = 0
    for model, of_model in sorted(models.items()):
        tables = _tables(of_model, coverage, made)
        for first in tables:
            told: dict[str, Mapping[str, Any]] = {}
            rows = _some(chain([first], tables), told)
            write_file(target / f"{number:05}.parquet", rows, partial(Told, model, told))
            number += 1
    return made


def _some(
    tables: Iterator[tuple[pa.Table, Mapping[str, Mapping[str, Any]]]], told: dict[str, Mapping[str, Any]]
) -> Iterator[pa.Table]:
    """Yield tables until a file has enough rows; note their chunks."""
    rows = 0
    for table, chunks in tables:
        told |= {chunk: chunks[chunk] for chunk in dict.fromkeys(table["chunk_id"].to_pylist())}
        rows += table.num_rows
        yield table
        if rows >= _ROWS_PER_FILE:
            return


def _tables(
    files: Sequence[tuple[Path, frozenset[str]]], coverage: CoverageStage, made: Collected
) -> Iterator[tuple[pa.Table, Mapping[str, Mapping[str, Any]]]]:
    """Yield the rows of files with what the coverage says of their chunks, and the settings of these by id in NFC."""
    for begin in range(0, len(files), _FILES_AT_A_TIME):
        group = files[begin : begin + _FILES_AT_A_TIME]
        places = _places({name for path, _ in group for name in _recordings_in(path)}, coverage)
        for path, without in group:
            chunks = {nfc(chunk): settings for chunk, settings in told_by(path).chunks.items()}
            seen: set[_Chunk] = set()
            for table in read_file(path) if EMBEDDING in pq.read_schema(path).names else ():
                ids = zip(table["recording_id"].to_pylist(), table["chunk_id"].to_pylist(), strict=True)
                rows = {
                    at: (nfc(recording), nfc(chunk))
                    for at, (recording, chunk) in enumerate(ids)
                    if chunk not in without
                }
                kept = {at: key for at, key in rows.items() if key in places}
                seen.update(kept.values())
                made.unlisted += len(rows) - len(kept)
                made.windows += len(kept)
                if kept:
                    yield _placed(table.take(list(kept)), list(kept.values()), places), chunks
            made.chunks += len(seen)


def _recordings_in(path: Path) -> list[str]:
    names: list[str] = pq.read_table(path, columns=["recording_id"])["recording_id"].unique().to_pylist()
    return [nfc(name) for name in names]


def _places(recordings: set[str], coverage: CoverageStage) -> _Places:
    listed = ", ".join(map(quoted, sorted(recordings))) or "NULL"
    rows = coverage.query(
        f"SELECT recording_id, chunk_id, {', '.join(_OF_COVERAGE)} FROM this WHERE recording_id IN ({listed})"
    )
    return {(row[0], row[1]): row[2:] for row in rows}


def _placed(table: pa.Table, chunks: Sequence[_Chunk], places: _Places) -> pa.Table:
    """Return rows, which are of these chunks, with what the coverage says of them."""
    columns = {name: table[name] for name in table.schema.names}
    columns["recording_id"], columns["chunk_id"] = (pa.array([chunk[at] for chunk in chunks]) for at in (0, 1))
    embedding = columns.pop(EMBEDDING)
    for at, name in enumerate(_OF_COVERAGE):
        columns[name] = pa.array([places[chunk][at] for chunk in chunks], COVERAGE_SCHEMA.field(name).type)
    return pa.table({**columns, EMBEDDING: embedding})
