"""Detections, and the JSON file of each chunk that holds them (`<output-dir>/<recording_id>/<chunk_id>.json`)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from operator import itemgetter
from pathlib import Path
from typing import Any

import orjson

from badc.chunks.manifest import Chunk
from badc.detections.fingerprint import (
    RUNNER,
    differ_in_channels_only,
    differences,
    fingerprint_of,
    settings_of,
)
from badc.errors import BadcError
from badc.system import annex, atomic
from badc.system.clock import moment


class ResultStatus(StrEnum):
    """The outcome of a chunk's analysis."""

    OK = "ok"
    NO_DETECTIONS = "no_detections"
    NO_OUTPUT = "no_output"
    STUB = "stub"


class InvalidResultError(BadcError):
    """A detections file or list that does not follow the format."""


_DETECTION_KEYS = ("timestamp_ms", "end_ms", "label", "label_code", "label_name", "confidence")
_KNOWN_KEYS = frozenset(_DETECTION_KEYS)
_known_values = itemgetter(*_DETECTION_KEYS)
_TOO_LATE_MS = 10**15  # as in a manifest; sums of two such times fit any integer column
_JSON = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE


@dataclass(frozen=True, slots=True)
class Detection:
    """One label within a chunk; `label` is what reports group by.

    `confidence` is in 0..1; `timestamp_ms` and `end_ms` are in ms from the start of the chunk; `label_code` is the
    classifier's code and `label_name` the common name. Each is None if the classifier gives none. `extra` has what else
    a custom command wrote, kept as it is.
    """

    label: str
    confidence: float | None
    timestamp_ms: int | None
    end_ms: int | None
    label_code: str | None = None
    label_name: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the format's keys of a detection, then the extra ones."""
        return {key: getattr(self, key) for key in _DETECTION_KEYS} | dict(self.extra)


@dataclass(frozen=True, slots=True)
class ChunkResult:
    """The content of one chunk's file.

    `runner` is the `name` of the runner that analysed it; `model_version` is the model's name and version, if there is
    one. `dataset_root` is the run's dataset, absolute. `settings` is what made the detections (see
    `badc.detections.fingerprint`). `extra` has what else a custom command wrote, kept as it is.
    """

    chunk: Chunk
    runner: str
    status: ResultStatus
    detections: tuple[Detection, ...] = ()
    model_version: str | None = None
    dataset_root: str | None = None
    settings: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


def parse_detections(value: object) -> tuple[Detection, ...]:
    """Check a JSON list of detections.

    Times in ms may be floats, which are rounded. A missing label is the code if it is short, that is one word, else the
    name.

    Raises
    ------
    InvalidResultError
        When it is not a list of objects, or a value has the wrong type; the text gives the detection's position.
    """
    if not isinstance(value, list):
        raise InvalidResultError(f"'detections' is {_kind(value)}, not a list")
    return tuple(_parse_detection(item, number) for number, item in enumerate(value))


def _parse_detection(item: object, number: int) -> Detection:
    if isinstance(item, dict) and item.keys() == _KNOWN_KEYS:
        start, end, label, code, name, confidence = _known_values(item)
        # Nearly every detection has just these types. Checking them first makes aggregation a third faster.
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
    code, name = texts["label_code"], texts["label_name"]
    label = texts["label"] or (code if code and len(code.split()) == 1 else name or code)
    if not label:
        raise InvalidResultError(f"detections[{number}] has no label")
    return Detection(
        label=label,
        label_code=code,
        label_name=name,
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
    if not 0 <= value < _TOO_LATE_MS:  # NaN is refused too
        raise InvalidResultError(f"detections[{number}].{key} {value} is not a time from 0 on")
    return round(value)


def _kind(value: object) -> str:
    names = {type(None): "null", bool: "true/false", str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), "a number")


def result_path(output_dir: Path, chunk: Chunk) -> Path:
    """Return the place of a chunk's detections: `<output_dir>/<recording_id>/<chunk_id>.json`."""
    return output_dir / chunk.recording_id / f"{chunk.chunk_id}.json"


