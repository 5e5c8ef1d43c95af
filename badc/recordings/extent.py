"""Part of a file as a file of its own, for decoders that the header would mislead. Nothing is copied."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import Any, BinaryIO

from badc.recordings.flac import HEAD_BYTES, head_with_total


@dataclass(frozen=True, slots=True)
class Extent:
    """The bytes `[start, end)` of a file of `file_bytes`: the samples of a WAV, or from 0 on the frames of a FLAC.

    `big_endian` is a WAV's byte order.
    """

    start: int
    end: int
    file_bytes: int
    big_endian: bool = False


def as_raw(file: BinaryIO, extent: Extent) -> io.RawIOBase:
    """Return the samples of a WAV, without its header."""
    return _Part(file, b"", extent.start, extent.end)


def as_flac(file: BinaryIO, extent: Extent, frames: int) -> io.RawIOBase:
    """Return a FLAC whose header says that it has this many frames, and which ends after the last of them."""
    return _Part(file, head_with_total(file.read(HEAD_BYTES), frames), HEAD_BYTES, extent.end)


class _Part(io.RawIOBase):
    """A head of its own, then the bytes `[start, end)` of a file."""

    def __init__(self, file: BinaryIO, head: bytes, start: int, end: int) -> None:
        self._file = file
        self._head = head
        self._skipped = start - len(head)
        self._size = end - self._skipped
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        target = memoryview(buffer).cast("B")
        if self._at < len(self._head):
            piece = self._head[self._at : self._at + len(target)]
        else:
            self._file.seek(self._skipped + self._at)
            piece = self._file.read(max(0, min(len(target), self._size - self._at)))
        target[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)
