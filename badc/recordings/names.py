"""What a recording's file name says: its id, its station, and when it started."""

from __future__ import annotations

import os
import re
import shlex
import unicodedata
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from badc.errors import RequestError
from badc.system.paths import is_passed_over

AUDIO_FOLDER = "audio"  # of a dataset
# What libsndfile reads and recorders or archives write.
AUDIO_SUFFIXES = frozenset(
    {
        *(".wav", ".wave", ".bwf", ".amb", ".w64", ".rf64", ".bw64", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2"),
        *(".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".sph", ".voc"),
    }
)
# `GNWT-290_20230331_235938` (Song Meter), `SITE_0+1_20220501_050000`, `SITE_20220501$050000` (SM3: with its channels,
# and of a triggered recording), `20230509_094500` (AudioMoth), `S4A00001_20200101T053000+0100_Dawn`,
# `S20240815T091156.982648+1000_E…` and `S20210205T035946676+1000_E…` (BAR-LT; from its start S to its end E).
# Programs write `2024-05-08_02-00-00` too, and `20240508_020000-0500`, `20240508_020000_UTC` or `…-Z`.
_STAMP = re.compile(
    r"(?:^(?P<station>.+?)(?:_\d?\+\d?)?[_ -]|^)S?"
    r"(?P<date>(?:19|20)\d\d(?P<dash>[-_.]?)(?:0[1-9]|1[0-2])(?P=dash)(?:0[1-9]|[12]\d|3[01]))(?P<mark>[_Tt$ -])"
    r"(?P<time>(?:[01]\d|2[0-3])(?P<colon>[-_.:]?)[0-5]\d(?P=colon)[0-5]\d)"
    r"(?:[.,](?P<fraction>\d{1,9})|(?P<ms>\d{3})(?=[Zz]|[+-]\d{4}))?(?!\d)"
    r"(?:(?:[_ ](?=[+-]\d{2}:?\d))?(?P<zone>[+-]\d\d:?\d\d|\+\d\d)(?![A-Za-z\d])"
    r"|[._ -]?[([]?(?P<utc>(?i:Z|(?:UTC|GMT)(?:[+-]\d{1,2}(?::?\d\d)?)?))(?![A-Za-z\d]))?"
)
# Sound that libsndfile does not read, by the end of its name, with what makes WAV or FLAC of it. Frontier Labs'
# recorders leave a file named `data` when they lose power.
_CONVERTED_BY = {
    **dict.fromkeys((".w4v", ".wac"), "Kaleidoscope"),
    **dict.fromkeys((".m4a", ".m4b", ".mp4", ".aac", ".wma", ".amr", ".3gp", ".ape", ".tta", ".wv"), "ffmpeg"),
    **dict.fromkeys((".mka", ".mkv", ".webm", ".mov", ".avi"), "ffmpeg"),
    "data": "EMU",
    **{".zip": "unzip", ".rar": "unrar", ".7z": "7z", ".tar": "tar", ".tgz": "tar"},
}
_UNPACKED_BY = {".gz": "gunzip", ".bz2": "bunzip2", ".xz": "unxz", ".zst": "unzstd"}  # anything, so if it holds sound
# Where the clock of a recorder starts that lost its time: that of Unix, on any day, of FAT, and of clock chips.
_UNSET_CLOCK_YEAR = 1970
_UNSET_CLOCK_DAYS = frozenset({date(1980, 1, 1), date(2000, 1, 1)})
_MOST_OFFSET_MIN = 14 * 60  # the Line Islands
_NOT_IN_NAMES = re.compile(r"[/\\\0]")
_MOST_BYTES = 250  # file systems allow 255
_RESERVED = ("", ".", "..")


@dataclass(frozen=True, slots=True)
class RecordingOrigin:
    """Where and when a recording was made, as far as its name or its header says; None for what is unknown.

    `station` is what the name has before the date. `recorded_at` is the start by the recorder's own clock, which is
    `utc_offset_min` minutes ahead of UTC; it may be without its seconds.
    """

    station: str | None
    recorded_at: datetime | None
    utc_offset_min: int | None = None
    without_seconds: bool = False

    def __str__(self) -> str:
        offset = self.utc_offset_min
        if offset is None:
            return str(self.recorded_at)
        return f"{self.recorded_at}{'-' if offset < 0 else '+'}{abs(offset) // 60:02}:{abs(offset) % 60:02}"


def nfc(text: str) -> str:
    """Return a name in the form in which names are compared; macOS writes `é` as two characters."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def recording_id_of(path: Path) -> str:
    """Return the recording id of an audio file: the stem of its own name, never that of a link's target.

    Raises
    ------
    RequestError
        When the stem cannot be used as a file name (see `id_problem`).
    """
    stem = path.stem
    if problem := id_problem(stem):
        raise RequestError(f"{path}: the file's name gives no usable recording id: {problem}")
    return stem


def converter_of(name: str) -> tuple[str, str] | None:
    """Return how the name of a file ends that holds sound to be converted or unpacked, and the program that does it.

    Examples
    --------
    >>> converter_of("S4A01_20230509_000000.W4V")
    ('.w4v', 'Kaleidoscope')
    >>> converter_of("a.wav.gz")
    ('.wav.gz', 'gunzip')
    """
    stem, suffix = os.path.splitext(name.lower())  # noqa: PTH122 - a Path for each file of a dataset is slow
    if suffix in _UNPACKED_BY:
        inner = os.path.splitext(stem)[1]  # noqa: PTH122
        unpacker = _UNPACKED_BY[suffix] if inner in AUDIO_SUFFIXES else _CONVERTED_BY.get(inner)
        return None if unpacker is None else (inner + suffix, unpacker)
    kind = suffix or stem
    return (kind, _CONVERTED_BY[kind]) if kind in _CONVERTED_BY else None


def ffmpeg_line(path: Path, ending: str, *arguments: str) -> str:
    """Return the command that makes a file of an audio file that cannot be read; `ending` follows its stem.

    The new file is made where the command is run: beside the old one it would be one more recording.
    """
    return shlex.join(["ffmpeg", "-i", str(path), *arguments, path.stem + ending])


def id_problem(identifier: str) -> str | None:
    """Return why a recording or chunk id cannot be a file name, or None when it can.

    Ids become names of files and folders below the output folder, so nothing in them may lead out of it.
    """
    if identifier in _RESERVED:
        return f"'{identifier}' is not a name"
    if _NOT_IN_NAMES.search(identifier):
        return "it must not contain '/', '\\' or NUL"
    if is_passed_over(identifier):
        return "files and folders of that name are hidden or a system's, and never searched; give it another"
    if len(identifier.encode(errors="replace")) > _MOST_BYTES:
        return f"it is longer than {_MOST_BYTES} bytes, too long for a file name with its suffix"
    if not identifier.isascii():
        try:
            identifier.encode()
        except UnicodeEncodeError:  # bytes of a file name that are not UTF-8
            return "it is not UTF-8; rename the file"
    return None


def parse_recording_name(recording_id: str) -> RecordingOrigin:
    """Read station and start from a recording id; None for what it does not say.

    `Z` and `UTC` after the time are UTC. Four digits after a dash may be a file number: unless the time is in the ISO
    form with `T`, they count as an offset only if it is in whole quarters of an hour, and not 0. Nor is there a time if
    the clock was not set.

    Examples
    --------
    >>> parse_recording_name("GNWT-290_20230331_235938").station
    'GNWT-290'
    >>> parse_recording_name("20230509_094500").recorded_at
    datetime.datetime(2023, 5, 9, 9, 45)
    """
    match = _STAMP.search(recording_id)
    if match is None:
        return RecordingOrigin(None, None)
    try:
        digits = re.sub(r"\D", "", match["date"] + match["time"])  # strptime takes five times as long
        month, day, hour, minute, second = (int(digits[n : n + 2]) for n in range(4, 14, 2))
        start = datetime(int(digits[:4]), month, day, hour, minute, second)
    except ValueError:  # the 30th of February
        return RecordingOrigin(None, None)
    if clock_was_not_set(start):
        return RecordingOrigin(match["station"], None)
    milliseconds = int(((match["fraction"] or match["ms"] or "") + "000")[:3])
    return RecordingOrigin(match["station"], start.replace(microsecond=1000 * milliseconds), _offset_in(match))


def clock_was_not_set(start: datetime) -> bool:
    """Whether a time is that of a clock which was never set: in 1970, or on the first day of 1980 or 2000."""
    return start.year <= _UNSET_CLOCK_YEAR or start.date() in _UNSET_CLOCK_DAYS


def _offset_in(match: re.Match[str]) -> int | None:
    if match["utc"]:
        return utc_offset_min(match["utc"][3:] or "Z")  # `Z`, `UTC` or `UTC+2`
    zone = match["zone"]
    offset = utc_offset_min(zone) if zone else None
    is_number = match["mark"] not in "Tt" and re.fullmatch(r"-\d{4}", zone or "")
    return None if is_number and (not offset or offset % 15) else offset


def utc_offset_min(text: str) -> int | None:
    """Return an offset such as `Z`, `+2`, `-05:30` or `+0100` in minutes, or None if it is not a time zone's offset."""
    if text == "Z":
        return 0
    match = re.fullmatch(r"([+-])(\d{1,2})(?::? ?(\d{1,2}))?", text)
    if match is None:
        return None
    minutes = int(match[3] or 0)
    offset = int(match[2]) * 60 + minutes
    if minutes >= 60 or offset > _MOST_OFFSET_MIN:
        return None
    return -offset if match[1] == "-" else offset