def without_output(output_dir: Path, chunks: Iterable[Chunk]) -> list[Chunk]:
    """Return those chunks, in order, whose file of detections is missing or empty.

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
    """Write a chunk's detections atomically; an OSError, as on a full disk, leaves no partial file."""
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
    if result.settings is not None:
        document |= {"fingerprint": fingerprint_of(result.settings), "settings": dict(result.settings)}
    return document | {key: value for key, value in result.extra.items() if key not in document}


@dataclass(frozen=True, slots=True)
class Standing:
    """How a chunk's output stands.

    `problem` says why it is not the finished result that is asked for; None if it is. `other` is what made it if it is
    a whole result of this chunk by other settings than those asked for. One that is `elsewhere` is in the annex, and
    its content is not here: it counts as finished, but what made it is unknown, in case it is to be replaced.
    """

    problem: str | None = None
    other: Mapping[str, Any] | None = None
    elsewhere: bool = False

    @property
    def done(self) -> bool:
        """Whether it is finished."""
        return self.problem is None


def _not_known(chunk: Chunk) -> bool:
    """Say of no chunk that its audio has one channel."""
    return False


def standing_of(
    path: Path,
    chunk: Chunk,
    asked: Mapping[str, Any],
    redo_before: str | None = None,
    is_mono: Callable[[Chunk], bool] = _not_known,
) -> Standing:
    """Look at a chunk's output, given the settings that are asked for.

    With `redo_before` (ISO 8601) a file written before that time does not count. `is_mono` is asked whether the chunk's
    audio has one channel, where results differ in nothing but the channels.
    """
    try:
        document = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        if annex.content_is_elsewhere(path):
            return _elsewhere(path, redo_before)
        if isinstance(error, FileNotFoundError):
            return Standing("its output is not there")
        return Standing(f"its output cannot be read ({error})")
    if (problem := _problem(document, chunk)) is not None:
        # What is not as it should be may be all that is left of somebody's detections.
        has_detections = isinstance(document, dict) and bool(document.get("detections"))
        return Standing(problem, {RUNNER: f"unknown ({problem})"} if has_detections else None)
    found = settings_of(document)
    different = differences(found, asked)
    if different and not (differ_in_channels_only(found, asked) and is_mono(chunk)):
        return Standing(f"its output is of other settings: {'; '.join(different)}", found)
    if redo_before is not None and path.stat().st_mtime < moment(redo_before).timestamp():
        return Standing(f"its output is from before {redo_before}")
    return Standing()


def _elsewhere(path: Path, redo_before: str | None) -> Standing:
    """Return how an output stands that cannot be read here."""
    unknown = {RUNNER: f"unknown, as its content is not here ({annex.get_line([path.parent])})"}
    problem = None if redo_before is None else "its output's content is not here"
    return Standing(problem, unknown, elsewhere=True)


def standings_of(
    output_dir: Path,
    chunks: Sequence[Chunk],
    asked: Mapping[str, Any],
    redo_before: str | None = None,
    is_mono: Callable[[Chunk], bool] = _not_known,
) -> dict[Chunk, Standing]:
    """Return how the outputs of these chunks stand that are there at all (see `standing_of`)."""
    absent = set(without_output(output_dir, chunks))
    there = [chunk for chunk in chunks if chunk not in absent]
    return {chunk: standing_of(result_path(output_dir, chunk), chunk, asked, redo_before, is_mono) for chunk in there}


def _problem(document: object, chunk: Chunk) -> str | None:
    """Return why a JSON document is not a whole result of this chunk, or None if it is."""
    if not isinstance(document, dict):
        return "its output is not a JSON object"
    # Other programs leave out what the file's place says.
    if (document.get("recording_id") or chunk.recording_id, document.get("chunk_id")) != (
        chunk.recording_id,
        chunk.chunk_id,
    ):
        return "its output is another chunk's"
    times = {"start_ms": chunk.start_ms, "end_ms": chunk.end_ms}
    window = document.get("chunk", times)
    if not isinstance(window, dict) or {name: window.get(name) for name in times} != times:
        return "its output is of another window"
    if document.get("status") not in list(ResultStatus):
        return "its output has no valid status"
    try:
        parse_detections(document.get("detections"))
    except InvalidResultError as error:
        return f"its output is not valid ({error})"
    return None
