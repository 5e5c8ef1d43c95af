"""Reading a log that another process writes: each line once, its end first, and at each look only what is new."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from badc.errors import RequestError

_TAIL_BYTES = 4 << 20  # read before the first screen: about 8,000 events
_BLOCK_BYTES = 1 << 18  # small enough to keep a time budget within a few ms
_HEAD_BYTES = 256


class LogChange(StrEnum):
    """What happened to the log's file since the last look."""

    NONE = "none"
    ROTATED = "rotated"
    TRUNCATED = "truncated"
    MISSING = "missing"


class LogReader:
    """Reads a growing log, each line once: first its end, then what is added, and in between its older part.

    The last `tail_bytes` bytes count as new at the start; the rest is the older part. A half-written last line stays
    unread until its end is there. When the path names another inode (rotation), the rest of the old file is read first,
    then the new one from its start. When the file is shorter than the position reached, or begins differently
    (truncation, even if it has grown again since), reading starts over.

    Raises
    ------
    RequestError
        When the log cannot be read.
    """

    def __init__(self, path: Path, tail_bytes: int = _TAIL_BYTES) -> None:
        self.path = path
        try:
            self._stream = path.open("rb", buffering=0)
            self._older: BinaryIO | None = path.open("rb", buffering=0)
        except OSError as error:
            raise RequestError(
                f"{path}: the telemetry log cannot be read ({error.strerror}); "
                "--log takes the path that `badc infer run` prints"
            ) from None
        self._older_position, self._older_end = 0, self._tail_start(tail_bytes)
        self._position = self._older_end
        self._head = os.pread(self._stream.fileno(), _HEAD_BYTES, 0)

    @property
    def older_share(self) -> float:
        """Share of the older part that has been read, 0 to 1."""
        return self._older_position / self._older_end if self._older is not None and self._older_end else 1.0

    @property
    def unread_bytes(self) -> int:
        """Bytes added but not yet read."""
        return max(0, os.fstat(self._stream.fileno()).st_size - self._position)

    def check(self) -> LogChange:
        """Check whether the file is still the same one; after a change, continue with the file that is there now."""
        opened = os.fstat(self._stream.fileno())
        try:
            named = self.path.stat()
        except OSError:
            return LogChange.MISSING
        if (named.st_dev, named.st_ino) != (opened.st_dev, opened.st_ino):
            # Whole lines written just before the rotation come first.
            return LogChange.NONE if self._read(self._stream, self._position, opened.st_size)[0] else self._reopen()
        head = os.pread(self._stream.fileno(), _HEAD_BYTES, 0)
        if opened.st_size < self._position or head[: len(self._head)] != self._head:
            self._position, self._older, self._head = 0, None, head
            return LogChange.TRUNCATED
        self._head = head
        return LogChange.NONE

    def new_lines(self) -> list[bytes]:
        """Return some of the added lines, oldest first, or an empty list if there are no more now."""
        while True:
            before = self._position
            lines, self._position = self._read(self._stream, before, os.fstat(self._stream.fileno()).st_size)
            if lines or self._position == before:
                return lines

    def older_lines(self) -> list[bytes]:
        """Return some lines of the older part, oldest first, or an empty list once all of it is read."""
        while self._older is not None:
            before = self._older_position
            lines, self._older_position = self._read(self._older, before, self._older_end)
            if lines:
                return lines
            if self._older_position == before:
                self._older.close()
                self._older = None
        return []

    def _reopen(self) -> LogChange:
        try:
            stream = self.path.open("rb", buffering=0)
        except OSError:
            return LogChange.MISSING
        self._stream.close()
        self._stream, self._position, self._head = stream, 0, b""
        return LogChange.ROTATED

    def _tail_start(self, tail_bytes: int) -> int:
        """Return where the first line that lies wholly in the last `tail_bytes` bytes begins."""
        start = os.fstat(self._stream.fileno()).st_size - tail_bytes
        if start <= 0:
            return 0
        return start + os.pread(self._stream.fileno(), _BLOCK_BYTES, start).find(b"\n") + 1

    @staticmethod
    def _read(stream: BinaryIO, position: int, end: int) -> tuple[list[bytes], int]:
        block = os.pread(stream.fileno(), max(0, min(_BLOCK_BYTES, end - position)), position)
        cut = block.rfind(b"\n") + 1
        if not cut:  # half a line stays unread, unless it is longer than any line that BADC writes
            return [], position + (len(block) if len(block) == _BLOCK_BYTES else 0)
        return block[: cut - 1].split(b"\n"), position + cut
