"""What people heard in recordings, read from the files of the programs that they label with.

The kind of a file is told by what is in it:

- Raven's selection tables: tab-separated with a header (`Begin Time (s)`, `End Time (s)`). With `Begin File` or `Begin
  Path`, and `File Offset (s)`, a table may be of many recordings.
- Audacity's label tracks: start, end and text, tab-separated, without a header (Audacity's manual, "Importing and
  Exporting Labels").
- WildTrax' tag report: `location`, `recording_date_time`, `species_code`, and the start of the tag in seconds as
  `detection_time` or `start_s`; `tag_duration` or `end_s`, `task_duration`, `task_method` (names of the columns as in
  wildRtrax, `R/utils.R` and `R/api.R`).
- Kaleidoscope's CSVs: `IN FILE`, `OFFSET`, `DURATION`, `MANUAL ID`.
- Any CSV with `recording`, `start_s` and `end_s` (or `start_ms` and `end_ms`) and `label`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from badc.errors import RequestError, listed
from badc.recordings.names import AUDIO_SUFFIXES, nfc
from badc.reports.files.export_formats import RAVENS_LIST
from badc.system.texts import read_text, require_commas

_SUFFIXES = (".txt", ".csv", ".tsv")
# Ends of the names of selection tables and label tracks, before their suffix.
_ENDS = (".selections", ".labels", ".birdnet", ".table")
_RECORDING = ("recording", "recording_id", "file", "filename", "file_name", "begin file", "begin path", "in file")
_LABEL = (
    *("label", "species", "species_code", "species code", "common name", "common_name", "species_common_name"),
    *("scientific name", "scientific_name", "species_scientific_name", "annotation", "class", "code", "tags"),
)
_NOTHING_HEARD = frozenset({"none", "nocall"})  # WildTrax' code, and BirdNET-Analyzer's


@dataclass(frozen=True, slots=True)
class Heard:
    """A passage in which a species was heard, or that was listened to.

    `recording` is an id, None for WildTrax, which has `station` and `recorded_at`. Without times, it is the whole
    recording. `names` are those of one species, empty for a passage that was listened to.
    """

    recording: str | None
    start_ms: int | None = None
    end_ms: int | None = None
    names: tuple[str, ...] = ()
    station: str | None = None
    recorded_at: datetime | None = None
    listened_ms: int | None = None  # length of WildTrax' task, from the recording's start
    method: str | None = None  # of WildTrax: `1SPT` marks a species once a task, `1SPM` once a minute
    place: str = ""  # file and line


R = TypeVar("R")


class _WrongError(ValueError):
    """A line that cannot be read; its text says why."""


def read_truth(paths: Sequence[Path], recording: str | None = None, label_column: str | None = None) -> list[Heard]:
    """Read the files of a truth, and those in the folders among them.

    Every recording of the truth was listened to as a whole, or where it has passages without a label, in these. A file
    without an entry is a recording in which nothing was heard.

    Raises
    ------
    RequestError
        If a file cannot be read or is of no known kind, or lines are wrong; all of these are listed.
    """
    found: list[Heard] = []
    problems: list[str] = []
    for path in _files(paths):
        for heard in _read(path, recording, label_column):
            if isinstance(heard, str):
                problems.append(heard)
            else:
                found.append(heard)
    if problems:
        raise RequestError(listed(problems))
    return found


def _files(paths: Sequence[Path]) -> list[Path]:
    files = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        inside = sorted(f for f in path.rglob("*") if f.suffix.lower() in _SUFFIXES and not f.name.startswith("."))
        inside = [file for file in inside if not file.name.endswith(RAVENS_LIST)]
        if not inside:
            raise RequestError(f"{path}: no {', '.join(_SUFFIXES)} file in this folder")
        files += inside
    return files


def _read(path: Path, recording: str | None, label_column: str | None) -> Iterator[Heard | str]:
    text = read_text(path, "file of labels")
    named = recording or recording_of_file(path)
    lines = text.splitlines()
    if not any(line.strip() for line in lines):
        yield Heard(named, place=str(path))
        return
    if _is_label_track(lines):
        yield from _checked(path, enumerate(lines, start=1), lambda line: _of_label_track(line, named))
        return
    stream = io.StringIO(text, newline="")
    tabs = "\t" in lines[0]
    reader = csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE) if tabs else csv.reader(stream)
    try:
        titles, *cells = ((reader.line_num, row) for row in reader if any(cell.strip() for cell in row))
    except csv.Error as error:
        raise RequestError(f"{path}:{reader.line_num}: cannot be read ({error})") from None
    header = [title.strip().lower() for title in titles[1]]
    require_commas(path, titles[1], "file of labels")
    read_row = _reader(path, header, named, label_column)
    rows = [
        (number, dict.fromkeys(header, "") | dict(zip(header, map(str.strip, row), strict=False)))
        for number, row in cells
    ]
    if not rows:
        yield Heard(named, place=str(path))
    yield from _checked(path, rows, read_row)


def _checked(path: Path, rows: Iterable[tuple[int, R]], read_row: Callable[[R], Heard | None]) -> Iterator[Heard | str]:
    for number, row in rows:
        try:
            heard = read_row(row)
        except _WrongError as error:
            yield f"{path}:{number}: {error}"
            continue
        if heard is not None:
            yield replace(heard, place=f"{path}:{number}")


def recording_of_file(path: Path) -> str:
    """Return the recording that a file of labels is named after, such as `A` of `A.Table.1.selections.txt`.

    Examples
    --------
    >>> recording_of_file(Path("x/ST-1_20230509_055000.Table.1.selections.txt"))
    'ST-1_20230509_055000'
    """
    stem = path.name
    for suffix in _SUFFIXES:
        stem = stem[: -len(suffix)] if stem.lower().endswith(suffix) else stem
    while True:
        shorter = stem
        for end in _ENDS:
            shorter = shorter[: -len(end)] if shorter.lower().endswith(end) else shorter
        base, dot, number = shorter.rpartition(".")
        if dot and number.isdecimal() and base.lower().endswith(".table"):
            shorter = base
        if shorter == stem:
            return stem
        stem = shorter


def id_of(name: str) -> str:
    """Return the recording id of a file's name or path, or of an id."""
    name = name.replace("\\", "/").rpartition("/")[2]
    suffix = Path(name).suffix.lower()
    return nfc(name[: -len(suffix)] if suffix in AUDIO_SUFFIXES else name)


