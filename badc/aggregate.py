"""Aggregation: the chunks' JSON files become one table of detections and one of coverage.

The tables are streamed: files are read in the order of the rows, a batch at a time, so memory does not grow with their
number. Where the order of the files does not give that of the rows, or manifests have to fill in what is missing,
DuckDB sorts and joins, with a bound on its memory.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from badc import atomic
from badc.aggregate_tables import COVERAGE_SCHEMA, DETECTIONS_SCHEMA, LISTED_SCHEMA, TableStage, write_csv
from badc.chunking import STATUS_FILE
from badc.dataset import absolute, default_summary_csv
from badc.detections import InvalidResultError, ResultStatus, parse_detections
from badc.errors import BadcError, RequestError
from badc.manifest import Chunk, read_manifest
from badc.settings import AggregateSettings

_BATCH_CHUNKS = 5000
_START_MS = re.compile(r"_chunk_(\d+)_\d+\.json$")
# What lies beside detections and is none. Named exactly: an id may start with a dot or end with `.summary`.
_OTHER_FOLDERS = frozenset({".git", ".datalad", ".badc-lock"})
_OTHER_FILES = (".jsonl.summary.json", STATUS_FILE)
_NO_DETECTIONS = (ResultStatus.STUB, ResultStatus.NO_OUTPUT)


@dataclass(slots=True)
class Aggregation:
    """What an aggregation made.

    Parameters
    ----------
    files
        JSON files read.
    chunks, detections
        Rows of coverage and of detections.
    missing
        Chunks of the manifests without an output.
    bad_files
        Files that could not be used, with the reason.
    written
        The tables.
    """

    files: int = 0
    chunks: int = 0
    detections: int = 0
    missing: int = 0
    bad_files: list[tuple[Path, str]] = field(default_factory=list)
    written: list[Path] = field(default_factory=list)


def aggregate(settings: AggregateSettings, on_progress: Callable[[int], None] = lambda files: None) -> Aggregation:
    """Write the tables of a folder of detections.

    Parameters
    ----------
    settings
        What to read and where to write.
    on_progress
        Called now and then with the number of files read.

    Returns
    -------
    Aggregation
        Counts, and the files that could not be used. A folder without JSON files, and no manifest, writes nothing.

    Raises
    ------
    RequestError
        When the folder or a manifest cannot be read, or a table's path is a folder or that of the other table.
    BadcError
        With `strict`, at the first file that cannot be used.
    """
    folder = absolute(settings.detections_dir)
    if not folder.is_dir():
        raise RequestError(f"{settings.detections_dir}: no such folder of detections; `badc infer run` writes one")
    output = absolute(settings.output) if settings.output else default_summary_csv(folder)
    for path in (output, settings.parquet):
        if path is not None and path.is_dir():
            raise RequestError(f"{path}: is a folder; name the file to write")
    if settings.parquet is not None and absolute(settings.parquet) == output:
        raise RequestError(f"{output}: --output and --parquet must be two files")
    manifests = [path for given in settings.manifest for path in _manifests_at(given)]
    made = Aggregation()
    if not manifests and next(_json_files(folder), None) is None:
        return made
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".badc-aggregate-", dir=output.parent) as scratch:
        detections = TableStage(Path(scratch, "detections.parquet"), DETECTIONS_SCHEMA)
        coverage = TableStage(Path(scratch, "coverage.parquet"), COVERAGE_SCHEMA)
        _stage(folder, detections, coverage, made, settings.strict, on_progress)
        if manifests:
            _fill_in(manifests, detections, coverage, Path(scratch))
            made.missing = coverage.count("status = 'missing'")
        detections.sort(("recording_id", "chunk_start_ms", "timestamp_ms", "label"))
        coverage.sort(("recording_id", "start_ms"))
        made.detections, made.chunks = detections.rows, coverage.rows
        _publish(detections, coverage, output, settings.parquet, made)
    return made


def coverage_path(table: Path) -> Path:
    """Return the place of the coverage table beside a detections table: `<stem>_coverage<suffix>`."""
    return table.with_name(f"{table.stem}_coverage{table.suffix}")


def _publish(detections: TableStage, coverage: TableStage, csv: Path, parquet: Path | None, made: Aggregation) -> None:
    for stage, path in ((detections, csv), (coverage, coverage_path(csv))):
        with atomic.replacing(path) as temporary:
            write_csv(stage, temporary)
        made.written.append(path)
    if parquet is not None:
        for stage, path in ((detections, absolute(parquet)), (coverage, coverage_path(absolute(parquet)))):
            with atomic.replacing(path) as temporary:
                stage.copy_to(temporary)
            made.written.append(path)


def _stage(
    folder: Path,
    detections: TableStage,
    coverage: TableStage,
    made: Aggregation,
    strict: bool,
    on_progress: Callable[[int], None],
) -> None:
    """Read every file of the folder into the two stages."""
    with detections, coverage:
        for path in _json_files(folder):
            made.files += 1
            try:
                chunk, rows = _rows_of(path)
            except InvalidResultError as error:
                if strict:
                    raise BadcError(f"{path}: {error}; nothing was written (--strict)") from None
                made.bad_files.append((Path(path), str(error)))
                continue
            coverage.add(chunk, len(rows))
            detections.add(chunk, len(rows), rows)
            if made.files % _BATCH_CHUNKS == 0:
                detections.flush()
                coverage.flush()
                on_progress(made.files)
    on_progress(made.files)


def _json_files(folder: Path) -> Iterator[str]:
    """Yield the JSON files below a folder, those of a recording in the order of their chunks' starts."""
    for base, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _OTHER_FOLDERS)
        names = [name for name in files if name.endswith(".json") and not name.endswith(_OTHER_FILES)]
        names.sort(key=_start_and_name)
        for name in names:
            yield f"{base}{os.sep}{name}"


