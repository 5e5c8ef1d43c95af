"""When a recording was made, by its name and by the header of its audio file.

The documented order is: the name, GUANO metadata, the comment that AudioMoths write. The first that has a time gives
it; one that has the same time may give its offset from UTC; one that has another time is counted.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from badc.errors import numbered
from badc.recordings.locate import in_dataset
from badc.recordings.names import RecordingOrigin, clock_was_not_set, nfc, parse_recording_name, utc_offset_min
from badc.recordings.wav import wav_chunks

_TEXT_CHUNKS = (b"guan", b"LIST")
_MOST_TEXT_BYTES = 1 << 20
_SAME_TIME = timedelta(seconds=2)  # names have whole seconds, and some recorders wait for the next one
_NOTHING = RecordingOrigin(None, None)
_MINUTE = timedelta(minutes=1)
_ISO = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d)(?::(\d\d)(?:[.,](\d+))?)? ?([Zz]|[+-][\d:]+)?")
# Firmware 1.0 names no time zone, 1.0.1 has `(UTC)`, later ones `(UTC+2)`, `(UTC-3:30)`, `(UTC+5: 5)`; AudioMoth Live
# adds milliseconds. Versions 1.2.2 to 1.4 lose the sign of offsets under an hour, `(UTC:30)`, which stay unknown.
_AUDIOMOTH = re.compile(r"Recorded at (\d\d:\d\d:\d\d)(?:\.(\d+))? (\d\d/\d\d/\d{4})(?: \(UTC([^)]*)\))?")


class RecordingTimes:
    """Where and when recordings were made: from their names, and from their audio files' headers.

    A header is read once per recording. `bases` are where relative paths are looked up last. `disagreements` are those
    found so far: by recording id, what each source says.
    """

    def __init__(self, bases: Sequence[Path]) -> None:
        self.disagreements: dict[str, str] = {}
        self._bases = tuple(str(base) for base in bases)
        # A recording's chunks come one after another, so a small cache serves any number of recordings.
        self._known = lru_cache(maxsize=4096)(self._find)

    def of(self, recording_id: str, source_path: str | None, roots: tuple[str | None, ...] = ()) -> RecordingOrigin:
        """Return what is known of a recording.

        Its file `source_path` is read only if the id contains the file's stem: the header of a chunk's own file may
        give the start of the chunk. A relative path is looked up in `roots` first.
        """
        if source_path is not None and nfc(Path(source_path).stem) not in nfc(recording_id):
            source_path = None
        return self._known(recording_id, source_path, roots)

    def disagreements_note(self) -> str | None:
        """Return in a line how many recordings' sources disagree, and what those of the first say; None without any."""
        if not self.disagreements:
            return None
        first, said = next(iter(self.disagreements.items()))
        recordings = numbered(len(self.disagreements), "recording")
        verb = "has" if len(self.disagreements) == 1 else "have"
        return f"{recordings} {verb} several start times, of which the first counts (such as {first}: {said})"

    def _find(self, recording_id: str, source_path: str | None, roots: tuple[str | None, ...]) -> RecordingOrigin:
        sources = {"name": parse_recording_name(recording_id)}
        if source_path is not None:
            sources |= self._read(source_path, roots)
        found, agree = _merged(list(sources.values()))
        if not agree:
            self.disagreements[recording_id] = ", ".join(
                f"{name} {origin}" for name, origin in sources.items() if origin.recorded_at is not None
            )
        return replace(found, station=sources["name"].station)

    def _read(self, source_path: str, roots: tuple[str | None, ...]) -> Mapping[str, RecordingOrigin]:
        known = [Path(root) for root in (*roots, *self._bases) if root is not None]
        places = [in_dataset(source_path, root) for root in known] or [Path(source_path)]
        # Of an absolute path, one that is found below a dataset comes first.
        for path in sorted(places, key=lambda place: str(place) == source_path):
            if os.path.exists(path):  # noqa: PTH110 - Path.exists raises for a name that is too long
                return _in_header(path)
        return {}


