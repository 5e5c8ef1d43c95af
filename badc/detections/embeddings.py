"""The files of embeddings: one Parquet file for each recording, gathered from one for each chunk.

A worker writes `DIR/RECORDING/CHUNK.parquet` before the chunk's detections, so a chunk with detections has its
embeddings, whatever is killed. When the recording's run ends, they are gathered into `DIR/RECORDING.parquet`. Until
then readers take both, and a chunk's own file counts for more than the recording's.
"""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from badc.chunks.manifest import Chunk
from badc.detections.fingerprint import CHANNEL, fingerprint_of
from badc.detections.tables import RUNS_KEY
from badc.errors import BadcError, RequestError, numbered
from badc.system import atomic
from badc.system.annex import require_content

EMBEDDING = "embedding"
# Without the embedding, a list of a size that depends on the model.
COLUMNS = pa.schema(
    [
        ("recording_id", pa.string()),
        ("chunk_id", pa.string()),
        ("chunk_start_ms", pa.int64()),
        ("chunk_end_ms", pa.int64()),
        ("start_ms", pa.int64()),
        ("end_ms", pa.int64()),
        ("source_path", pa.string()),
        ("dataset_root", pa.string()),
        ("model", pa.string()),
    ]
)
# Keys in a file's Parquet metadata, beside `RUNS_KEY`: the model of all its rows, and its chunks, also those without a
# window: JSON, the fingerprint of the settings by chunk.
_MODEL_KEY, _CHUNKS_KEY = "badc.model", "badc.chunks"
_ROWS_PER_GROUP = 4096
# Of 4,096 bytes for an embedding of BirdNET, 3,043 are left; zstd alone leaves 3,290.
_WRITING: Mapping[str, Any] = {
    "compression": "zstd",
    "use_dictionary": COLUMNS.names,
    "use_byte_stream_split": [f"{EMBEDDING}.list.element"],
}


class UnreadableEmbeddingsError(BadcError):
    """A file of embeddings that is damaged, or something else."""


class OtherModelError(BadcError):
    """Embeddings of two models, of which a file can have one."""


def model_of(settings: Mapping[str, Any]) -> str:
    """Return the fingerprint of the model with these settings: only embeddings of one model can be compared.

    The channels do not count: they are chosen for a recording.
    """
    return fingerprint_of({name: value for name, value in settings.items() if name != CHANNEL})


@dataclass(frozen=True, slots=True)
class Told:
    """What a file says of itself: its model, its chunks, and the settings that made each."""

    model: str
    chunks: Mapping[str, Mapping[str, Any]]

    def metadata(self) -> dict[str, str]:
        """Return it as metadata of a Parquet file."""
        made = {chunk: fingerprint_of(settings) for chunk, settings in self.chunks.items()}
        runs = {made[chunk]: settings for chunk, settings in self.chunks.items()}
        return {
            _MODEL_KEY: self.model,
            _CHUNKS_KEY: orjson.dumps(made).decode(),
            RUNS_KEY: orjson.dumps(runs).decode(),
        }