def _is_label_track(lines: Sequence[str]) -> bool:
    """Whether the first line that is not of frequencies, which begin with a backslash, is of two numbers."""
    first = next((line for line in lines if line.strip() and not line.startswith("\\")), "").split("\t")
    return len(first) >= 2 and all(_is_number(cell) for cell in first[:2])


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True


def _of_label_track(line: str, recording: str) -> Heard | None:
    if not line.strip() or line.startswith("\\"):
        return None
    cells = line.split("\t")
    if len(cells) < 2:
        raise _WrongError(f"'{line}' is not a start, an end and a label, separated by tabs")
    start_ms, end_ms = _ms(cells[0].replace(",", "."), 1000), _ms(cells[1].replace(",", "."), 1000)
    label = cells[2].strip() if len(cells) > 2 else ""
    # As exported from BADC: the confidence in brackets after the label.
    text, _, confidence = label.rpartition(" (")
    if text and confidence.endswith(")") and _is_number(confidence[:-1]):
        label = text
    return _heard(recording, start_ms, end_ms, [label])


Row = Mapping[str, str]


def _reader(path: Path, header: Sequence[str], named: str, label_column: str | None) -> Callable[[Row], Heard | None]:
    """Return what reads a row of a table with this header."""
    labels = [name for name in _LABEL if name in header]
    if label_column is not None:
        if label_column.strip().lower() not in header:
            raise RequestError(f"{path}: no column '{label_column}' (--label-column); there are {', '.join(header)}")
        labels = [label_column.strip().lower()]
    if {"begin time (s)", "end time (s)"} <= set(header):
        _require_labels(path, header, labels)
        return lambda row: _of_raven(row, named, labels)
    if {"location", "recording_date_time"} <= set(header):
        start = next((name for name in ("detection_time", "tag_start_s", "start_s") if name in header), None)
        if start is None:
            raise RequestError(f"{path}: a report of WildTrax without detection_time or start_s; download that of tags")
        _require_labels(path, header, labels)
        return lambda row: _of_wildtrax(row, start, labels)
    if {"in file", "offset", "duration"} <= set(header):
        manual = ["manual id"] if label_column is None else labels
        _require_labels(path, header, [name for name in manual if name in header])
        return lambda row: _of_kaleidoscope(row, manual)
    unit = next((unit for unit in ("s", "ms") if {f"start_{unit}", f"end_{unit}"} <= set(header)), None)
    recordings = [name for name in _RECORDING if name in header]
    if unit is None:
        raise RequestError(
            f"{path}: neither a table of Raven, WildTrax or Kaleidoscope, nor labels of Audacity, nor a CSV with "
            "recording, label, and start_s and end_s or start_ms and end_ms (the name says the unit)"
        )
    _require_labels(path, header, labels)
    return lambda row: _of_csv(row, named, unit, recordings, labels)


