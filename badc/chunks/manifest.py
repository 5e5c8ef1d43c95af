"""The manifest: the CSV that lists the chunks of (usually) one recording."""

from __future__ import annotations

import csv
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from badc.errors import MOST_LISTED, RequestError, listed, numbered
from badc.recordings.locate import find_audio, in_dataset, plain_dataset_of
from badc.recordings.names import id_problem
from badc.system import atomic
from badc.system.annex import ContentElsewhereError, content_is_elsewhere, is_locked
from badc.system.paths import absolute, find_dataset_root, walk
from badc.system.texts import csv_writer, require_commas

if TYPE_CHECKING:
    import _csv

REQUIRED_COLUMNS = ("recording_id", "chunk_id", "source_path", "start_ms", "end_ms")
COLUMNS = (*REQUIRED_COLUMNS, "overlap_ms", "sha256", "notes")
NO_HASH = "TODO_HASH"
_MOST_DIGITS = 15


@dataclass(frozen=True, slots=True)
class Chunk:
    """A window `[start_ms, end_ms)` of one recording, in ms from its start; `0 <= start_ms < end_ms`.

    Both ids are usable as file names. `source_path` is the chunk's own WAV, or the recording, as the manifest writes
    it. `overlap_ms` is how much of the window the chunk before covers too. `sha256` is the hash of the chunk's WAV (see
    `badc.chunks.cutting.chunk_sha256`), or None.
    """

    recording_id: str
    chunk_id: str
    source_path: str
    start_ms: int
    end_ms: int
    overlap_ms: int = 0
    sha256: str | None = None
    notes: str = ""

    @property
    def duration_ms(self) -> int:
        """Length of the window in ms."""
        return self.end_ms - self.start_ms

    def with_note(self, note: str) -> Chunk:
        """Return the chunk with this among its notes."""
        if note in self.notes:
            return self
        return replace(self, notes=f"{self.notes}; {note}" if self.notes else note)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest that was read and found valid: its absolute path, its dataset or None, and its rows in order.

    `audio_root` is the folder that the audio is looked for in: the dataset, also one without `.datalad`, or None.
    """

    path: Path
    dataset_root: Path | None
    chunks: Sequence[Chunk]
    audio_root: Path | None = None

    def locate(self, source_path: str) -> Path:
        """Return where a row's audio is: in the dataset, else beside the manifest, else here (see `in_dataset`)."""
        if Path(source_path).is_absolute():
            return in_dataset(source_path, self.audio_root)
        root = [] if self.audio_root is None else [self.audio_root]
        return find_audio(source_path, [*root, self.path.parent, Path.cwd()])


def chunk_id_of(recording_id: str, start_ms: int, end_ms: int) -> str:
    """Return `<recording_id>_chunk_<start_ms>_<end_ms>`."""
    return f"{recording_id}_chunk_{start_ms}_{end_ms}"


def manifests_below(folder: Path) -> list[Path]:
    """Return the CSV files at and below a folder, sorted; see `is_passed_over`."""
    found = (
        os.path.join(base, name)  # noqa: PTH118 - as a Path it takes five times as long, and to compare two even more
        for base, names in walk(folder)
        for name in names
        if name.endswith(".csv")
    )
    return [Path(path) for path in sorted(found, key=lambda path: path.split("/"))]


def read_manifest(path: Path, dataset_root: Path | None = None) -> Manifest:
    """Read and check a whole manifest: CSV with the `REQUIRED_COLUMNS`, UTF-8 with or without a BOM, any line ends.

    `dataset_root` is the dataset that relative paths refer to; by default the one that the file is in.

    Raises
    ------
    RequestError
        When the file is no such CSV, or rows are bad; the text gives their line numbers.
    ContentElsewhereError
        When git-annex keeps the file, and its content is not here.
    """
    full = absolute(path)
    chunks: list[Chunk] = []
    problems: list[str] = []
    total = 0
    for item in _rows(path):
        if isinstance(item, Chunk):
            chunks.append(item)
        else:
            total += 1
            if len(problems) < MOST_LISTED:
                problems.append(item)
    if problems:
        raise RequestError(listed(problems, total))
    root = dataset_root or find_dataset_root(full)
    return Manifest(full, root, chunks, root or plain_dataset_of(full))


