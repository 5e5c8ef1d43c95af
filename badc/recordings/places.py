"""Where recordings were made: station and study area, from their paths by the one rule of their dataset.

>>> find_layout(["SiteA/20230509/20230509_050000.WAV", "SiteB/A/20230509_050000.WAV"]).text
'folder'
>>> Layout("{study_area}/{station}/{_}/{name}").place_of("North/S12/20230509/20230509_050000.WAV")
Place(station='S12', study_area='North')
"""

from __future__ import annotations

import os
import re
import shlex
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from badc.errors import named_few, numbered
from badc.recordings.names import nfc, parse_recording_name

NAME, FOLDER, RECORDER = "name", "folder", "recorder"
_WORDS = {
    NAME: "the file names, else the folders",
    FOLDER: "the folders, else the file names",
    RECORDER: "the recorders' own names and serial numbers",
}

_DAY = r"(?:19|20)\d\d[-_. ]?(?:0[1-9]|1[0-2])[-_. ]?(?:0[1-9]|[12]\d|3[01])"
_MONTH = (
    "(?:january|february|march|april|may|june|july|august|september|october|november|december"
    "|(?:jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)(?=[-_ ]?(?:19|20)))"
)
# Serial numbers of Song Meters (S4A01234, SMM00123, 2MA00123), AudioMoths (24F3190159A2F3B1) and cards (A1B2-C3D4).
_SERIAL = (
    r"(?:S(?:M[234AMU]|[34][A-Z])\d{4,6}|2M[AMU]\d{4,6}|(?=\d*[A-F])24[0-9A-F]{6,14}|[0-9A-F]{16}"
    r"|(?=[0-9A-F-]*[A-F])(?=[0-9A-F-]*\d)[0-9A-F]{4}-[0-9A-F]{4})"
)
# Folders that say when, or on which card or recorder, but not where.
_WHEN = re.compile(
    rf"{_DAY}(?:[-_. T].*)?|\d{{1,2}}[-_.]\d{{1,2}}[-_.](?:19|20)\d\d|(?:19|20)\d\d(?:[-_. ]?(?:0[1-9]|1[0-2]))?"
    rf"|(?:(?:19|20)\d\d[-_ ]?)?{_MONTH}(?:[-_ ]?(?:19|20)\d\d)?"
    r"|(?:visit|deploy(?:ment)?|session|round|retrieval|download|week|trip|batch)[-_ ]?\d*",
    re.IGNORECASE,
)
_CARD = re.compile(
    r"[AB]|(?:(?:micro[-_ ]?)?sd|cf)?[-_ ]?cards?[-_ ]?(?:\d{1,3}|[A-D])?|(?:micro[-_ ]?)?sd[-_ ]?\d{0,3}"
    r"|(?:slot|disk)[-_ ]?(?:\d{1,2}|[A-D])|no name|untitled|dcim|\d{3}media"
    r"|data[-_ ]?(?:\d{1,2}|[A-D])?|(?:raw[-_ ]?)?(?:raw|data|audio|wavs?|flacs?|recordings?|sounds?|files?)",
    re.IGNORECASE,
)
_MAKE = "(?:recorder|audiomoth|song[-_ ]?meter|sm[234](?:bat)?|sm[-_ ]?(?:mini|micro)|bar(?:-lt)?|swift(?:one)?)"
_RECORDER = re.compile(rf"{_SERIAL}(?:[-_ ](?:[AB]|data))?|{_MAKE}(?:[-_ ]?\d{{1,3}})?", re.IGNORECASE)
_IS_SERIAL = re.compile(_SERIAL, re.IGNORECASE)
_IS_MAKE = re.compile(_MAKE, re.IGNORECASE)  # with a number, it may be a site's
_YEAR = re.compile(r"(?:.*[-_. ])?(?:19|20)\d\d")
_MONTH_OR_DAY = re.compile(r"\d{1,2}(?:[-_.]\d{1,2})?")
_SITE_AND_DAY = re.compile(rf"(?P<site>.+?)[-_. ](?:{_DAY}|(?:19|20)\d\d(?:0[1-9]|1[0-2])?)")
_FIELDS = ("station", "study_area", "name", "_")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a recording was made; None for what is unknown."""

    station: str | None
    study_area: str | None


@dataclass(frozen=True, slots=True)
class Layout:
    """The rule of a dataset; `text` is `name`, `folder`, `recorder` or a template (see `layout_problem`)."""

    text: str
    _pattern: re.Pattern[str] | None = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if problem := layout_problem(self.text):
            raise ValueError(problem)
        object.__setattr__(self, "_pattern", None if self.text in _WORDS else _compiled(nfc(self.text)))

    @property
    def is_template(self) -> bool:
        """Whether it is a template."""
        return self._pattern is not None

    def describe(self) -> str:
        """Return in words where stations are read, with the option that says so."""
        option = f"--layout {shlex.quote(self.text)}"
        return f"the template {option}" if self.is_template else f"{_WORDS[self.text]} ({option})"

    def place_of(self, path: str) -> Place:
        """Return where a recording was made; `path`, with `/`, is below the dataset's folder of audio.

        Names are returned in Unicode's NFC. Of an absolute path, of which nobody knows where the study begins, only the
        last folders have to fit a template.
        """
        if self._pattern is None:
            return _place(_evidence(path), self.text)
        folders = nfc(path).split("/")
        if path.startswith("/"):
            folders = folders[-1 - self.text.count("/") :]
        match = self._pattern.fullmatch("/".join(folders))
        if match is None:
            return Place(None, None)
        found = {name: text.strip() or None for name, text in match.groupdict().items()}
        return Place(found.get("station"), found.get("study_area"))


def layout_problem(text: str) -> str | None:
    """Return why a text is no layout, or None.

    A template is a path below the folder of audio with `{station}`, `{study_area}`, `{name}` (the file's name) and
    `{_}` (anything) in the place of a folder or of a part of it, as in `{study_area}/{_}/{station}/{name}`.
    """
    if text in _WORDS:
        return None
    fields = re.findall(r"\{(.*?)\}", text)
    if unknown := [name for name in fields if name not in _FIELDS]:
        return f"'{{{unknown[0]}}}' is not one of {', '.join(f'{{{name}}}' for name in _FIELDS)}"
    if "station" not in fields:
        return f"'{text}' has no {{station}}; write a template such as {{station}}/{{name}}, or {', '.join(_WORDS)}"
    if twice := [name for name in _FIELDS[:3] if fields.count(name) > 1]:
        return f"'{{{twice[0]}}}' is in it twice"
    if re.search(r"[{}]", re.sub(r"\{.*?\}", "", text)):
        return f"'{text}' has a brace without its other half"
    if "\\" in text:
        return f"'{text}' has a backslash; write '/' between folders"
    if "*" in text:
        return f"'{text}' has a '*'; write {{_}} for anything"
    parts = text.split("/")
    if not {"", ".", ".."}.isdisjoint(parts) or text.startswith("audio/"):
        return f"'{text}' is not a path below audio/; begin with its first folder"
    if parts[-1] in ("{station}", "{study_area}"):
        return f"'{text}' ends with a folder; add /{{name}} for the files in it"
    return None


def _compiled(template: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", template)
    for number in range(0, len(parts), 2):
        parts[number] = re.escape(parts[number])
    for number in range(1, len(parts), 2):
        parts[number] = "[^/]+?" if parts[number] == "_" else f"(?P<{parts[number]}>[^/]+?)"
    return re.compile("".join(parts))


@dataclass(frozen=True, slots=True)
class _Evidence:
    """What a path has: the prefix of the file's name, folders that may be places, and the recorder's serial number."""

    prefix: str | None
    folders: Sequence[str]
    serial: str | None


def _evidence(path: str) -> _Evidence:
    *folders, name = (part.strip() for part in nfc(path).split("/"))
    prefix = parse_recording_name(os.path.splitext(name)[0]).station  # noqa: PTH122 - once for each recording
    serial = prefix if prefix is not None and _IS_SERIAL.fullmatch(prefix) else None
    staying: list[str] = []
    sites_with_day: list[str] = []
    below_year = after_when = False
    for folder in folders:
        in_date = (below_year or after_when) and _MONTH_OR_DAY.fullmatch(folder) is not None
        when = in_date or _WHEN.fullmatch(folder) is not None
        if not when and folder and not _CARD.fullmatch(folder):
            if _RECORDER.fullmatch(folder):
                serial = serial or folder
            elif match := _SITE_AND_DAY.fullmatch(folder):
                sites_with_day.append(match["site"])
            else:
                staying.append(folder)
        after_when, below_year = when, below_year or _YEAR.fullmatch(folder) is not None
    # The site of `SiteA_20230509` counts only if no folder is a site's alone: in `SiteA/STUDY_20230509` it is a day's.
    staying = staying or [site for site in sites_with_day if not _RECORDER.fullmatch(site)]
    if prefix is not None and (prefix == serial or _IS_MAKE.fullmatch(prefix)):
        return _Evidence(None, staying, serial or prefix)
    return _Evidence(prefix, staying, serial)


def _place(found: _Evidence, rule: str) -> Place:
    by_folder = found.folders[-1] if found.folders else None
    order = (by_folder, found.prefix) if rule == FOLDER else (found.prefix, by_folder)
    station = next((one for one in (*order, found.serial if rule == RECORDER else None) if one), None)
    above = found.folders[:-1] if station == by_folder else found.folders
    areas = [folder for folder in above if station and folder.casefold() != station.casefold()]
    return Place(station, areas[0] if areas else None)


def find_layout(paths: Iterable[str]) -> Layout:
    """Return the rule of a dataset from its recordings' paths below its folder of audio.

    File names count first (`name`), unless more recordings have a site's folder and no such name, or a name without any
    number is in several folders (`REC_…`); then it is `folder`. Serial numbers are places only where nothing else is
    (`recorder`).
    """
    named = placed = 0
    serials = False
    folders_of: dict[str, set[str]] = defaultdict(set)
    for path in paths:
        found = _evidence(path)
        serials = serials or found.serial is not None
        named += found.prefix is not None
        placed += found.prefix is None and bool(found.folders)
        if found.prefix is not None and found.folders:
            folders_of[found.prefix].add(found.folders[-1])
    if not named and not placed:
        return Layout(RECORDER if serials else NAME)
    says_nothing = len(folders_of) < len(set().union(*folders_of.values())) and not any(
        re.search(r"\d", prefix) for prefix in folders_of
    )
    shared = any(len(folders) > 1 for folders in folders_of.values())
    return Layout(FOLDER if placed > named or (shared and says_nothing) else NAME)


def describe_places(layout: Layout, places: Iterable[tuple[str, Place]]) -> list[str]:
    """Return what a person should know of a rule and a dataset's recordings, a line each: the plan shows them.

    `places` has each recording's name and place.
    """
    areas_of: dict[str, set[str | None]] = defaultdict(set)
    without: list[str] = []
    for name, place in places:
        if place.station is None:
            without.append(name)
        else:
            areas_of[place.station].add(place.study_area)
    areas = {area for several in areas_of.values() for area in several if area is not None}
    lines = [
        f"stations are read from {layout.describe()}: {numbered(len(areas_of), 'station')}"
        + (f" in {numbered(len(areas), 'study area')}" if areas else "")
        + (f": {named_few(sorted(areas_of))}" if areas_of else "")
    ]
    if without:
        many = numbered(len(without), "recording has", "recordings have")
        lines.append(f"{many} no station ({named_few(without)}); --layout says where it stands in their paths")
    if shared := sorted(station for station, several in areas_of.items() if len(several) > 1):
        lines.append(
            f"{named_few(shared)}: one name in several study areas, which count as one station; --layout can tell "
            "where it stands"
        )
    return lines
