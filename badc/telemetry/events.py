"""Telemetry: one JSON line per chunk event, written at once, so that the log survives even a hard kill."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import orjson

from badc.errors import RequestError
from badc.system import atomic
from badc.system.annex import content_is_here, is_locked, shares_its_content

_BLOCK_BYTES = 1 << 16
LINE_BEGIN = b'{"chunk_id":'  # of every line that is written, as `ChunkEvent` has its fields


class FailureKind(StrEnum):
    """Failures that something follows from: `failure_kind` in an event's details."""

    WORKER_LOST = "worker_lost"
    GPU_OUT_OF_MEMORY = "gpu_out_of_memory"


class EventStatus(StrEnum):
    """What happened to a chunk: an attempt started, succeeded or failed, or the chunk was already done.

    Or to the worker that has it: it gives no sign of life, gives one again, or gets no more chunks.
    """

    START = "start"
    SUCCESS = "success"
    FAILURE = "failure"
    SKIPPED = "skipped"
    WORKER_SILENT = "worker_silent"
    WORKER_HEARD = "worker_heard"
    WORKER_RETIRED = "worker_retired"

    @property
    def is_of_worker(self) -> bool:
        """Whether it is news of a worker, from which nothing follows for the chunk."""
        return self in _OF_WORKERS


_OF_WORKERS = frozenset((EventStatus.WORKER_SILENT, EventStatus.WORKER_HEARD, EventStatus.WORKER_RETIRED))


@dataclass(frozen=True, slots=True)
class ChunkEvent:
    """One line of a telemetry log.

    `timestamp` is when the attempt started, or the chunk was skipped, ISO-8601 with offset; `worker` is a label such as
    `gpu-0` or `cpu-0`, `host` the name of its machine; `details` holds `attempt`, `output`, `runner`, `error`, … as
    they apply.
    """

    chunk_id: str
    recording_id: str
    status: EventStatus
    timestamp: str
    finished_at: str | None = None
    runtime_s: float | None = None
    worker: str | None = None
    gpu_index: int | None = None
    gpu_name: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    host: str | None = None


class TelemetryLog:
    """A log being written, one whole line per write. Its folder is made, and an existing log is continued.

    A log that git-annex keeps is first replaced by a copy, or by an empty file if its content is not here; the earlier
    lines stay in the dataset's history. So it is when somebody's `datalad save` takes the log during the run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        require_no_link(path)
        _detach_from_annex(path)
        cut_off = _ends_within_a_line(path)
        self._stream = path.open("ab", buffering=0)
        self._size = self._stream.seek(0, os.SEEK_END)
        self._waiting = bytearray(b"\n" if cut_off else b"")

    def write(self, event: ChunkEvent) -> None:
        """Append one event. If that raises OSError, what was not written is kept, and goes before the next event."""
        self._waiting += orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE)
        self.flush()

    def flush(self) -> None:
        """Write what could not be written before; raises OSError if it still cannot."""
        with atomic.naming(self.path):
            if is_locked(self.path):
                self._leave_the_annex()
            while self._waiting:  # a disk that fills up takes part of a line and refuses the rest at the next write
                written = self._stream.write(self._waiting)
                self._size += written
                del self._waiting[:written]

    def _leave_the_annex(self) -> None:
        """Continue in a copy: what is written to the open file would spoil the object named by its hash."""
        _detach_from_annex(self.path)
        with self._stream:
            self._stream = self.path.open("ab", buffering=0)
        self._size = self._stream.seek(0, os.SEEK_END)

    def is_whole(self) -> bool:
        """Whether the file is still in place with all that was written to it: not deleted, replaced or cut."""
        try:
            found = os.fstat(self._stream.fileno())
            there = self.path.stat() if is_locked(self.path) else self.path.lstat()
            return found.st_size >= self._size and os.path.samestat(found, there)
        except OSError:
            return False

    def close(self) -> None:
        """Sync the log to disk and close it."""
        try:
            with atomic.naming(self.path):  # a full network disk may say so only now
                os.fsync(self._stream.fileno())
        finally:
            self._stream.close()


def read_events(path: Path) -> Iterator[ChunkEvent]:
    """Yield the events of a log in order, skipping a half-written last line and lines that are not events.

    Raises OSError if the log cannot be read.
    """
    with path.open("rb") as stream:
        for line in stream:
            event = parse_event(line)
            if event is not None:
                yield event


def last_events(path: Path, count: int) -> list[ChunkEvent]:
    """Return the last `count` events of a log, oldest first, without reading the rest of it."""
    newest_first: list[ChunkEvent] = []
    with path.open("rb") as stream:
        position = stream.seek(0, os.SEEK_END)
        rest = b""  # of a line whose beginning is not read yet
        while position > 0 and len(newest_first) < count:
            step = min(_BLOCK_BYTES, position)
            position -= step
            stream.seek(position)
            rest, *lines = (stream.read(step) + rest).split(b"\n")
            whole = lines if position else [rest, *lines]
            newest_first += [event for line in reversed(whole) if (event := parse_event(line)) is not None]
    return newest_first[:count][::-1]


def parse_event(line: bytes) -> ChunkEvent | None:
    """Return the event on a line, or None if there is none; unknown keys are ignored."""
    try:
        raw = orjson.loads(line)
        if not isinstance(raw["chunk_id"], str) or not isinstance(raw.get("details") or {}, dict):
            return None
        return ChunkEvent(
            chunk_id=raw["chunk_id"],
            recording_id=str(raw.get("recording_id") or ""),
            status=EventStatus(raw["status"]),
            timestamp=_of(str, raw["timestamp"]) or "",
            finished_at=_of(str, raw.get("finished_at")),
            runtime_s=_of((int, float), raw.get("runtime_s")),
            worker=_of(str, raw.get("worker")),
            host=_of(str, raw.get("host")),
            gpu_index=_of(int, raw.get("gpu_index")),
            gpu_name=_of(str, raw.get("gpu_name")),
            details=raw.get("details") or {},
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError):
        return None


def _of(kind: Any, value: Any) -> Any:
    return value if isinstance(value, kind) else None


def require_no_link(path: Path) -> None:
    """Raise RequestError if a log is a link, unless it is git-annex's: writing would follow the link."""
    if path.is_symlink() and not is_locked(path):
        raise RequestError(f"{path}: the telemetry log is a link to {path.readlink()}; name the file itself")


def _detach_from_annex(path: Path) -> None:
    """Replace a log that git-annex keeps by a copy: appending fails, or as root spoils the object named by its hash."""
    if not shares_its_content(path):
        return
    with atomic.replacing(path) as temporary:
        if content_is_here(path):
            shutil.copyfile(path, temporary)
        else:
            temporary.touch()


def _ends_within_a_line(path: Path) -> bool:
    """Whether a killed run left half a line at the end, to which the next line must not be glued."""
    try:
        with path.open("rb") as stream:
            if stream.seek(0, os.SEEK_END) == 0:
                return False
            stream.seek(-1, os.SEEK_END)
            return stream.read(1) != b"\n"
    except FileNotFoundError:
        return False
