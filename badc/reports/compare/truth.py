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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from badc.errors import RequestError, listed
from badc.recordings.names import nfc
from badc.reports.files.export_formats import RAVENS_LIST
from badc.reports.files.label_files import (
    LABEL_SUFFIXES,
    id_of,
    in_ms,
    is_label_track,
    is_selection_table,
    recording_of_file,
    selected,
    track_lines,
    tracked,
    without_confidence,
)
from badc.system.texts import read_each, read_text, require_commas, rows_of

_WHAT = "file of labels"
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
        try:
            found += _read(path, recording, label_column)
        except RequestError as error:
            problems += str(error).splitlines()
    if problems:
        raise RequestError(listed(problems))
    return found


def _files(paths: Sequence[Path]) -> list[Path]:
    files = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        inside = sorted(f for f in path.rglob("*") if f.suffix.lower() in LABEL_SUFFIXES and not f.name.startswith("."))
        inside = [file for file in inside if not file.name.endswith(RAVENS_LIST)]
        if not inside:
            raise RequestError(f"{path}: no {', '.join(LABEL_SUFFIXES)} file in this folder")
        files += inside
    return files


def _read(path: Path, recording: str | None, label_column: str | None) -> list[Heard]:
    text = read_text(path, _WHAT)
    named = recording or recording_of_file(path)
    lines = text.splitlines()
    if is_label_track(lines):
        found = read_each(path, track_lines(lines), lambda line: _of_label_track(line, named))
        return [replace(heard, place=place) for place, heard in found]
    header, rows = rows_of(path, text, _WHAT, "\t" if lines and "\t" in lines[0] else ",")
    if header:
        require_commas(path, header, _WHAT)
        read_row = _reader(path, header, named, label_column)
    if not rows:
        return [Heard(named, place=str(path))]
    return [replace(heard, place=place) for place, heard in read_each(path, rows, read_row) if heard is not None]


Row = Mapping[str, str]


def _reader(path: Path, header: Sequence[str], named: str, label_column: str | None) -> Callable[[Row], Heard | None]:
    """Return what reads a row of a table with this header."""
    labels = [name for name in _LABEL if name in header]
    if label_column is not None:
        if label_column.strip().lower() not in header:
            raise RequestError(f"{path}: no column '{label_column}' (--label-column); there are {', '.join(header)}")
        labels = [label_column.strip().lower()]
    if is_selection_table(header):
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


def _of_label_track(line: str, recording: str) -> Heard:
    start_ms, end_ms, label = tracked(line)
    return _heard(recording, start_ms, end_ms, [without_confidence(label)[0]])


def _of_raven(row: Row, named: str, labels: Sequence[str]) -> Heard:
    return _heard(*selected(row, named), [row.get(name, "") for name in labels])


def _of_wildtrax(row: Row, start: str, labels: Sequence[str]) -> Heard | None:
    text = row.get("recording_date_time", "")
    try:
        recorded_at = datetime.fromisoformat(text.replace("/", "-")).replace(tzinfo=None, microsecond=0)
    except ValueError:
        raise ValueError(f"recording_date_time '{text}' is not a date and time such as 2023-05-09 05:50:00") from None
    task = Heard(
        None,
        station=nfc(row["location"]),
        recorded_at=recorded_at,
        listened_ms=in_ms(row["task_duration"]) if row.get("task_duration") else None,
        method=row.get("task_method") or None,
    )
    tag = _heard(None, *_times_of_tag(row, start), [row.get(name, "") for name in labels]) if row.get(start) else task
    return replace(task, start_ms=tag.start_ms, end_ms=tag.end_ms, names=tag.names)


def _times_of_tag(row: Row, start: str) -> tuple[int, int]:
    start_ms = in_ms(row[start])
    if row.get("tag_duration"):
        return start_ms, start_ms + max(in_ms(row["tag_duration"]), 1)
    return start_ms, in_ms(row["end_s"]) if row.get("end_s") else start_ms + 1


def _of_kaleidoscope(row: Row, labels: Sequence[str]) -> Heard | None:
    start_ms = in_ms(row["offset"])
    end_ms = start_ms + in_ms(row["duration"])
    names = [row.get(name, "") for name in labels]
    return _heard(id_of(row["in file"]), start_ms, end_ms, names) if any(names) else None


def _of_csv(row: Row, named: str, unit: str, recordings: Sequence[str], labels: Sequence[str]) -> Heard | None:
    recording = next((row[name] for name in recordings if row.get(name)), "")
    if recordings and not recording:
        raise ValueError(f"{recordings[0]} is empty")
    names = [row.get(name, "") for name in labels]
    start, end = row.get(f"start_{unit}", ""), row.get(f"end_{unit}", "")
    whose = id_of(recording) if recording else named
    if not any(names) and not start and not end:
        return Heard(whose)
    start_ms, end_ms = (in_ms(text, 1000 if unit == "s" else 1) for text in (start, end))
    return _heard(whose, start_ms, end_ms, names) if any(names) else Heard(whose, start_ms, end_ms)


def _heard(recording: str | None, start_ms: int, end_ms: int, names: Sequence[str]) -> Heard:
    told = tuple(dict.fromkeys(nfc(name) for name in names if name))
    if any(name.casefold() in _NOTHING_HEARD for name in told):
        return Heard(recording)
    if not told:
        raise ValueError("the label is empty")
    if end_ms <= start_ms or start_ms < 0:
        raise ValueError(f"it ends at {end_ms} ms, which is not after its start at {start_ms} ms")
    return Heard(recording, start_ms, end_ms, told)