def told_by(path: Path) -> Told:
    """Return what a file of embeddings says of itself.

    Raises
    ------
    ContentElsewhereError
        When its content is in the annex only.
    UnreadableEmbeddingsError
        When it cannot be read, or is something else.
    """
    require_content([path], "embeddings")
    with _explained(path):
        found = pq.read_metadata(path).metadata or {}
        runs, made = orjson.loads(found[RUNS_KEY.encode()]), orjson.loads(found[_CHUNKS_KEY.encode()])
        chunks = {chunk: runs[fingerprint] for chunk, fingerprint in made.items()}
        return Told(found[_MODEL_KEY.encode()].decode(), chunks)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, KeyError, ValueError) as error:  # orjson's error is a ValueError
        raise UnreadableEmbeddingsError(f"{path}: cannot be read as embeddings ({error}); move it away") from None


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows of a chunk: their starts in ms from its start, their length if it is known, and their embeddings.

    `rows` are float32, `(windows, size)`.
    """

    start_ms: Sequence[int]
    length_ms: int | None
    rows: np.ndarray[Any, np.dtype[np.float32]]


def write_chunk(
    folder: Path, chunk: Chunk, dataset_root: str | None, windows: Windows, settings: Mapping[str, Any]
) -> None:
    """Write the embeddings of a chunk, which these settings make, atomically; the detections come after them."""
    model = model_of(settings)
    count, length_ms, start_ms = len(windows.start_ms), windows.length_ms, chunk.start_ms
    ends_ms = [None if length_ms is None else min(start_ms + at + length_ms, chunk.end_ms) for at in windows.start_ms]
    columns = {
        "recording_id": [chunk.recording_id] * count,
        "chunk_id": [chunk.chunk_id] * count,
        "chunk_start_ms": [start_ms] * count,
        "chunk_end_ms": [chunk.end_ms] * count,
        "start_ms": [start_ms + at for at in windows.start_ms],
        "end_ms": ends_ms,
        "source_path": [chunk.source_path] * count,
        "dataset_root": [dataset_root] * count,
        "model": [model] * count,
    }
    table = pa.table(columns, schema=COLUMNS)
    if count:
        size = windows.rows.shape[1]
        table = table.append_column(EMBEDDING, pa.FixedSizeListArray.from_arrays(windows.rows.ravel(), size))
    with atomic.replacing(_part(folder, chunk.recording_id, chunk.chunk_id)) as temporary:
        told = Told(model, {chunk.chunk_id: settings}).metadata()
        pq.write_table(table.replace_schema_metadata(told), temporary, compression="none", use_dictionary=False)


def file_of(folder: Path, recording_id: str) -> Path:
    """Return the path of a recording's embeddings."""
    return folder / f"{recording_id}.parquet"


def _part(folder: Path, recording_id: str, chunk_id: str) -> Path:
    return folder / recording_id / f"{chunk_id}.parquet"


def parts_of(folder: Path, recording_id: str) -> list[Path]:
    """Return the files of a recording's chunks that are not gathered yet."""
    return _parquet_in(folder / recording_id)


def _parquet_in(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".parquet" and path.name[0] != ".")
    except (FileNotFoundError, NotADirectoryError):
        return []


def kept_chunks(folder: Path, recording_id: str) -> dict[str, Mapping[str, Any]]:
    """Return the chunks of a recording whose embeddings are here, each with the settings that made them.

    Raises as `told_by`.
    """
    whole = file_of(folder, recording_id)
    paths = [*([whole] if whole.exists() or whole.is_symlink() else []), *parts_of(folder, recording_id)]
    return {chunk: settings for path in paths for chunk, settings in told_by(path).chunks.items()}


def gather(folder: Path, recording_id: str, replace: bool = False) -> None:
    """Put the embeddings of a recording's chunks together, with what its file has already.

    All are of the model of the newest. If that would lose those of another, `replace` says that they may go.

    Raises
    ------
    ContentElsewhereError, UnreadableEmbeddingsError
        As `told_by`.
    OtherModelError
        When embeddings of another model would be lost; all files stay.
    OSError
        When the disk is full; the files of the chunks stay.
    """
    parts = parts_of(folder, recording_id)
    if not parts:
        return
    whole = file_of(folder, recording_id)
    told = {part: told_by(part) for part in parts}
    kept = told_by(whole) if whole.exists() or whole.is_symlink() else None
    model = told[max(parts, key=lambda part: part.stat().st_mtime_ns)].model
    of_model = {part: found for part, found in told.items() if found.model == model}
    chunks = {chunk: settings for found in of_model.values() for chunk, settings in found.chunks.items()}
    before: Iterable[tuple[int, pa.Table]] = ()
    if kept is not None and kept.model == model:
        before = _chunks_in(whole, without=frozenset(chunks))
        chunks = {**kept.chunks, **chunks}
    every = [*told.values(), *([] if kept is None else [kept])]
    lost = {chunk for found in every for chunk in found.chunks} - chunks.keys()
    if lost and not replace:
        raise OtherModelError(
            f"{whole}: is to be of one model, and {numbered(len(lost), 'chunk has', 'chunks have')} embeddings of "
            f"another than the newest; all stay, those of the newest in {folder / recording_id}. Write them to another "
            "folder with --embeddings, or drop the others with --replace-results"
        )
    after = sorted((_start_of(part), part) for part in of_model)
    pieces = heapq.merge(before, ((start, pq.read_table(part)) for start, part in after), key=itemgetter(0))
    with _explained(folder / recording_id), atomic.replacing(whole) as temporary:
        write_file(temporary, (table for _, table in pieces), lambda: Told(model, chunks))
    for part in parts:
        part.unlink()
    with contextlib.suppress(OSError):  # somebody has other files in it
        (folder / recording_id).rmdir()


