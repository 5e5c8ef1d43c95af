"""Detections, and the JSON file of each chunk that holds them (`<output-dir>/<recording_id>/<chunk_id>.json`)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from operator import itemgetter
from pathlib import Path
from typing import Any

import orjson

from badc.chunks.manifest import Chunk
from badc.errors import BadcError
from badc.system import atomic
from badc.system.clock import moment


class ResultStatus(StrEnum):
    """What came of a chunk that was analysed."""

    OK = "ok"
    NO_DETECTIONS = "no_detections"
    NO_OUTPUT = "no_output"
    STUB = "stub"


class InvalidResultError(BadcError):
    """A detections file or list that is not what the format says."""


_DETECTION_KEYS = ("timestamp_ms", "end_ms", "label", "label_code", "label_name", "confidence")
_KNOWN_KEYS = frozenset(_DETECTION_KEYS)
_known_values = itemgetter(*_DETECTION_KEYS)
_TOO_LATE_MS = 10**15  # as in a manifest; sums of two such times fit any integer column
_JSON = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE


@dataclass(frozen=True, slots=True)
class Detection:
    """One label, with a confidence, within a chunk.

    Parameters
    ----------
    label
        What was heard, as reports group it.
    label_code, label_name
        The classifier's code and the common name, where it gives them.
    confidence
        0..1, or None where the classifier gives none.
    timestamp_ms, end_ms
        Start and end from the start of the chunk, in ms; None where the classifier gives none.
    extra
        Whatever else a custom command wrote about it; kept as it is.
    """

    label: str
    confidence: float | None
    timestamp_ms: int | None
    end_ms: int | None
    label_code: str | None = None
    label_name: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the keys of formats of a detection, then the extra ones."""
        return {key: getattr(self, key) for key in _DETECTION_KEYS} | dict(self.extra)


@dataclass(frozen=True, slots=True)
class ChunkResult:
    """What the file of one chunk says.

    Parameters
    ----------
    chunk
        The chunk.
    runner
        What analysed it: a runner's `name`.
    status
        What came of it.
    detections
        Its detections.
    model_version
        Name and version of the model, where there is one.
    dataset_root
        The dataset of the run, absolute, or None.
    extra
        Further keys that a custom command wrote; kept as they are.
    """

    chunk: Chunk
    runner: str
    status: ResultStatus
    detections: tuple[Detection, ...] = ()
    model_version: str | None = None
    dataset_root: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


def parse_detections(value: object) -> tuple[Detection, ...]:
    """Check a JSON list of detections.

    Numbers of ms may be whole floats; a missing label is taken from `label_name`, then `label_code`.

    Raises
    ------
    InvalidResultError
        When it is no list of objects, or a value has the wrong type; the text names the detection by its position.
    """
    if not isinstance(value, list):
        raise InvalidResultError(f"'detections' is {_kind(value)}, not a list")
    return tuple(_parse_detection(item, number) for number, item in enumerate(value))


def _parse_detection(item: object, number: int) -> Detection:
    if isinstance(item, dict) and item.keys() == _KNOWN_KEYS:
        start, end, label, code, name, confidence = _known_values(item)
        # Nearly every detection is of just these types. Telling so at once makes aggregation a third faster.
        if (
            type(label) is type(code) is type(name) is str
            and label
            and type(start) is type(end) is int
            and type(confidence) is float
            and 0 <= confidence <= 1
            and 0 <= start <= end < _TOO_LATE_MS
        ):
            return Detection(label, confidence, start, end, code, name)
    return _parse_any_detection(item, number)


def _parse_any_detection(item: object, number: int) -> Detection:
    if not isinstance(item, dict):
        raise InvalidResultError(f"detections[{number}] is {_kind(item)}, not an object")
    texts = {}
    for key in ("label", "label_code", "label_name"):
        text = item.get(key)
        if text is not None and not isinstance(text, str):
            raise InvalidResultError(f"detections[{number}].{key} is {_kind(text)}, not text")
        texts[key] = text
    label = texts["label"] or texts["label_name"] or texts["label_code"]
    if not label:
        raise InvalidResultError(f"detections[{number}] has no label")
    return Detection(
        label=label,
        label_code=texts["label_code"],
        label_name=texts["label_name"],
        confidence=_confidence(item.get("confidence"), number),
        timestamp_ms=_ms(item.get("timestamp_ms"), number, "timestamp_ms"),
        end_ms=_ms(item.get("end_ms"), number, "end_ms"),
        extra={} if item.keys() <= _KNOWN_KEYS else {key: item[key] for key in item if key not in _KNOWN_KEYS},
    )


