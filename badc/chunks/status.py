"""The chunk status file: how far the cutting of a recording is, or how it ended."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import orjson

from badc.errors import RequestError
from badc.system import atomic
from badc.system.annex import ContentElsewhereError, is_locked, is_pointer
from badc.system.clock import now

STATUS_FILE = ".chunk_status.json"
_OURS = ("audio_bytes", "recording_ms", "min_chunk_s", "virtual", "hash_chunks")


class ChunkState(StrEnum):
    """The state of a recording in its chunk status file."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ChunkStatus:
    """The content of a recording's `.chunk_status.json`, where `state` is the key `status`.

    Paths are relative to the dataset's root inside a dataset, absolute outside. Times are ISO 8601 with offset, or
    None. `manifest_rows` is None until completed. `duration_s` and `overlap_s` are the keys `chunk_duration` and
    `overlap`. The settings of the cut are these two, `min_chunk_s` (the key `min_chunk`), `virtual` and `hash_chunks`;
    None where nobody knows, as of a manifest that was made by hand. `audio_bytes` and `recording_ms` are the file's
    size and the recording's length when it was cut.
    """

    recording_id: str | None
    audio_path: str | None
    manifest_path: str | None
    state: ChunkState
    started_at: str | None = None
    completed_at: str | None = None
    updated_at: str | None = None
    manifest_rows: int | None = None
    duration_s: float | None = None
    overlap_s: float | None = None
    error: str | None = None
    audio_bytes: int | None = None
    recording_ms: int | None = None
    min_chunk_s: float | None = None
    virtual: bool | None = None
    hash_chunks: bool | None = None


_KEYS = {"state": "status", "duration_s": "chunk_duration", "overlap_s": "overlap", "min_chunk_s": "min_chunk"}
_TYPES: dict[str, tuple[type, ...]] = {
    "manifest_rows": (int,),
    "duration_s": (int, float),
    "overlap_s": (int, float),
    "audio_bytes": (int,),
    "recording_ms": (int,),
    "min_chunk_s": (int, float),
    "virtual": (bool,),
    "hash_chunks": (bool,),
}
_NAMES = {str: "text", bool: "true or false"}


def status_path(chunks_dir: Path, recording_id: str) -> Path:
    """Return the place of a recording's status: `<chunks_dir>/<recording_id>/.chunk_status.json`."""
    return chunks_dir / recording_id / STATUS_FILE


def read_chunk_status(path: Path) -> ChunkStatus | None:
    """Read a chunk status file; None when there is none. Other tools write it too: only the key `status` is required.

    Raises
    ------
    ContentElsewhereError
        When it is a git-annex file whose content is not here.
    RequestError
        When the file cannot be read, or is not such a JSON object.
    """
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        if is_locked(path):
            raise ContentElsewhereError.of(path, "chunk status") from None
        return None
    except OSError as error:
        raise RequestError(f"{path}: the chunk status cannot be read ({error.strerror})") from None
    try:
        content = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        if is_pointer(path):
            raise ContentElsewhereError.of(path, "chunk status") from None
        raise _broken(path, f"is not JSON ({error})") from None
    return _from_json(path, content)


def write_chunk_status(path: Path, status: ChunkStatus) -> None:
    """Write a chunk status file atomically."""
    content = {_KEYS.get(name, name): value for name, value in asdict(status).items()}
    for name in _OURS:
        if content[_KEYS.get(name, name)] is None:
            del content[_KEYS.get(name, name)]
    atomic.write_bytes(path, orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


@contextlib.contextmanager
def keeping_status(path: Path, status: ChunkStatus) -> Iterator[dict[str, Any]]:
    """Keep a recording's status file true while the block cuts the recording.

    The file says `in_progress` from the start, `completed` after the block, and `failed` with the reason when the block
    raises anything. State and times of `status` are set here. Yields a dict for the `ChunkStatus` fields that the block
    finds out.
    """
    started = replace(status, state=ChunkState.IN_PROGRESS, started_at=now())
    started = replace(started, updated_at=started.started_at)
    write_chunk_status(path, started)
    found: dict[str, Any] = {}
    try:
        yield found
    except BaseException as error:
        failed = replace(
            started, state=ChunkState.FAILED, updated_at=now(), error=str(error) or type(error).__name__, **found
        )
        with contextlib.suppress(OSError):  # such as a full disk; the first error is the one to report
            write_chunk_status(path, failed)
        raise
    at = now()
    write_chunk_status(path, replace(started, state=ChunkState.COMPLETED, completed_at=at, updated_at=at, **found))


def _from_json(path: Path, content: Any) -> ChunkStatus:
    if not isinstance(content, dict):
        raise _broken(path, "is not a JSON object")
    said = content.get("status")
    try:
        state = ChunkState(str(said))
    except ValueError:
        raise _broken(path, f"says status {said!r}, which is not one of {', '.join(ChunkState)}") from None
    values: dict[str, Any] = {}
    for name in ChunkStatus.__dataclass_fields__:
        if name == "state":
            continue
        key = _KEYS.get(name, name)
        value = content.get(key)
        kinds = _TYPES.get(name, (str,))
        if value is not None and (not isinstance(value, kinds) or (isinstance(value, bool) and kinds != (bool,))):
            raise _broken(path, f"{key} {value!r} is not {_NAMES.get(kinds[0], 'a number')}")
        values[name] = value
    return ChunkStatus(state=state, **values)


def _broken(path: Path, problem: str) -> RequestError:
    return RequestError(f"{path}: the chunk status {problem}; remove it and chunk the recording again")
