"""Whether the end of a file is there, of formats whose decoder reads what there is and does not say that more is due.

References
----------
Sony's Wave 64; Apple's AIFF 1.3; the Sun audio file format; NIST SPHERE; Creative Voice; RFC 3533 for Ogg.
"""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import BinaryIO

from badc.recordings.wav import BLOCK_BYTES

_W64 = bytes.fromhex("726966662e91cf11a5d628db04c10000")
_HEAD_BYTES = 1024  # of SPHERE; others need less
_SIZE_NOT_KNOWN = 0xFFFFFFFF
_MOST_PAGE_BYTES = 65_307
_LAST_PAGE = 4


def lacks_its_end(path: Path) -> bool:
    """Whether a W64, AIFF, AU, SPHERE, VOC or Ogg file was cut off; False for others. OSError if it cannot be read."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
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
    elif head[:8] == b"NIST_1A\n":
        due = _sphere_bytes(head)
    elif head[:19] == b"Creative Voice File":
        block = int.from_bytes(head[20:22], "little")
        due = block + 4 + int.from_bytes(head[block + 1 : block + 4], "little")
    return due - size > BLOCK_BYTES


def _sphere_bytes(head: bytes) -> int:
    """Return how long a SPHERE file is by its header; 0 if that does not say it."""
    fields = dict(re.findall(rb"^(sample_count|channel_count|sample_n_bytes) -i (\d+)", head, re.MULTILINE))
    size = head[8:16].strip()
    return int(size) + math.prod(map(int, fields.values())) if len(fields) == 3 and size.isdigit() else 0


def _ogg_lacks_its_end(stream: BinaryIO, size: int) -> bool:
    """Whether the last page is not marked as the last, or is not whole."""
    stream.seek(max(0, size - 2 * _MOST_PAGE_BYTES))
    tail = stream.read()
    at = tail.rfind(b"OggS")
    if at < 0 or len(tail) < at + 27:
        return True
    lengths = tail[at + 27 : at + 27 + tail[at + 26]]
    return not tail[at + 5] & _LAST_PAGE or len(tail) < at + 27 + len(lengths) + sum(lengths)
