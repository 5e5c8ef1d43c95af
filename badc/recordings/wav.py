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

from badc.errors import numbered
from badc.recordings.names import ffmpeg_line

# Some recorders count the header as samples, or stop within a block; fewer bytes behind the samples are none.
BLOCK_BYTES = 4096
_FORMS = (b"RIFF", b"RIFX", b"RF64", b"BW64")
_BIG_ENDIAN = b"RIFX"
_NOT_IN_LIBSNDFILE = b"BW64"
_IN_DS64 = 0xFFFFFFFF
# What programs write that cannot know the length: the largest number, signed or not, or one shortly before.
_UNKNOWN = (range(0x7FFF0000, 0x80000100), range(0xFFFF0000, 0x100000000))
_IN_64_BITS = 1 << 63
_MOST_CHUNKS = 1000  # a damaged file may look like an endless series of empty ones
_MOST_TAIL_BYTES = 1 << 20
_ZERO_LOOKS = 64
_BEHIND_SAMPLES = re.compile(
    rb"LIST|data|guan|bext|[iax]XML|axml|wamd|id3 |ID3 |JUNK|junk|PAD |FLLR|fact|cue |smpl|inst|PEAK|afsp|_PMX|chna"
    rb"|DISP|plst|acid|umid|cart|levl|minf|elm1|regn|SyLp|Cr8r|qlty|mext|link"
)
_PCM, _FLOAT, _ALAW, _ULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_SUBTYPES = {
    **{(_PCM, 1): "PCM_U8", (_PCM, 2): "PCM_16", (_PCM, 3): "PCM_24", (_PCM, 4): "PCM_32"},
    **{(_FLOAT, 4): "FLOAT", (_FLOAT, 8): "DOUBLE", (_ALAW, 1): "ALAW", (_ULAW, 1): "ULAW"},
}


class HeaderError(Exception):
    """A file that nobody can read without guessing; the text says why, and the way out."""


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
class _Format:
    """What a `fmt ` chunk says; `is_mended` if its block align or sample size had to be put right."""

    rate: int
    channels: int
    frame_bytes: int
    subtype: str | None
    is_mended: bool


@dataclass(frozen=True, slots=True)
class WavSamples:
    """The samples of a WAV, or of a CAF that was not closed: bytes `[start, end)` of the file.

    `claimed` is their number by the header (see `WavChunk`).

    `subtype` is libsndfile's name of the sample format, None for one whose samples have no size of their own. A decoder
    that sees the file `as_is` reads the right samples, though perhaps not all of them. `is_mended` if its header says
    a wrong size of the samples.
    """

    start: int
    end: int
    claimed: int | None
    rate: int
    channels: int
    frame_bytes: int
    subtype: str | None
    is_mended: bool
    as_is: bool
    big_endian: bool

    @property
    def understated(self) -> bool:
        """Whether the file holds more samples than its header says."""
        return self.claimed is not None and self.end - self.start > self.claimed

    @property
    def cut_off(self) -> bool:
        """Whether the file holds fewer samples than its header says, by more than a block."""
        return self.claimed is not None and self.claimed - (self.end - self.start) > BLOCK_BYTES

    @property
    def note(self) -> str:
        """What a person should know of a wrong header; empty if it is right."""
        notes = []
        if self.understated:
            used = {} if self.subtype is not None else {"used": ""}
            notes.append(says_less(self.ms(self.claimed or 0), self.ms(self.end - self.start), **used))
        if self.is_mended:
            notes.append(f"the header gives a wrong sample size; read as {self.subtype}")
        return "; ".join(notes)

    def ms(self, size: int) -> int:
        """Return how long that many bytes of samples are, rounded down."""
        return size // self.frame_bytes * 1000 // self.rate


def says_less(claimed_ms: int, held_ms: int, used: str = ", all of which is used") -> str:
    """Return the note of a header that says too short a length."""
    return f"the header says {claimed_ms / 1000:g} s, the file holds {held_ms / 1000:g} s{used}"


def wav_samples(path: Path) -> WavSamples | None:
    """Find the samples of a WAV; None if the file is no WAV, or its header is damaged.

    HeaderError when its header allows several readings, or it has several chunks of samples. OSError when it cannot be
    read.
    """
    form: _Format | None = None
    with path.open("rb") as stream:
        kind = stream.read(4)
        parts: list[WavChunk] = []
        for chunk in wav_chunks(stream):
            if chunk.kind == b"fmt " and form is None:
                stream.seek(chunk.start)
                form = _format(stream.read(min(chunk.end - chunk.start, 40)), _order(kind))
            elif chunk.kind == b"data" and form is not None:
                parts.append(chunk)
    full = [part for part in parts if part.end > part.start] or parts[:1]
    if form is None or not full:
        return None
    if len(full) > 1:
        raise HeaderError(
            f"the WAV has {len(full)} chunks of samples (data), where one is allowed; this joins them: "
            + ffmpeg_line(path, f"_joined{path.suffix}", "-c:a", "copy")
        )
    return WavSamples(
        full[0].start,
        full[0].end,
        full[0].claimed,
        form.rate,
        form.channels,
        form.frame_bytes,
        form.subtype,
        form.is_mended,
        as_is=kind != _NOT_IN_LIBSNDFILE and not form.is_mended and len(parts) == 1,
        big_endian=kind == _BIG_ENDIAN,
    )


