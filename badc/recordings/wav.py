"""The chunks of a WAV file, and where its samples end, whatever its header says.

A header's sizes are wrong where a file outgrew them (modulo 2^32, or the largest number), was written to a stream, or
lost its power before the header was written again.

References
----------
EBU Tech 3306 for files of more than 4 GiB (RF64, BW64).
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

# Some recorders count the header as samples, or stop within a block; fewer bytes behind the samples are none.
BLOCK_BYTES = 4096
_FORMS = (b"RIFF", b"RF64", b"BW64")
_IN_DS64 = 0xFFFFFFFF
# What programs write that cannot know the length: the largest number, signed or not, or one shortly before.
_UNKNOWN = (range(0x7FFF0000, 0x80000100), range(0xFFFF0000, 0x100000000))
_MOST_CHUNKS = 1000  # a damaged file may look like an endless series of empty ones
_MOST_TAIL_BYTES = 1 << 20
_ZERO_LOOKS = 64
_BEHIND_SAMPLES = re.compile(
    rb"LIST|guan|bext|[iax]XML|axml|wamd|id3 |ID3 |JUNK|junk|PAD |FLLR|fact|cue |smpl|inst|PEAK|afsp|_PMX|chna|DISP"
    rb"|plst|acid|umid|cart|levl|minf|elm1|regn|SyLp|Cr8r|qlty|mext|link"
)
_PCM, _FLOAT, _ALAW, _ULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_SUBTYPES = {
    **{(_PCM, 1): "PCM_U8", (_PCM, 2): "PCM_16", (_PCM, 3): "PCM_24", (_PCM, 4): "PCM_32"},
    **{(_FLOAT, 4): "FLOAT", (_FLOAT, 8): "DOUBLE", (_ALAW, 1): "ALAW", (_ULAW, 1): "ULAW"},
}


@dataclass(frozen=True, slots=True)
class WavChunk:
    """A chunk of a WAV: its four letters, and its content, bytes `[start, end)`.

    `claimed` is the content's size by the header, None if that says that it does not know.
    """

    kind: bytes
    start: int
    end: int
    claimed: int | None


@dataclass(frozen=True, slots=True)
class WavSamples:
    """The samples of a WAV: bytes `[start, end)` of the file; `claimed` is their number by the header (see `WavChunk`).

    `subtype` is libsndfile's name of the sample format, None for one whose samples have no size of their own.
    """

    start: int
    end: int
    claimed: int | None
    rate: int
    channels: int
    frame_bytes: int
    subtype: str | None

    @property
    def understated(self) -> bool:
        """Whether the file holds more samples than its header says."""
        return self.claimed is not None and self.end - self.start > self.claimed

    @property
    def cut_off(self) -> bool:
        """Whether the file holds fewer samples than its header says, by more than a block."""
        return self.claimed is not None and self.claimed - (self.end - self.start) > BLOCK_BYTES

    def ms(self, size: int) -> int:
        """Return how long that many bytes of samples are, rounded down."""
        return size // self.frame_bytes * 1000 // self.rate


def wav_samples(path: Path) -> WavSamples | None:
    """Find the samples of a WAV; None if the file is no WAV, or its header is damaged. OSError if it cannot be read."""
    form: tuple[int, int, int, int, str | None] | None = None
    with path.open("rb") as stream:
        for chunk in wav_chunks(stream):
            if chunk.kind == b"fmt ":
                stream.seek(chunk.start)
                form = _format(stream.read(min(chunk.end - chunk.start, 40)))
            elif chunk.kind == b"data" and form is not None:
                _, rate, channels, frame_bytes, subtype = form
                return WavSamples(chunk.start, chunk.end, chunk.claimed, rate, channels, frame_bytes, subtype)
    return None


def wav_chunks(stream: BinaryIO) -> Iterator[WavChunk]:
    """Yield the chunks of a WAV, those behind its samples too; none if it is no WAV."""
    file_bytes = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    head = stream.read(12)
    if head[:4] not in _FORMS or head[8:] != b"WAVE":
        return
    at, in_ds64 = 12, None
    for _ in range(_MOST_CHUNKS):
        stream.seek(at)
        head = stream.read(8)
        if len(head) < 8:
            return
        kind, size = struct.unpack("<4sI", head)
        start = at + 8
        claimed: int | None = size
        end = start + size
        if kind == b"ds64":
            content = stream.read(16)
            in_ds64 = struct.unpack_from("<Q", content, 8)[0] if len(content) == 16 else None
        elif kind == b"data":
            in_full = in_ds64 if size == _IN_DS64 and in_ds64 is not None else size
            claimed = None if _is_unknown(in_full) and start + in_full >= file_bytes else in_full
            end = _end_of_samples(stream, start, in_full, file_bytes)
        yield WavChunk(kind, start, end, claimed)
        at = end + (end - start) % 2


def _is_unknown(size: int) -> bool:
    return any(size in sizes for sizes in _UNKNOWN)


def _end_of_samples(stream: BinaryIO, start: int, claimed: int, file_bytes: int) -> int:
    """Return where the samples end: where the header says, if what follows are chunks or nothing, else at the tail."""
    by_header = start + claimed
    if by_header < file_bytes:
        after = by_header + claimed % 2
        if file_bytes - after < BLOCK_BYTES or any(_is_tail(stream, at, file_bytes) for at in (after, by_header)):
            return by_header
    elif not _is_unknown(claimed):
        return file_bytes
    end = _start_of_tail(stream, start, file_bytes)
    more = end - by_header
    # A file may be laid out longer than it was written; but five GiB with a size modulo 2^32 may well be silent.
    if claimed and more > 0 and not _is_unknown(claimed) and more % (1 << 32) and _is_zero(stream, by_header, end):
        return by_header
    return end


def _is_tail(stream: BinaryIO, at: int, file_bytes: int) -> bool:
    """Whether a chunk of a known kind starts here (even if it is cut off), or a row of any that fills the file."""
    stream.seek(at)
    return _BEHIND_SAMPLES.fullmatch(stream.read(4)) is not None or _fills(stream, at, file_bytes)


def _fills(stream: BinaryIO, at: int, file_bytes: int) -> bool:
    """Whether chunks fill the file from here to its end."""
    while at + 8 <= file_bytes:
        stream.seek(at)
        kind, size = struct.unpack("<4sI", stream.read(8))
        if not (kind.isascii() and kind.decode().isprintable()):
            return False
        at += 8 + size + size % 2
    return at - 1 <= file_bytes


def _start_of_tail(stream: BinaryIO, start: int, file_bytes: int) -> int:
    begin = max(start, file_bytes - _MOST_TAIL_BYTES)
    stream.seek(begin)
    for found in _BEHIND_SAMPLES.finditer(stream.read(file_bytes - begin)):
        if _fills(stream, begin + found.start(), file_bytes):
            return begin + found.start()
    return file_bytes


def _is_zero(stream: BinaryIO, start: int, end: int) -> bool:
    """Whether a part of the file is zero wherever one looks."""
    for look in range(_ZERO_LOOKS):
        stream.seek(start + (end - start) * look // _ZERO_LOOKS)
        if any(stream.read(min(BLOCK_BYTES, end - start))):
            return False
    return True


def _format(content: bytes) -> tuple[int, int, int, int, str | None] | None:
    """Return tag, rate, channels, bytes of a frame and subtype of a `fmt ` chunk; None if they make no sense."""
    if len(content) < 16:
        return None
    tag, channels, rate, _, frame_bytes, _ = struct.unpack_from("<HHIIHH", content)
    if tag == _EXTENSIBLE and len(content) >= 26:
        tag = struct.unpack_from("<H", content, 24)[0]
    if not (channels and rate and frame_bytes):
        return None
    sample_bytes, rest = divmod(frame_bytes, channels)
    return tag, rate, channels, frame_bytes, None if rest else _SUBTYPES.get((tag, sample_bytes))
