"""The chunks' JSON files below a folder, and what the tables need of each."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from badc.chunks.status import STATUS_FILE
from badc.detections.fingerprint import fingerprint_of, settings_of
from badc.detections.hawkears_labels import detections_at
from badc.detections.result import InvalidResultError, ResultStatus, parse_detections
from badc.recordings.names import nfc
from badc.system.annex import content_is_elsewhere, require_content
from badc.system.paths import walk

_START_MS = re.compile(r"_chunk_(\d+)_\d+\.json$")
# Whole endings: an id may end with `.summary`.
_OTHER_FILES = (".jsonl.summary.json", STATUS_FILE)
_WITH_SHORT_CODES = ("hawkears",)
_NO_DETECTIONS = (ResultStatus.STUB, ResultStatus.NO_OUTPUT)


def json_files(folder: Path, passed: list[str] | None = None) -> Iterator[str]:
    """Yield the JSON files below a folder, those of each recording in the order of their chunks' starts.

    For `passed` see `walk`.
    """
    for base, files in walk(folder, passed):
        names = [name for name in files if name.endswith(".json") and not name.endswith(_OTHER_FILES)]
        names.sort(key=_start_and_name)
        for name in names:
            yield f"{base}{os.sep}{name}"


def without_window(path: str) -> str:
    """Return the path of a chunk's file without the chunk's times: the same for all of a recording."""
    return _START_MS.sub("", path)


def require_all_here(folder: Path, path: str) -> None:
    """Raise ContentElsewhereError, with all such files of a folder, if the content of this one is in the annex only.

    Tables without what is elsewhere would look like silence.
    """
    if content_is_elsewhere(Path(path)):
        require_content(map(Path, json_files(folder)), "file of detections")


def _start_and_name(name: str) -> tuple[int, str]:
    match = _START_MS.search(name)
    return (int(match[1]) if match else 0, name)


def rows_of(path: str) -> tuple[dict[str, Any], Sequence[Any]]:
    """Return a file's chunk columns and its detections; InvalidResultError if it does not follow the format."""
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
    overlap_ms = window.get("overlap_ms")
    runner = _text(document, "runner")
    found = document.get("detections", [])
    raw = _text(document, "hawkears_output")
    rows: Sequence[Any]
    if raw and not found and status in (None, ResultStatus.OK):
        rows = detections_at(raw, chunk_id, Path(path))
        status = ResultStatus.OK if rows else ResultStatus.NO_DETECTIONS
    else:
        rows = () if status in _NO_DETECTIONS else parse_detections(found)
    if runner in _WITH_SHORT_CODES:  # older files have the name as label
        rows = tuple(replace(d, label=d.label_code) if d.label_code and d.label == d.label_name else d for d in rows)
    return {
        "recording_id": nfc(_text(document, "recording_id") or "") or None,
        "chunk_id": nfc(chunk_id),
        "chunk_start_ms": _ms(window, "start_ms"),
        "chunk_end_ms": _ms(window, "end_ms"),
        "status": status,
        "runner": runner,
        "model_version": _text(document, "model_version"),
        "chunk_sha256": _text(window, "sha256"),
        "source_path": _path(document, "source_path"),
        "dataset_root": _path(document, "dataset_root"),
        **_made_by(document),
        "notes": notes if isinstance(notes := window.get("notes"), str) and notes else None,
        "overlapping": isinstance(overlap_ms, int | float) and overlap_ms > 0,
    }, rows


def _made_by(document: dict[str, Any]) -> dict[str, Any]:
    settings = settings_of(document)
    told = document["fingerprint"] if settings is document.get("settings") else None
    return {"fingerprint": told or fingerprint_of(settings), "settings": settings}


def _text(document: dict[str, Any], key: str) -> str | None:
    value = document.get(key)
    if value is not None and not isinstance(value, str):
        raise InvalidResultError(f"'{key}' is not text")
    return value


def _path(document: dict[str, Any], key: str) -> str | None:
    text = _text(document, key)
    if text is not None and "\0" in text:
        raise InvalidResultError(f"'{key}' {text!r} is not a path")
    return text


def _ms(window: dict[str, Any], key: str) -> int | None:
    value = window.get(key)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 10**15):
        raise InvalidResultError(f"chunk.{key} is not a whole number of ms")
    return value