def _order(kind: bytes) -> str:
    """Return struct's sign for the byte order of a file that begins with these letters."""
    return ">" if kind == _BIG_ENDIAN else "<"


def wav_chunks(stream: BinaryIO) -> Iterator[WavChunk]:
    """Yield the chunks of a WAV, those behind its samples too; none if it is no WAV."""
    file_bytes = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    head = stream.read(12)
    if head[:4] not in _FORMS or head[8:] != b"WAVE":
        return
    order = _order(head[:4])
    at, in_ds64 = 12, None
    for _ in range(_MOST_CHUNKS):
        stream.seek(at)
        head = stream.read(8)
        if len(head) < 8:
            return
        kind, size = struct.unpack(f"{order}4sI", head)
        start = at + 8
        claimed: int | None = size
        end = start + size
        if kind == b"ds64":
            content = stream.read(16)
            in_ds64 = struct.unpack_from("<Q", content, 8)[0] if len(content) == 16 else None
        elif kind == b"data":
            in_full = in_ds64 if size == _IN_DS64 and in_ds64 is not None else size
            claimed = None if _is_unknown(in_full) and start + in_full >= file_bytes else in_full
            end = _end_of_samples(stream, start, in_full, file_bytes, order)
        yield WavChunk(kind, start, end, claimed)
        at = end + (end - start) % 2


def _is_unknown(size: int) -> bool:
    return size >= _IN_64_BITS or any(size in sizes for sizes in _UNKNOWN)


def _end_of_samples(stream: BinaryIO, start: int, claimed: int, file_bytes: int, order: str) -> int:
    """Return where the samples end: where the header says, if what follows are chunks or nothing, else at the tail."""
    by_header = start + claimed
    if by_header < file_bytes:
        after = by_header + claimed % 2
        if file_bytes - after < BLOCK_BYTES or any(
            _is_tail(stream, at, file_bytes, order) for at in (after, by_header)
        ):
            return by_header
    elif not _is_unknown(claimed):
        return file_bytes
    end = _start_of_tail(stream, start, file_bytes, order)
    more = end - by_header
    # A file may be laid out longer than it was written; but five GiB with a size modulo 2^32 may well be silent.
    if claimed and more > 0 and not _is_unknown(claimed) and more % (1 << 32) and _is_zero(stream, by_header, end):
        return by_header
    return end


def _is_tail(stream: BinaryIO, at: int, file_bytes: int, order: str) -> bool:
    """Whether a chunk of a known kind starts here (even if it is cut off), or a row of any that fills the file."""
    stream.seek(at)
    return _BEHIND_SAMPLES.fullmatch(stream.read(4)) is not None or _fills(stream, at, file_bytes, order)


def _fills(stream: BinaryIO, at: int, file_bytes: int, order: str) -> bool:
    """Whether chunks fill the file from here to its end."""
    while at + 8 <= file_bytes:
        stream.seek(at)
        kind, size = struct.unpack(f"{order}4sI", stream.read(8))
        if not (kind.isascii() and kind.decode().isprintable()):
            return False
        at += 8 + size + size % 2
    return at - 1 <= file_bytes


def _start_of_tail(stream: BinaryIO, start: int, file_bytes: int, order: str) -> int:
    begin = max(start, file_bytes - _MOST_TAIL_BYTES)
    stream.seek(begin)
    for found in _BEHIND_SAMPLES.finditer(stream.read(file_bytes - begin)):
        if _fills(stream, begin + found.start(), file_bytes, order):
            return begin + found.start()
    return file_bytes


def _is_zero(stream: BinaryIO, start: int, end: int) -> bool:
    """Whether a part of the file is zero wherever one looks."""
    for look in range(_ZERO_LOOKS):
        stream.seek(start + (end - start) * look // _ZERO_LOOKS)
        if any(stream.read(min(BLOCK_BYTES, end - start))):
            return False
    return True


def _format(content: bytes, order: str) -> _Format | None:
    """Return what a `fmt ` chunk says, None if it makes no sense; HeaderError if it may mean several things.

    The size of a frame stands there three times: as channels and bits, as block align, and as bytes a second.
    """
    if len(content) < 16:
        return None
    tag, channels, rate, byte_rate, align, bits = struct.unpack_from(f"{order}HHIIHH", content)
    if tag == _EXTENSIBLE and len(content) >= 26:
        tag = struct.unpack_from(f"{order}H", content, 24)[0]
    if not (channels and rate):
        return None
    if tag not in (_PCM, _FLOAT, _ALAW, _ULAW):
        return _Format(rate, channels, align, None, is_mended=False) if align else None
    sample_bytes = (bits + 7) // 8
    by_bits = channels * sample_bytes if (tag, sample_bytes) in _SUBTYPES else 0
    sizes = [size for size in (by_bits, align, byte_rate / rate) if size]
    if not sizes or (len(sizes) > 1 and sizes[0] not in sizes[1:]):
        raise HeaderError(
            f"the WAV's header contradicts itself: {numbered(channels, 'channel')} of {bits} bits, but frames of "
            f"{align} bytes, and {byte_rate} bytes a second at {rate} Hz; export it again with the program that made it"
        )
    frame_bytes = int(sizes[0])
    sample_bytes, rest = divmod(frame_bytes, channels)
    subtype = None if rest else _SUBTYPES.get((tag, sample_bytes))
    is_mended = subtype is not None and (frame_bytes != align or not by_bits)
    return _Format(rate, channels, frame_bytes, subtype, is_mended)
