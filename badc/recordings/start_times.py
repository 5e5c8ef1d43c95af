"""When a recording was made, read from the header of its audio file if its name does not say."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from badc.recordings.names import UNSET_CLOCK_YEAR, RecordingOrigin, parse_recording_name, utc_offset_min

_TEXT_CHUNKS = (b"guan", b"LIST")
_MOST_TEXT_BYTES = 1 << 20
_MOST_CHUNKS = 1000  # a damaged file may look like an endless series of empty ones
_UNKNOWN_SIZE = 0xFFFFFFFF
_ISO = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d+))? ?(Z|[+-][\d:]+)?")
# Firmware 1.0 names no time zone, 1.0.1 has `(UTC)`, later ones `(UTC+2)`, `(UTC-3:30)`, `(UTC+5: 5)`; AudioMoth Live
# adds milliseconds. Versions 1.2.2 to 1.4 lose the sign of offsets under an hour, `(UTC:30)`, which stay unknown.
_AUDIOMOTH = re.compile(r"Recorded at (\d\d:\d\d:\d\d)(?:\.(\d+))? (\d\d/\d\d/\d{4})(?: \(UTC([^)]*)\))?")


class RecordingTimes:
    """Where and when recordings were made: from their names, else from their audio files' headers.

    A header is read once per recording, and only if the name gives no time. `bases` are where relative paths are looked
    up last.
    """

    def __init__(self, bases: Sequence[Path]) -> None:
        self._bases = tuple(str(base) for base in bases)
        # A recording's chunks come one after another, so a small cache serves any number of recordings.
        self._by_name = lru_cache(maxsize=4096)(parse_recording_name)
        self._by_header = lru_cache(maxsize=4096)(self._read)

    def of(self, recording_id: str, source_path: str | None, roots: tuple[str | None, ...] = ()) -> RecordingOrigin:
        """Return what is known of a recording.

        Its file `source_path` is read only if the id contains the file's stem: the header of a chunk's own file may
        give the start of the chunk. A relative path is looked up in `roots` first.
        """
        origin = self._by_name(recording_id)
        if origin.recorded_at is not None or source_path is None:
            return origin
        if Path(source_path).stem not in recording_id:
            return origin
        start = self._by_header(source_path, roots)
        return replace(origin, recorded_at=start.recorded_at, utc_offset_min=start.utc_offset_min)

    def _read(self, source_path: str, roots: tuple[str | None, ...]) -> RecordingOrigin:
        # Joining an absolute path to "/" leaves it unchanged.
        known = [root for root in (*roots, *self._bases) if root is not None]
        for base in ["/"] if Path(source_path).is_absolute() else known:
            path = os.path.join(base, source_path)  # noqa: PTH118
            if os.path.exists(path):  # noqa: PTH110 - Path.exists raises for a name that is too long
                return start_in_header(Path(path))
        return RecordingOrigin(None, None)


def start_in_header(path: Path) -> RecordingOrigin:
    """Read the start of a recording from its file: GUANO metadata, else the comment that AudioMoths write.

    Only WAV files have GUANO metadata. A file that is missing, or is not audio, gives nothing.

    References
    ----------
    The GUANO specification (guano-md.org), chunk `guan`, field `Timestamp`; the function `setHeaderComment` of the
    AudioMoth firmware, field `ICMT` of the `LIST` chunk; EBU Tech 3306 for files of more than 4 GiB.
    """
    try:
        with path.open("rb") as stream:
            texts = dict(_texts(stream)) if stream.read(4) in (b"RIFF", b"RF64", b"BW64") else None
    except OSError:
        return RecordingOrigin(None, None)
    if texts is None:
        return parse_audiomoth_comment(_comment(path))
    guano = parse_guano(texts.get(b"guan", b"").decode(errors="replace"))
    if guano.recorded_at is not None:
        return guano
    return parse_audiomoth_comment(texts.get(b"ICMT", b"").decode(errors="replace"))


def parse_guano(text: str) -> RecordingOrigin:
    """Return the start of a recording from its GUANO metadata.

    Examples
    --------
    >>> parse_guano("GUANO|Version: 1.0\\nTimestamp: 2020-10-17 13:05:00+1:00").utc_offset_min
    60
    """
    for line in text.split("\n"):
        key, _, value = line.partition(":")
        if key.strip() == "Timestamp":
            match = _ISO.fullmatch(value.strip(" \t\n\v\f\r\0"))
            if match is not None:
                offset = None if match[4] is None else utc_offset_min(match[4])
                return _origin(f"{match[1]} {match[2]}", "%Y-%m-%d %H:%M:%S", match[3], offset)
    return RecordingOrigin(None, None)


def parse_audiomoth_comment(text: str) -> RecordingOrigin:
    """Return the start of a recording from the comment that an AudioMoth wrote.

    Examples
    --------
    >>> parse_audiomoth_comment("Recorded at 19:17:30 10/12/2019 (UTC+2) by AudioMoth 24").recorded_at
    datetime.datetime(2019, 12, 10, 19, 17, 30)
    """
    match = _AUDIOMOTH.search(text)
    if match is None:
        return RecordingOrigin(None, None)
    offset = None if match[4] is None else utc_offset_min(match[4] or "Z")
    return _origin(f"{match[3]} {match[1]}", "%d/%m/%Y %H:%M:%S", match[2], offset)


def _origin(time: str, form: str, fraction: str | None, offset: int | None) -> RecordingOrigin:
    try:
        start = datetime.strptime(time, form)
    except ValueError:
        return RecordingOrigin(None, None)
    if start.year <= UNSET_CLOCK_YEAR:
        return RecordingOrigin(None, None)
    milliseconds = int(((fraction or "") + "000")[:3])
    return RecordingOrigin(None, start.replace(microsecond=1000 * milliseconds), offset)


def _texts(stream: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yield the GUANO chunk and the INFO list's fields of a WAV file."""
    stream.seek(12)
    data_bytes = _UNKNOWN_SIZE
    for _ in range(_MOST_CHUNKS):
        head = stream.read(8)
        if len(head) < 8:
            return
        kind, size = struct.unpack("<4sI", head)
        if kind == b"ds64":
            content = stream.read(min(size, 28))
            data_bytes = struct.unpack_from("<Q", content, 8)[0] if len(content) >= 16 else data_bytes
            stream.seek(size - len(content), os.SEEK_CUR)
        elif kind == b"data" and size == _UNKNOWN_SIZE:
            if data_bytes == _UNKNOWN_SIZE:  # written to a pipe: the rest of the file is audio
                return
            size = data_bytes
            stream.seek(size, os.SEEK_CUR)
        elif kind in _TEXT_CHUNKS and size <= _MOST_TEXT_BYTES:
            content = stream.read(size)
            yield from [(kind, content)] if kind == b"guan" else _info_fields(content)
        else:
            stream.seek(size, os.SEEK_CUR)
        stream.seek(size % 2, os.SEEK_CUR)


def _info_fields(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    if content[:4] != b"INFO":
        return
    at = 4
    while at + 8 <= len(content):
        kind, size = struct.unpack_from("<4sI", content, at)
        yield kind, content[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def _comment(path: Path) -> str:
    """Return the comment of an audio file that is not a WAV; a FLAC made from an AudioMoth's WAV keeps it."""
    import soundfile as sf

    try:
        with sf.SoundFile(path) as stream:
            return str(stream.comment)
    except (sf.LibsndfileError, RuntimeError, OSError):
        return ""
