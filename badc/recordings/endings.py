"""Whether the end of a file is there, of formats whose decoder reads what there is and does not say that more is due.

References
----------
Sony's Wave 64; Apple's AIFF 1.3; the Sun audio file format; RFC 3533 for Ogg.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from badc.recordings.wav import BLOCK_BYTES

_W64 = bytes.fromhex("726966662e91cf11a5d628db04c10000")
_SIZE_NOT_KNOWN = 0xFFFFFFFF
_MOST_PAGE_BYTES = 65_307
_LAST_PAGE = 4


def lacks_its_end(path: Path) -> bool:
    """Whether a W64, AIFF, AU or Ogg file was cut off; False for other formats. OSError if it cannot be read."""
    with path.open("rb") as stream:
        head = stream.read(24)
        size = stream.seek(0, os.SEEK_END)
        if head[:4] == b"OggS":
            return _ogg_lacks_its_end(stream, size)
    due = 0
    if head[:16] == _W64:
        due = int.from_bytes(head[16:24], "little")
    elif head[:4] == b"FORM" and head[8:11] == b"AIF":
        due = 8 + int.from_bytes(head[4:8])
    elif head[:4] == b".snd" and (samples := int.from_bytes(head[8:12])) != _SIZE_NOT_KNOWN:
        due = int.from_bytes(head[4:8]) + samples
    return due - size > BLOCK_BYTES


def _ogg_lacks_its_end(stream: BinaryIO, size: int) -> bool:
    """Whether the last page is not marked as the last, or is not whole."""
    stream.seek(max(0, size - 2 * _MOST_PAGE_BYTES))
    tail = stream.read()
    at = tail.rfind(b"OggS")
    if at < 0 or len(tail) < at + 27:
        return True
    lengths = tail[at + 27 : at + 27 + tail[at + 26]]
    return not tail[at + 5] & _LAST_PAGE or len(tail) < at + 27 + len(lengths) + sum(lengths)
