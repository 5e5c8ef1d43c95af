"""What people say of detections: CSVs of the review page and typed by hand, Raven's tables, Audacity's labels."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from badc.errors import RequestError, listed
from badc.recordings.names import nfc
from badc.system.texts import read_text, require_commas

_WHAT = "CSV of verdicts"
_WORDS = {
    "y": ("y", "yes", "true", "1", "correct", "right"),
    "n": ("n", "no", "false", "0", "wrong", "incorrect"),
    "?": ("?", "unsure", "unknown", "maybe", "unclear"),
}
_AUDACITY = re.compile(r"^\s*\d+([.,]\d+)?\t\s*\d+([.,]\d+)?(\t|$)")
# `Hermit Thrush (0.712) = n: Swainson's Thrush`
_LABEL = re.compile(
    r"^(?P<label>.*?)\s*(\((?P<confidence>\d(\.\d+)?)\))?\s*=\s*(?P<verdict>[^=:]*?)\s*(:\s*(?P<other>.*))?$"
)
_RAVEN_NAME = re.compile(r"(\.Table\.\d+)?\.selections?$", re.IGNORECASE)


class Answer(StrEnum):
    """Whether the named species can be heard."""

    YES = "y"
    NO = "n"
    UNSURE = "?"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one person says of one detection; it is named by its clip, or by recording, label and start."""

    place: str  # file and line
    answer: Answer
    clip: str | None
    recording_id: str | None
    label: str | None
    start_ms: int | None  # from the start of the recording
    confidence: float | None
    other_label: str
    reviewer: str
    checked_at: str


def read_verdicts(path: Path) -> list[Verdict]:
    """Return the verdicts of a file, of any kind in docs/review.md; rows without a verdict are passed over.

    Raises
    ------
    RequestError
        If the file cannot be read, lacks a column, or has wrong rows; all of them are listed with their lines.
    """
    text = read_text(path, _WHAT)
    lines = text.splitlines()
    first = next((line for line in lines if line.strip()), "")
    reads: Callable[[Path, str], Iterator[Verdict | str]] = _csv
    if "\t" in first and "begin time (s)" in first.lower():
        reads = _raven
    elif _AUDACITY.match(first):
        reads = _audacity
    verdicts: list[Verdict] = []
    problems: list[str] = []
    for found in reads(path, text):
        if isinstance(found, str):
            problems.append(found)
        else:
            verdicts.append(found)
    if problems:
        raise RequestError(listed(problems))
    return verdicts


def _csv(path: Path, text: str) -> Iterator[Verdict | str]:
    header, rows = _rows(path, text, ",")
    if "verdict" not in header:
        require_commas(path, header, _WHAT)
        raise RequestError(
            f"{path}:1: the column verdict is missing; a {_WHAT} has verdict, and either clip or "
            "recording_id,label,start_ms"
        )
    if "clip" not in header and (lacking := [n for n in ("recording_id", "label", "start_ms") if n not in header]):
        raise RequestError(f"{path}:1: without the column clip, it needs {', '.join(lacking)} too")
    for place, row in rows:
        yield from _made(
            place,
            row.get("verdict", ""),
            clip=row.get("clip", ""),
            recording_id=row.get("recording_id", ""),
            label=row.get("label", ""),
            start_ms=row.get("start_ms", ""),
            confidence=row.get("confidence", ""),
            other=row.get("other_label", ""),
            reviewer=row.get("reviewer", "") or str(path),
            checked_at=row.get("checked_at", ""),
        )


def _raven(path: Path, text: str) -> Iterator[Verdict | str]:
    header, rows = _rows(path, text, "\t")
    if "verdict" not in header:
        raise RequestError(
            f"{path}:1: the selection table has no column Verdict; add one in Raven, and write y, n or ?"
        )
    for place, row in rows:
        file = row.get("begin file", "") or row.get("begin path", "")
        yield from _made(
            place,
            row.get("verdict", ""),
            recording_id=Path(file).stem or _RAVEN_NAME.sub("", path.stem),
            label=row.get("common name", "") or row.get("species code", ""),
            start_ms=_ms(row.get("begin time (s)", "")),
            confidence=row.get("confidence", ""),
            other=row.get("other species", "") or row.get("other label", ""),
            reviewer=row.get("reviewer", "") or str(path.parent),
        )


def _audacity(path: Path, text: str) -> Iterator[Verdict | str]:
    for number, line in enumerate(text.splitlines(), start=1):
        start, _, rest = line.partition("\t")
        found = _LABEL.match(rest.partition("\t")[2].strip())
        if found is None or line.startswith("\\"):  # not checked, or the frequencies of the label above
            continue
        yield from _made(
            f"{path}:{number}",
            found["verdict"],
            recording_id=path.stem.removesuffix(".labels"),
            label=found["label"],
            start_ms=_ms(start),
            confidence=found["confidence"] or "",
            other=found["other"] or "",
            reviewer=str(path.parent),
        )


def _ms(seconds: str) -> str:
    """Return seconds, with a point or a comma, as ms; other text as it is, for the message."""
    try:
        return str(round(float(seconds.strip().replace(",", ".")) * 1000))
    except ValueError:
        return seconds


def _rows(path: Path, text: str, separator: str) -> tuple[list[str], list[tuple[str, dict[str, str]]]]:
    stream = io.StringIO(text, newline="")
    # Nothing is quoted in a selection table.
    tabbed = csv.reader(stream, delimiter=separator, quoting=csv.QUOTE_NONE)
    reader = csv.reader(stream) if separator == "," else tabbed
    header: list[str] = []
    rows: list[tuple[str, dict[str, str]]] = []
    try:
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if not header:
                header = [name.strip().lower() for name in row]
                continue
            cells = dict(zip(header, (nfc(cell.strip()) for cell in row), strict=False))
            rows.append((f"{path}:{reader.line_num}", cells))
    except csv.Error as error:
        raise RequestError(f"{path}:{reader.line_num}: cannot be read ({error})") from None
    return header, rows


def _made(
    place: str,
    verdict: str,
    *,
    clip: str = "",
    recording_id: str = "",
    label: str = "",
    start_ms: str = "",
    confidence: str = "",
    other: str = "",
    reviewer: str = "",
    checked_at: str = "",
) -> Iterator[Verdict | str]:
    """Yield a verdict, or what is wrong with it, or nothing where there is none."""
    word = verdict.strip().lower()
    if not word:
        return
    answer = next((Answer(answer) for answer, words in _WORDS.items() if word in words), None)
    if answer is None:
        yield f"{place}: the verdict '{verdict}' is not y, n or ?"
        return
    try:
        start = int(float(start_ms)) if start_ms else None
        score = float(confidence) if confidence else None
    except (ValueError, OverflowError):
        yield f"{place}: start '{start_ms}' or confidence '{confidence}' is not a number"
        return
    if score is not None and not 0 <= score <= 1:
        yield f"{place}: confidence '{confidence}' is not between 0 and 1"
    elif not clip and not (recording_id and label and start is not None):
        yield f"{place}: neither a clip, nor a recording, a label and a start, so the detection is not known"
    else:
        yield Verdict(
            place, answer, clip or None, recording_id or None, label or None, start, score, other, reviewer, checked_at
        )