def _confidence(value: object, number: int) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidResultError(f"detections[{number}].confidence is {_kind(value)}, not a number")
    if not 0 <= value <= 1:
        raise InvalidResultError(f"detections[{number}].confidence {value} is not in 0..1")
    return float(value)


def _ms(value: object, number: int, key: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidResultError(f"detections[{number}].{key} is {_kind(value)}, not a number")
    if not 0 <= value < _TOO_LATE_MS:  # NaN is not in it either
        raise InvalidResultError(f"detections[{number}].{key} {value} is not a time from 0 on")
    return round(value)


def _kind(value: object) -> str:
    names = {type(None): "null", bool: "true/false", str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), "a number")


def result_path(output_dir: Path, chunk: Chunk) -> Path:
    """Return the place of a chunk's detections: `<output_dir>/<recording_id>/<chunk_id>.json`."""
    return output_dir / chunk.recording_id / f"{chunk.chunk_id}.json"


def without_output(output_dir: Path, chunks: Iterable[Chunk]) -> list[Chunk]:
    """Return those of the chunks that have no file of detections, or an empty one, in their order.

    A file that git-annex keeps counts, whether or not its content is here.
    """
    names: dict[Path, frozenset[str]] = {}
    found = []
    for chunk in chunks:
        path = result_path(output_dir, chunk)
        if path.parent not in names:
            names[path.parent] = _names_in(path.parent)
        if path.name not in names[path.parent]:
            found.append(chunk)
    return found


def _names_in(folder: Path) -> frozenset[str]:
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if entry.stat(follow_symlinks=False).st_size)
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()


def write_result(path: Path, result: ChunkResult) -> None:
    """Write a chunk's detections atomically.

    Raises
    ------
    OSError
        When the folder cannot be written or the disk is full; no partial file remains.
    """
    atomic.write_bytes(path, orjson.dumps(result_document(result), option=_JSON))


def result_document(result: ChunkResult) -> dict[str, Any]:
    """Return the JSON object of a chunk's result: the format's keys, then what a custom command added."""
    chunk = result.chunk
    document: dict[str, Any] = {
        "chunk_id": chunk.chunk_id,
        "recording_id": chunk.recording_id,
        "source_path": chunk.source_path,
        "status": result.status.value,
        "detections": [detection.to_json() for detection in result.detections],
        "chunk": {
            "start_ms": chunk.start_ms,
            "end_ms": chunk.end_ms,
            "overlap_ms": chunk.overlap_ms,
            "sha256": chunk.sha256,
            "notes": chunk.notes,
        },
        "runner": result.runner,
    }
    if result.model_version is not None:
        document["model_version"] = result.model_version
    if result.dataset_root is not None:
        document["dataset_root"] = result.dataset_root
    return document | {key: value for key, value in result.extra.items() if key not in document}


def result_problem(path: Path, chunk: Chunk, runner: str, redo_before: str | None = None) -> str | None:
    """Return why a chunk's file does not count as done by this runner, or None when it does.

    Parameters
    ----------
    path
        The file.
    chunk, runner
        What it has to be of.
    redo_before
        The time (ISO 8601) before which it must not have been written, or None.
    """
    try:
        if redo_before is not None and path.stat().st_mtime < moment(redo_before).timestamp():
            return f"its output is from before {redo_before}"
        document = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return "its output is not there"
    except (OSError, orjson.JSONDecodeError) as error:
        return f"its output cannot be read ({error})"
    if not isinstance(document, dict):
        return "its output is not a JSON object"
    if (document.get("recording_id"), document.get("chunk_id")) != (chunk.recording_id, chunk.chunk_id):
        return "its output is another chunk's"
    if document.get("runner") != runner:
        return f"its output is from the runner '{document.get('runner')}'"
    window = document.get("chunk")
    if not isinstance(window, dict) or (window.get("start_ms"), window.get("end_ms")) != (chunk.start_ms, chunk.end_ms):
        return "its output is of another window"
    if document.get("status") not in list(ResultStatus):
        return "its output has no valid status"
    try:
        parse_detections(document.get("detections"))
    except InvalidResultError as error:
        return f"its output is not valid ({error})"
    return None
