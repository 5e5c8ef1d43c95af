"""The samples of a CAF file that was not closed, or lost its end: libsndfile does not read it.

References
----------
Apple Core Audio Format Specification 1.0.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from badc.recordings.wav import WavSamples

_UNKNOWN = -1  # the size of samples until the file is closed
_FLOAT, _LITTLE_ENDIAN = 1, 2
_SUBTYPES = {
    **{(0, 8): "PCM_S8", (0, 16): "PCM_16", (0, 24): "PCM_24", (0, 32): "PCM_32"},
    **{(_FLOAT, 32): "FLOAT", (_FLOAT, 64): "DOUBLE"},
}
_DESCRIPTION = struct.Struct(">d4sIIIII")
_EDIT_COUNT_BYTES = 4
_MOST_CHUNKS = 1000


def unclosed_caf_samples(path: Path) -> WavSamples | None:
    """Find the samples of a CAF whose header does not know how many there are, or says more than there are.

    None for other files, and where samples are compressed. OSError when it cannot be read.
    """
    with path.open("rb") as stream:
        file_bytes = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        description = b""
        at = 8 if stream.read(4) == b"caff" else file_bytes
        for _ in range(_MOST_CHUNKS):
            stream.seek(at)
            head = stream.read(12)
            if len(head) < 12:
                return None
            kind, size = struct.unpack(">4sq", head)
            at += 12
            if kind == b"desc":
                description = stream.read(_DESCRIPTION.size)
            elif kind == b"data":
                start = at + _EDIT_COUNT_BYTES
                claimed = None if size == _UNKNOWN else size - _EDIT_COUNT_BYTES
                known_and_there = claimed is not None and start + claimed <= file_bytes
                return None if known_and_there else _samples(description, start, file_bytes, claimed)
            elif size < 0:
                return None
            at += size
    return None


def _samples(description: bytes, start: int, end: int, claimed: int | None) -> WavSamples | None:
    if len(description) < _DESCRIPTION.size:
        return None
    rate, kind, flags, packet_bytes, packet_frames, channels, bits = _DESCRIPTION.unpack(description)
    subtype = _SUBTYPES.get((flags & _FLOAT, bits))
    if kind != b"lpcm" or subtype is None or packet_frames != 1 or packet_bytes != channels * bits // 8 or rate < 1:
        return None
    return WavSamples(
        *(start, max(start, end), claimed, round(rate), channels, packet_bytes, subtype),
        is_mended=False,
        as_is=False,
        big_endian=not flags & _LITTLE_ENDIAN,
    )