def _require_labels(path: Path, header: Sequence[str], labels: Sequence[str]) -> None:
    if not labels:
        raise RequestError(
            f"{path}: no column of species is known among {', '.join(header)}; name it with --label-column"
        )


def _of_raven(row: Row, named: str, labels: Sequence[str]) -> Heard | None:
    file = row.get("begin file") or row.get("begin path")
    start_ms, end_ms = _ms(row["begin time (s)"], 1000), _ms(row["end time (s)"], 1000)
    if file and row.get("file offset (s)"):
        offset_ms = _ms(row["file offset (s)"], 1000)
        start_ms, end_ms = offset_ms, offset_ms + end_ms - start_ms
    return _heard(id_of(file) if file else named, start_ms, end_ms, [row.get(name, "") for name in labels])


def _of_wildtrax(row: Row, start: str, labels: Sequence[str]) -> Heard | None:
    text = row.get("recording_date_time", "")
    try:
        recorded_at = datetime.fromisoformat(text.replace("/", "-")).replace(tzinfo=None, microsecond=0)
    except ValueError:
        raise _WrongError(f"recording_date_time '{text}' is not a date and time such as 2023-05-09 05:50:00") from None
    task = Heard(
        None,
        station=nfc(row["location"]),
        recorded_at=recorded_at,
        listened_ms=_ms(row["task_duration"], 1000) if row.get("task_duration") else None,
        method=row.get("task_method") or None,
    )
    tag = _heard(None, *_times_of_tag(row, start), [row.get(name, "") for name in labels]) if row.get(start) else task
    return replace(task, start_ms=tag.start_ms, end_ms=tag.end_ms, names=tag.names)


def _times_of_tag(row: Row, start: str) -> tuple[int, int]:
    start_ms = _ms(row[start], 1000)
    if row.get("tag_duration"):
        return start_ms, start_ms + max(_ms(row["tag_duration"], 1000), 1)
    return start_ms, _ms(row["end_s"], 1000) if row.get("end_s") else start_ms + 1


def _of_kaleidoscope(row: Row, labels: Sequence[str]) -> Heard | None:
    start_ms = _ms(row["offset"], 1000)
    end_ms = start_ms + _ms(row["duration"], 1000)
    names = [row.get(name, "") for name in labels]
    return _heard(id_of(row["in file"]), start_ms, end_ms, names) if any(names) else None


def _of_csv(row: Row, named: str, unit: str, recordings: Sequence[str], labels: Sequence[str]) -> Heard | None:
    recording = next((row[name] for name in recordings if row.get(name)), "")
    if recordings and not recording:
        raise _WrongError(f"{recordings[0]} is empty")
    names = [row.get(name, "") for name in labels]
    start, end = row.get(f"start_{unit}", ""), row.get(f"end_{unit}", "")
    whose = id_of(recording) if recording else named
    if not any(names) and not start and not end:
        return Heard(whose)
    per_unit = 1000 if unit == "s" else 1
    start_ms, end_ms = _ms(start, per_unit), _ms(end, per_unit)
    return _heard(whose, start_ms, end_ms, names) if any(names) else Heard(whose, start_ms, end_ms)


def _heard(recording: str | None, start_ms: int, end_ms: int, names: Sequence[str]) -> Heard:
    told = tuple(dict.fromkeys(nfc(name) for name in names if name))
    if any(name.casefold() in _NOTHING_HEARD for name in told):
        return Heard(recording)
    if not told:
        raise _WrongError("the label is empty")
    if end_ms <= start_ms or start_ms < 0:
        raise _WrongError(f"it ends at {end_ms} ms, which is not after its start at {start_ms} ms")
    return Heard(recording, start_ms, end_ms, told)


def _ms(text: str, per_unit: int) -> int:
    try:
        return round(float(text) * per_unit)
    except (ValueError, OverflowError):
        raise _WrongError(f"'{text}' is not a number") from None