def _start_of(part: Path) -> int:
    starts = pq.read_table(part, columns=["chunk_start_ms"])["chunk_start_ms"]
    return starts[0].as_py() if len(starts) else 0


def _chunks_in(path: Path, without: frozenset[str]) -> Iterator[tuple[int, pa.Table]]:
    """Yield the rows of a file, a chunk's at a time with its start; those of some chunks are left out."""
    for table in read_file(path):
        begin = 0
        for (chunk_id, start_ms), rows in groupby(
            zip(table["chunk_id"].to_pylist(), table["chunk_start_ms"].to_pylist(), strict=True)
        ):
            count = sum(1 for _ in rows)
            if chunk_id not in without:
                yield start_ms, table.slice(begin, count)
            begin += count


def read_file(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """Yield the rows of a file, a few thousand at a time."""
    with _explained(path), pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_ROWS_PER_GROUP, columns=columns):
            yield pa.Table.from_batches([batch])


def write_file(path: Path, tables: Iterable[pa.Table], told: Callable[[], Told]) -> None:
    """Write tables one after the other into a file, in groups of a size that is fast to read.

    What the file tells of itself is asked for at the end.
    """
    writer: pq.ParquetWriter | None = None
    waiting: list[pa.Table] = []
    number = 0
    try:
        for table in tables:
            if not table.num_rows:
                continue
            waiting.append(table.replace_schema_metadata(None))
            number += table.num_rows
            writer = writer or pq.ParquetWriter(path, waiting[0].schema, **_WRITING)
            if number >= _ROWS_PER_GROUP:
                gathered = pa.concat_tables(waiting)
                number %= _ROWS_PER_GROUP
                writer.write_table(gathered.slice(0, len(gathered) - number), _ROWS_PER_GROUP)
                waiting = [gathered.slice(len(gathered) - number)]
        if writer is not None and number:
            writer.write_table(pa.concat_tables(waiting))
        if writer is None:
            writer = pq.ParquetWriter(path, COLUMNS)
        writer.add_key_value_metadata(told().metadata())
    finally:
        if writer is not None:
            writer.close()


def files_in(folder: Path) -> Iterator[tuple[Path, frozenset[str]]]:
    """Yield the files of embeddings in a folder, each with the chunks that count in a file of their own."""
    for path in _parquet_in(folder):
        yield path, frozenset(part.stem for part in parts_of(folder, path.stem))
    for recording in sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != "."):
        yield from ((part, frozenset()) for part in _parquet_in(recording))


def files_here(folder: Path) -> list[tuple[Path, frozenset[str]]]:
    """Return the files of embeddings in a folder (see `files_in`), all of which are here.

    Raises
    ------
    RequestError
        When there is none; ContentElsewhereError when their content is in the annex only.
    """
    files = list(files_in(folder)) if folder.is_dir() else []
    if not files:
        raise RequestError(f"{folder}: no embeddings (*.parquet) in it; a run with --embeddings writes them")
    require_content([path for path, _ in files], "embeddings")
    return files
