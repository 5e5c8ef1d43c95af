"""What people say of detections: CSVs of the review page and typed by hand, Raven's tables, Audacity's labels."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from badc.errors import RequestError
from badc.recordings.names import nfc
from badc.reports.files.label_files import (
    is_label_track,
    is_selection_table,
    recording_of_file,
    selected,
    track_lines,
    tracked,
    without_confidence,
)
from badc.system.texts import read_each, read_text, require_commas, rows_of

_WHAT = "CSV of verdicts"
_WORDS = {
    "y": ("y", "yes", "true", "1", "correct", "right"),
    "n": ("n", "no", "false", "0", "wrong", "incorrect"),
    "?": ("?", "unsure", "unknown", "maybe", "unclear"),
}
# `Hermit Thrush (0.712) = n: Swainson's Thrush`
_CHECKED = re.compile(r"(?P<label>.*?)=(?P<verdict>[^=:]*)(:(?P<other>.*))?")


class Answer(StrEnum):
    """Whether the named species can be heard."""

    YES = "y"
    NO = "n"
    UNSURE = "?"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one person says of one detection; it is named by its clip, or by recording, label and start."""

    answer: Answer
    clip: str | None
    recording_id: str | None
    label: str | None
    start_ms: int | None  # from the start of the recording
    confidence: float | None
    other_label: str
    reviewer: str
    checked_at: str
    place: str = ""  # file and line


def read_verdicts(path: Path) -> list[Verdict]:
    """Return the verdicts of a file, of any kind in docs/review.md; rows without a verdict are passed over.

    Raises
    ------
    RequestError
        If the file cannot be read, lacks a column, or has wrong rows; all of them are listed with their lines.
    """
    text = read_text(path, _WHAT)
    lines = text.splitlines()
    if is_label_track(lines):
        found = read_each(path, track_lines(lines), lambda line: _of_label_track(path, line))
    else:
        first = next((line for line in lines if line.strip()), "")
        header, rows = rows_of(path, text, _WHAT, "\t" if "\t" in first else ",")
        in_nfc = ((number, {name: nfc(cell) for name, cell in row.items()}) for number, row in rows)
        found = read_each(path, in_nfc, _reader(path, header))
    return [replace(verdict, place=place) for place, verdict in found if verdict is not None]


Row = Mapping[str, str]


def _reader(path: Path, header: Sequence[str]) -> Callable[[Row], Verdict | None]:
    """Return what reads a row of a table with this header."""
    if is_selection_table(header):
        if "verdict" not in header:
            raise RequestError(
                f"{path}:1: the selection table has no column Verdict; add one in Raven, and write y, n or ?"
            )
        return lambda row: _of_raven(path, row)
    if "verdict" not in header:
        require_commas(path, header, _WHAT)
        raise RequestError(
            f"{path}:1: the column verdict is missing; a {_WHAT} has verdict, and either clip or "
            "recording_id,label,start_ms"
        )
    if "clip" not in header and (lacking := [n for n in ("recording_id", "label", "start_ms") if n not in header]):
        raise RequestError(f"{path}:1: without the column clip, it needs {', '.join(lacking)} too")
    return lambda row: _of_csv(path, row)


def _of_csv(path: Path, row: Row) -> Verdict | None:
    start = row.get("start_ms", "")
    try:
        start_ms = int(float(start)) if start else None
    except (ValueError, OverflowError):
        raise ValueError(f"start '{start}' is not a number") from None
    return _made(
        row["verdict"],
        clip=row.get("clip", ""),
        recording_id=row.get("recording_id", ""),
        label=row.get("label", ""),
        start_ms=start_ms,
        confidence=row.get("confidence", ""),
        other=row.get("other_label", ""),
        reviewer=row.get("reviewer", "") or str(path),
        checked_at=row.get("checked_at", ""),
    )


def _of_raven(path: Path, row: Row) -> Verdict | None:
    recording_id, start_ms, _ = selected(row, recording_of_file(path))
    return _made(
        row["verdict"],
        recording_id=recording_id,
        label=row.get("common name", "") or row.get("species code", ""),
        start_ms=start_ms,
        confidence=row.get("confidence", ""),
        other=row.get("other species", "") or row.get("other label", ""),
        reviewer=row.get("reviewer", "") or str(path.parent),
    )


def _of_label_track(path: Path, line: str) -> Verdict | None:
    start_ms, _, text = tracked(line)
    found = _CHECKED.fullmatch(text)
    if found is None:
        return None
    label, confidence = without_confidence(found["label"].rstrip())
    return _made(
        found["verdict"],
        recording_id=recording_of_file(path),
        label=nfc(label),
        start_ms=start_ms,
        confidence=confidence,
        other=nfc((found["other"] or "").strip()),
        reviewer=str(path.parent),
    )


def _made(
    said: str,
    *,
    clip: str = "",
    recording_id: str = "",
    label: str = "",
    start_ms: int | None = None,
    confidence: str = "",
    other: str = "",
    reviewer: str = "",
    checked_at: str = "",
) -> Verdict | None:
    """Return a verdict, or None where nothing is said; a ValueError says what is wrong."""
    word = said.strip().lower()
    if not word:
        return None
    answer = next((Answer(answer) for answer, words in _WORDS.items() if word in words), None)
    if answer is None:
        raise ValueError(f"the verdict '{said}' is not y, n or ?")
    try:
        number = float(confidence) if confidence else None
    except ValueError:
        raise ValueError(f"confidence '{confidence}' is not a number") from None
    if number is not None and not 0 <= number <= 1:
        raise ValueError(f"confidence '{confidence}' is not between 0 and 1")
    if not clip and not (recording_id and label and start_ms is not None):
        raise ValueError("neither a clip, nor a recording, a label and a start, so the detection is not known")
    return Verdict(
        answer, clip or None, recording_id or None, label or None, start_ms, number, other, reviewer, checked_at
    )
