"""The last whole frame of a FLAC file, which says how long it is where its header does not know, or its end is lost.

References
----------
RFC 9639, sections 8.2 (STREAMINFO) and 9.1 (frame header).
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from badc.recordings.names import ffmpeg_line
from badc.recordings.wav import HeaderError

UNKNOWN_FRAMES = (1 << 63) - 1  # what libsndfile says of a FLAC of unknown length
_STREAMINFO_AT = 8
HEAD_BYTES = _STREAMINFO_AT + 34
_TOTAL_AT = _STREAMINFO_AT + 13
_MOST_HEADER_BYTES = 16
_ID3V1_BYTES = 128
_MOST_FRAME_BYTES = 1 << 20
_PLACES = 11  # no round number: joined files are often of one size
_SAMPLE_SIZE = 0x0F
_BLOCK_SIZES = {1: 192, **{code: 576 << (code - 2) for code in range(2, 6)}}
_BLOCK_SIZES |= {code: 256 << (code - 8) for code in range(8, 16)}


@dataclass(frozen=True, slots=True)
class FlacEnd:
    """Where the last whole FLAC frame ends: in samples per channel from the start, and in bytes of the file.

    `is_end` unless something follows that is no tag, such as the beginning of a frame.
    """

    frames: int
    byte: int
    is_end: bool


def find_end(path: Path, beyond: int = 0) -> FlacEnd | None:
    """Find the last whole frame of a FLAC file, checked by its CRC; None if there is none, or it is no FLAC.

    None also, without that check, if it ends by the sample `beyond`. Memory does not grow with the file.
    HeaderError when its first frame is not the first by its number, which no decoder finds, or frames are numbered
    anew, which decoders mistake when they look for a sample; OSError when it cannot be read.
    """
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        first = _first_frame(data)
        if first is None:
            return None
        begin = _samples_of(data[first : first + _MOST_HEADER_BYTES], _fixed_block(data))
        if begin is not None and begin[0] != 0:
            repair = ffmpeg_line(path, "_repaired.flac", "-c:a", "flac")
            raise HeaderError(f"the FLAC was cut out of a longer one; this makes one of its own of it: {repair}")
        if _is_joined(data, first):
            raise HeaderError(
                "several FLAC files were joined to this one, of which programs play the first; cut it into its parts, "
                "each of which begins with the letters fLaC"
            )
        sync = data[first : first + 2]
        at = len(data) - (_ID3V1_BYTES if data[-_ID3V1_BYTES:][:3] == b"TAG" else 0)
        ends = [at]
        while (at := data.rfind(sync, first, at + 1)) >= 0:
            span = _samples_of(data[at : at + _MOST_HEADER_BYTES], _fixed_block(data))
            if span is not None:
                if span[1] <= beyond:
                    return None
                end = _whole_until(data, at, ends)
                if end is not None:
                    return FlacEnd(span[1], end, end == ends[0])
                ends.append(at)
            at -= 1
    return None


def head_with_total(head: bytes, frames: int) -> bytes:
    """Return the first `HEAD_BYTES` of a FLAC file with this number of samples per channel."""
    total = (int.from_bytes(head[_TOTAL_AT : _TOTAL_AT + 5]) & ~((1 << 36) - 1)) | frames
    return head[:_TOTAL_AT] + total.to_bytes(5) + head[_TOTAL_AT + 5 :]


def _first_frame(data: mmap.mmap) -> int | None:
    """Return where the frames begin, behind the metadata blocks."""
    if data[:4] != b"fLaC":
        return None
    at = 4
    while at + 4 <= len(data):
        is_last, size = data[at] >> 7, int.from_bytes(data[at + 1 : at + 4])
        at += 4 + size
        if is_last:
            return at if data[at : at + 2] in (b"\xff\xf8", b"\xff\xf9") else None
    return None


def _is_joined(data: mmap.mmap, first: int) -> bool:
    """Whether frames do not stand in the order of their numbers, as far as some places in the file show."""
    alike = data[first : first + 3]
    seen_at = seen = -1
    for part in range(1, _PLACES):
        before = first + (len(data) - first) * part // _PLACES
        at = data.rfind(alike, max(first, before - _MOST_FRAME_BYTES), before)
        span = _samples_of(data[at : at + _MOST_HEADER_BYTES], _fixed_block(data)) if at > seen_at else None
        if span is None or (data[at + 3] ^ data[first + 3]) & _SAMPLE_SIZE:
            continue  # samples that look like a frame's beginning
        if span[0] <= seen:
            return True
        seen_at, seen = at, span[0]
    return False


def _fixed_block(data: mmap.mmap) -> int:
    return int.from_bytes(data[_STREAMINFO_AT + 2 : _STREAMINFO_AT + 4])


def _samples_of(header: bytes, fixed_block: int) -> tuple[int, int] | None:
    """Return a frame's first sample and the one behind its last, or None if this is no frame header."""
    if len(header) < 6 or header[3] & 1:
        return None
    ones = 8 - (header[4] ^ 0xFF).bit_length()
    if ones in (1, 8):
        return None
    size_code, rate_code = header[2] >> 4, header[2] & 15
    extra = {6: 1, 7: 2}.get(size_code, 0)
    at = 4 + max(ones, 1)
    crc_at = at + extra + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if crc_at >= len(header) or _crc8(header[:crc_at]) != header[crc_at]:
        return None
    number = header[4] & (0x7F >> ones)
    for byte in header[5:at]:
        number = number << 6 | (byte & 0x3F)
    block = int.from_bytes(header[at : at + extra]) + 1 if extra else _BLOCK_SIZES.get(size_code)
    if block is None:
        return None
    start = number if header[1] & 1 else number * fixed_block
    return start, start + block


def _whole_until(data: mmap.mmap, start: int, ends: list[int]) -> int | None:
    """Return the first of these ends at which the frame's CRC is right, or None."""
    table = _crc16_table()
    crc, at = 0, start
    for end in sorted(end for end in ends if start < end <= start + _MOST_FRAME_BYTES):
        for byte in data[at:end]:
            crc = (crc << 8 & 0xFFFF) ^ table[crc >> 8 ^ byte]
        if crc == 0:
            return end
        at = end
    return None


def _crc8(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x07 * (crc >> 7)) & 0xFF
    return crc


@cache
def _crc16_table() -> list[int]:
    table = []
    for byte in range(256):
        crc = byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x8005 * (crc >> 15)) & 0xFFFF
        table.append(crc)
    return table