def _start_and_name(name: str) -> tuple[int, str]:
    match = _START_MS.search(name)
    return (int(match[1]) if match else 0, name)


def _rows_of(path: str) -> tuple[dict[str, Any], Sequence[Any]]:
    """Return a file's chunk columns and its detections.

    Raises
    ------
    InvalidResultError
        When the file is not what the format says.
    """
    try:
        with open(path, "rb") as stream:  # noqa: PTH123 - a Path per file costs as much as parsing it
            document = orjson.loads(stream.read())
    except orjson.JSONDecodeError as error:
        raise InvalidResultError(f"not JSON: {error}") from None
    except OSError as error:
        raise InvalidResultError(f"cannot be read ({error.strerror})") from None
    if not isinstance(document, dict):
        raise InvalidResultError("not a JSON object")
    chunk_id = _text(document, "chunk_id")
    if chunk_id is None:
        raise InvalidResultError("it has no chunk_id, so it is not a chunk's detections")
    window = document.get("chunk") or {}
    if not isinstance(window, dict):
        raise InvalidResultError("its 'chunk' is not an object")
    status = _text(document, "status")
    rows = () if status in _NO_DETECTIONS else parse_detections(document.get("detections", []))
    return {
        "recording_id": _text(document, "recording_id") or Path(path).parent.name,
        "chunk_id": chunk_id,
        "chunk_start_ms": _ms(window, "start_ms"),
        "chunk_end_ms": _ms(window, "end_ms"),
        "status": status,
        "runner": _text(document, "runner"),
        "model_version": _text(document, "model_version"),
        "chunk_sha256": _text(window, "sha256"),
        "source_path": _text(document, "source_path"),
        "dataset_root": _text(document, "dataset_root"),
    }, rows


def _text(document: dict[str, Any], key: str) -> str | None:
    value = document.get(key)
    if value is not None and not isinstance(value, str):
        raise InvalidResultError(f"'{key}' is not text")
    return value


def _ms(window: dict[str, Any], key: str) -> int | None:
    value = window.get(key)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 10**15):
        raise InvalidResultError(f"chunk.{key} is not a whole number of ms")
    return value


def _manifests_at(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(path.rglob("*.csv"))
    if not found:
        raise RequestError(f"{path}: holds no manifest (*.csv)")
    return found


def _fill_in(manifests: Sequence[Path], detections: TableStage, coverage: TableStage, scratch: Path) -> None:
    """Give chunks what the manifests know of them, and add those that have no output."""
    listed = TableStage(scratch / "listed.parquet", LISTED_SCHEMA)
    with listed:
        for path in manifests:
            for number, chunk in enumerate(read_manifest(path).chunks, start=1):
                listed.add(_columns_of(chunk), 0)
                if number % _BATCH_CHUNKS == 0:
                    listed.flush()
    coverage.fill_in(listed)
    detections.fill_in(listed)


def _columns_of(chunk: Chunk) -> dict[str, Any]:
    return {
        "recording_id": chunk.recording_id,
        "chunk_id": chunk.chunk_id,
        "chunk_start_ms": chunk.start_ms,
        "chunk_end_ms": chunk.end_ms,
        "status": "missing",
        "runner": None,
        "chunk_sha256": chunk.sha256,
        "source_path": chunk.source_path,
    }