def write_manifest(path: Path, chunks: Iterable[Chunk]) -> None:
    """Write a manifest atomically, with all columns of `COLUMNS`."""
    with (
        atomic.replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv_writer(stream)
        writer.writerow(COLUMNS)
        for c in chunks:
            writer.writerow(
                (c.recording_id, c.chunk_id, c.source_path, c.start_ms, c.end_ms, c.overlap_ms, c.sha256 or "", c.notes)
            )


def job_keys(chunks: Sequence[Chunk]) -> list[str]:
    """Return each chunk's key in a summary: its id, or `<recording_id>/<chunk_id>` if recordings share the id."""
    counts = Counter(chunk.chunk_id for chunk in chunks)
    if len(counts) == len(chunks):
        return [chunk.chunk_id for chunk in chunks]
    return [f"{c.recording_id}/{c.chunk_id}" if counts[c.chunk_id] > 1 else c.chunk_id for c in chunks]


def _rows(path: Path) -> Iterator[Chunk | str]:
    """Yield each row's chunk, or what is wrong with it and where."""
    with _open(path) as stream:
        reader = csv.reader(stream)
        lines = _numbered(reader, path)
        first = next(lines, None)
        if first is None or not any(first[1]):
            raise RequestError(f"{path}: the manifest is empty; its first line must be {','.join(COLUMNS)}")
        if isinstance(first[1], str):
            raise RequestError(first[1])
        parse = _row_parser(path, first[1])
        seen: dict[tuple[str, str], int] = {}
        for line, row in lines:
            if isinstance(row, str):
                yield row
            elif row:  # not an empty line
                yield _unless_repeated(parse(row, line), seen, path, line)


def _numbered(reader: _csv.Reader, path: Path) -> Iterator[tuple[int, list[str] | str]]:
    """Yield each row with the number of its first line; if it is not CSV, the error instead of the row."""
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, f"{path}:{line}: not CSV: {error}"
        except UnicodeDecodeError:
            if _is_binary(path):
                raise RequestError(
                    f"{path}: no manifest, but a binary file; of a recording, `badc chunk manifest {path}` writes one"
                ) from None
            raise RequestError(f"{path}:{_first_undecodable_line(path)}: not UTF-8; save it as UTF-8") from None
        else:
            yield line, row


def _unless_repeated(item: Chunk | str, seen: dict[tuple[str, str], int], path: Path, line: int) -> Chunk | str:
    if isinstance(item, str):
        return item
    first = seen.setdefault((item.recording_id, item.chunk_id), line)
    if first == line:
        return item
    return f"{path}:{line}: chunk_id '{item.chunk_id}' is in line {first} too; ids must be unique in a manifest"


def _open(path: Path) -> TextIO:
    try:
        return path.open(encoding="utf-8-sig", newline="")
    except FileNotFoundError:
        if is_locked(path):
            raise ContentElsewhereError.of(path, "manifest") from None
        raise RequestError(f"{path}: no such manifest; `badc chunk manifest AUDIO` writes one") from None
    except IsADirectoryError:
        raise RequestError(f"{path}: is a folder, not a manifest; name a CSV file in it") from None
    except OSError as error:
        raise RequestError(f"{path}: cannot be read ({error.strerror})") from error


def _is_binary(path: Path) -> bool:
    with path.open("rb") as stream:
        begin = stream.read(4096)
    return b"\0" in begin and not begin.startswith((b"\xff\xfe", b"\xfe\xff"))  # UTF-16 has such bytes too


def _first_undecodable_line(path: Path) -> int:
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 1


def _row_parser(path: Path, header: list[str]) -> Callable[[list[str], int], Chunk | str]:
    """Return the function that turns a row into a chunk, for the columns of this header."""
    names = [name.strip() for name in header]
    missing = [name for name in REQUIRED_COLUMNS if name not in names]
    if missing:
        if content_is_elsewhere(path):
            raise ContentElsewhereError.of(path, "manifest")
        require_commas(path, names, "manifest")
        raise RequestError(
            f"{path}:1: the column{'s' * (len(missing) > 1)} {', '.join(missing)} "
            f"{'are' if len(missing) > 1 else 'is'} missing; a manifest starts with {','.join(COLUMNS)}"
        )
    index = [names.index(name) for name in REQUIRED_COLUMNS]
    recording_at, chunk_at, source_at, start_at, end_at = index
    overlap_at, hash_at, notes_at = (names.index(name) if name in names else None for name in COLUMNS[5:])
    width = max(index) + 1
    problem_of_recording = lru_cache(maxsize=1024)(id_problem)  # the same one in thousands of rows

    def cell(row: list[str], at: int | None) -> str:
        return row[at].strip() if at is not None and at < len(row) and row[at] else ""

    def parse(row: list[str], line: int) -> Chunk | str:
        if len(row) < width:
            return f"{path}:{line}: the row has {numbered(len(row), 'field')}, the manifest's columns need {width}"
        recording_id, chunk_id, source = row[recording_at], row[chunk_at], row[source_at]
        if problem := problem_of_recording(recording_id):
            return f"{path}:{line}: recording_id {recording_id!r} cannot be used: {problem}"
        if problem := id_problem(chunk_id):
            return f"{path}:{line}: chunk_id {chunk_id!r} cannot be used: {problem}"
        if not source or "\0" in source:
            return f"{path}:{line}: source_path {source!r} is not a path"
        times = _window(row[start_at], row[end_at], cell(row, overlap_at))
        if isinstance(times, str):
            return f"{path}:{line}: {times}"
        digest = cell(row, hash_at)
        return Chunk(
            sys.intern(recording_id),
            chunk_id,
            sys.intern(source),
            *times,
            digest if digest not in ("", NO_HASH) else None,
            sys.intern(cell(row, notes_at)),
        )

    return parse


def _window(start: str, end: str, overlap: str) -> tuple[int, int, int] | str:
    """Return start, end and overlap in ms, or what is wrong with them."""
    start_ms, end_ms, overlap_ms = _ms(start), _ms(end), _ms(overlap) if overlap else 0
    if start_ms is None or end_ms is None or overlap_ms is None:
        values = {"start_ms": (start, start_ms), "end_ms": (end, end_ms), "overlap_ms": (overlap, overlap_ms)}
        name, text = next((name, text) for name, (text, ms) in values.items() if ms is None)
        return f"{name} {text!r} is not a whole number of ms from 0 on"
    if end_ms <= start_ms:
        return f"end_ms {end_ms} is not after start_ms {start_ms}"
    return start_ms, end_ms, overlap_ms


def _ms(text: str) -> int | None:
    """Return a time in ms, or None. `int` alone would accept `1_000` and digits of any script."""
    digits = text if text.isdigit() else text.strip().removeprefix("+")
    return int(digits) if digits.isdigit() and digits.isascii() and len(digits) <= _MOST_DIGITS else None
