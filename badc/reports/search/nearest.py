"""Find the embeddings that are most like others: by cosine, exactly, a few thousand of a file at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from badc.detections.embeddings import EMBEDDING, file_of, files_here, parts_of, read_file, told_by
from badc.errors import RequestError
from badc.system.annex import require_content
from badc.system.threads import cores, in_threads

_MOST_THREADS = 8
Rows = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True, slots=True)
class Hit:
    """A window, and how like it is to what was searched for: the cosine of their embeddings, at most 1.

    Times are from the start of the recording, which began at `recorded_at` by the recorder's clock. The station is
    known of embeddings that `badc infer aggregate` collected.
    """

    similarity: float
    recording_id: str
    chunk_id: str
    chunk_start_ms: int
    chunk_end_ms: int
    start_ms: int
    end_ms: int | None
    source_path: str | None
    dataset_root: str | None
    station: str | None = None
    recorded_at: datetime | None = None

    @property
    def local_time(self) -> datetime | None:
        """When the window begins, by the recorder's clock."""
        return None if self.recorded_at is None else self.recorded_at + timedelta(milliseconds=self.start_ms)


@dataclass(frozen=True, slots=True)
class Query:
    """What is searched for: embeddings, `(number, size)`, of a model; a window counts by the one that it is most like.

    `name` says what they are of, and `start_ms` where the first begins.
    """

    name: str
    rows: Rows
    model: str
    start_ms: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """The hits, the most similar first, and how many windows were compared, and left out as of another model."""

    hits: tuple[Hit, ...]
    compared: int
    of_other_models: int


@dataclass(frozen=True, slots=True)
class _InFile:
    path: Path
    similarities: Rows  # of its best rows, the highest first
    places: np.ndarray[Any, np.dtype[np.int64]]  # where in the file these are
    compared: int
    of_other_models: int


def search(
    folder: Path, query: Query, top: int, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> Found:
    """Return the `top` windows of a folder of embeddings; `on_progress` gets the files read and all.

    Raises
    ------
    ContentElsewhereError
        When the content of files is in the annex only.
    RequestError
        When there are no files, or what is searched for has no direction.
    BadcError
        When a file is no file of embeddings.
    """
    files = files_here(folder)
    lengths = np.linalg.norm(query.rows, axis=1, keepdims=True)
    some = (lengths[:, 0] > 0) & np.isfinite(lengths[:, 0])
    if not some.any():
        raise RequestError(f"{query.name}: its embedding has no direction, as of silence, so nothing is like it")
    towards = query.rows[some] / lengths[some]
    found: list[_InFile] = []
    threads = min(_MOST_THREADS, cores())  # to decode takes a core, and each file that is open memory
    for each in in_threads(lambda item: _best_in(*item, towards.T, query.model, top), files, threads):
        found.append(each)
        on_progress(len(found), len(files))
    ranked = sorted(
        ((-float(s), str(each.path), int(place), each.path) for each in found for s, place in _pairs(each)),
        key=lambda one: one[:3],
    )[:top]
    wanted: dict[Path, list[int]] = {}
    for _, _, place, path in ranked:
        wanted.setdefault(path, []).append(place)
    rows = {(path, place): row for path, places in wanted.items() for place, row in _rows(path, places)}
    hits = [_hit(-negative, rows[path, place]) for negative, _, place, path in ranked]
    return Found(tuple(hits), sum(each.compared for each in found), sum(each.of_other_models for each in found))


def _pairs(found: _InFile) -> Sequence[tuple[float, int]]:
    return list(zip(found.similarities.tolist(), found.places.tolist(), strict=True))


def _best_in(path: Path, without: frozenset[str], towards: Rows, model: str, top: int) -> _InFile:
    """Return the rows of a file that are most like the columns of `towards`, which have the length 1."""
    best, places = np.empty(0, np.float32), np.empty(0, np.int64)
    compared = begin = 0
    if told_by(path).model != model:
        return _InFile(path, best, places, 0, pq.read_metadata(path).num_rows)
    if EMBEDDING not in pq.read_schema(path).names:
        return _InFile(path, best, places, 0, 0)
    for table in read_file(path, [EMBEDDING, *(["chunk_id"] if without else [])]):
        similarities = _similarities(_matrix(table), towards)
        if without:
            similarities[[chunk in without for chunk in table["chunk_id"].to_pylist()]] = np.nan
        kept = np.flatnonzero(np.isfinite(similarities))
        compared += len(kept)
        best = np.concatenate([best, similarities[kept]])
        places = np.concatenate([places, kept + begin])
        order = np.argsort(-best, kind="stable")[:top]
        best, places = best[order], places[order]
        begin += table.num_rows
    return _InFile(path, best, places, compared, 0)


def _matrix(table: pa.Table) -> Rows:
    column = table[EMBEDDING]
    pieces = [piece.flatten().to_numpy().reshape(-1, column.type.list_size) for piece in column.chunks]
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def _similarities(rows: Rows, towards: Rows) -> Rows:
    """Return for each row its cosine with the nearest column of `towards`; NaN for a row without a direction."""
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Rows = (rows @ towards).max(axis=1) / lengths
    return np.clip(found, -1, 1)


def _rows(path: Path, places: Sequence[int]) -> list[tuple[int, dict[str, Any]]]:
    names = [name for name in pq.read_schema(path).names if name != EMBEDDING]
    table = pq.read_table(path, columns=names).take(places)
    return list(zip(places, table.to_pylist(), strict=True))


def _hit(similarity: float, row: dict[str, Any]) -> Hit:
    return Hit(similarity, **{name: row[name] for name in Hit.__dataclass_fields__ if name in row})


def stored(folder: Path, recording_id: str, at_ms: int) -> Query:
    """Return the embedding of the window of a recording that contains a time, the last one if several do.

    Raises
    ------
    RequestError
        When there is none.
    """
    whole = file_of(folder, recording_id)
    own = [whole] if whole.exists() or whole.is_symlink() else []
    files = [*own, *parts_of(folder, recording_id)] or [path for path, _ in files_here(folder)]
    require_content(files, "embeddings")
    windows = 0
    best: tuple[int, Path] | None = None
    for path in files:
        told_by(path)  # what is no such file is named
        names = ["start_ms", "end_ms", "chunk_end_ms"]
        table = pq.read_table(path, columns=names, filters=[("recording_id", "=", recording_id)])
        times = zip(*(table[name].to_pylist() for name in names), strict=True)
        starts = [start for start, end, of_chunk in times if start <= at_ms < (of_chunk if end is None else end)]
        windows += table.num_rows
        if starts and (best is None or max(starts) >= best[0]):
            best = (max(starts), path)
    if best is None:
        where = "has no window at that time" if windows else "is not in it"
        raise RequestError(f"{folder}: the recording {recording_id} {where}; --recording and --start name one that is")
    start_ms, path = best
    row = pq.read_table(
        path,
        columns=["model", EMBEDDING],
        filters=[("recording_id", "=", recording_id), ("start_ms", "=", start_ms)],
    )
    return Query(f"{recording_id} at {start_ms / 1000:g} s", _matrix(row)[:1], row["model"][0].as_py(), start_ms)