def _merged(sources: Sequence[RecordingOrigin]) -> tuple[RecordingOrigin, bool]:
    """Return the first source's time, with an offset from those that have the same time, and whether all have it."""
    known = [source for source in sources if source.recorded_at is not None]
    found, agree = (known or [_NOTHING])[0], True
    for other in known[1:]:
        same = _as_the_same_time(found, other)
        found, agree = same or found, agree and same is not None
    return found, agree


def _as_the_same_time(first: RecordingOrigin, other: RecordingOrigin) -> RecordingOrigin | None:
    """Return the first with its offset, if both are the same time, else None."""
    assert first.recorded_at is not None
    assert other.recorded_at is not None
    ahead = first.recorded_at - other.recorded_at
    apart = _MINUTE if first.without_seconds or other.without_seconds else _SAME_TIME
    ours, theirs = first.utc_offset_min, other.utc_offset_min
    if ours is not None and theirs is not None:
        return first if abs(ahead - timedelta(minutes=ours - theirs)) <= apart else None
    if abs(ahead) <= apart:
        return first if theirs is None else replace(first, utc_offset_min=theirs)
    # The one without an offset may be in UTC.
    if theirs is not None and abs(ahead + timedelta(minutes=theirs)) <= apart:
        return replace(first, utc_offset_min=0)
    if ours is not None and abs(ahead - timedelta(minutes=ours)) <= apart:
        return first
    return None


def start_in_header(path: Path) -> RecordingOrigin:
    """Read the start of a recording from its file: GUANO metadata, else the comment that AudioMoths write.

    Only WAV files have GUANO metadata. A file that is missing, or is not audio, gives nothing.

    References
    ----------
    The GUANO specification (guano-md.org), chunk `guan`, field `Timestamp`; the function `setHeaderComment` of the
    AudioMoth firmware, field `ICMT` of the `LIST` chunk.
    """
    return _merged(list(_in_header(path).values()))[0]


def _in_header(path: Path) -> Mapping[str, RecordingOrigin]:
    """Return what each source in a file says, in their order."""
    try:
        with path.open("rb") as stream:
            texts = dict(_texts(stream)) if stream.read(4) in (b"RIFF", b"RF64", b"BW64") else None
    except OSError:
        return {}
    if texts is None:
        return {"comment": parse_audiomoth_comment(_comment(path))}
    guano, comment = (texts.get(kind, b"").decode(errors="replace") for kind in (b"guan", b"ICMT"))
    return {"GUANO": parse_guano(guano), "comment": parse_audiomoth_comment(comment)}


def parse_guano(text: str) -> RecordingOrigin:
    """Return the start of a recording from its GUANO metadata.

    Examples
    --------
    >>> parse_guano("GUANO|Version: 1.0\\nTimestamp: 2020-10-17 13:05:00+1:00").utc_offset_min
    60
    """
    for line in text.removeprefix("\ufeff").split("\n"):
        key, _, value = line.partition(":")
        if key.strip() == "Timestamp":
            match = _ISO.fullmatch(value.strip(" \t\n\v\f\r\0"))
            if match is not None:
                offset = None if match[5] is None else utc_offset_min(match[5].upper())
                time = f"{match[1]} {match[2]}:{match[3] or '00'}"
                found = _origin(time, "%Y-%m-%d %H:%M:%S", match[4], offset)
                return replace(found, without_seconds=match[3] is None and found.recorded_at is not None)
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
    if clock_was_not_set(start):
        return RecordingOrigin(None, None)
    milliseconds = int(((fraction or "") + "000")[:3])
    return RecordingOrigin(None, start.replace(microsecond=1000 * milliseconds), offset)


def _texts(stream: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yield the GUANO chunk and the INFO list's fields of a WAV file."""
    for chunk in wav_chunks(stream):
        size = chunk.end - chunk.start
        if chunk.kind in _TEXT_CHUNKS and size <= _MOST_TEXT_BYTES:
            stream.seek(chunk.start)
            content = stream.read(size)
            yield from [(chunk.kind, content)] if chunk.kind == b"guan" else _info_fields(content)


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
