"""Raven's selection tables and Audacity's label tracks, as people save them: which recording, when, which label.

What is in the columns and labels is for `badc.reports.compare.truth` (what was heard) and
`badc.reports.review.verdicts` (whether a detection is right) to say. `badc.reports.files.export_formats` writes both.

Sources: Raven's manual, "Selection tables"; Audacity's manual, "Importing and Exporting Labels".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from badc.recordings.names import AUDIO_SUFFIXES, nfc

LABEL_SUFFIXES = (".txt", ".csv", ".tsv")
# Ends of the names of selection tables and label tracks, before their suffix.
_ENDS = (".selections", ".labels", ".birdnet", ".table")
_WITH_CONFIDENCE = re.compile(r"(?P<label>.*\S) \((?P<confidence>[\d.,]+)\)")


def recording_of_file(path: Path) -> str:
    """Return the recording that a file of labels is named after, such as `A` of `A.Table.1.selections.txt`.

    Examples
    --------
    >>> recording_of_file(Path("x/ST-1_20230509_055000.Table.1.selections.txt"))
    'ST-1_20230509_055000'
    """
    stem = path.name
    for suffix in LABEL_SUFFIXES:
        stem = stem[: -len(suffix)] if stem.lower().endswith(suffix) else stem
    while True:
        shorter = stem
        for end in _ENDS:
            shorter = shorter[: -len(end)] if shorter.lower().endswith(end) else shorter
        base, dot, number = shorter.rpartition(".")
        if dot and number.isdecimal() and base.lower().endswith(".table"):
            shorter = base
        if shorter == stem:
            return nfc(stem)
        stem = shorter


def id_of(name: str) -> str:
    """Return the recording id of a file's name or path, or of an id."""
    name = name.replace("\\", "/").rpartition("/")[2]
    suffix = Path(name).suffix.lower()
    return nfc(name[: -len(suffix)] if suffix in AUDIO_SUFFIXES else name)


def is_selection_table(header: Sequence[str]) -> bool:
    """Whether a header, in lower case, is that of a selection table."""
    return {"begin time (s)", "end time (s)"} <= set(header)


def selected(row: Mapping[str, str], named: str) -> tuple[str, int, int]:
    """Return recording, start and end (ms from the recording's start) of a row of a selection table.

    A table of many recordings counts its times from the first one's start, and gives the place in the file beside it.
    `named` is the recording of a row that names none.

    Raises
    ------
    ValueError
        If a time is no number.
    """
    file = row.get("begin file") or row.get("begin path")
    start_ms, end_ms = in_ms(row["begin time (s)"]), in_ms(row["end time (s)"])
    if file and row.get("file offset (s)"):
        offset_ms = in_ms(row["file offset (s)"])
        start_ms, end_ms = offset_ms, offset_ms + end_ms - start_ms
    return id_of(file) if file else named, start_ms, end_ms


def is_label_track(lines: Sequence[str]) -> bool:
    """Whether the first line that is not of frequencies, which begin with a backslash, is of two numbers."""
    first = next((line for line in lines if line.strip() and not line.startswith("\\")), "").split("\t")
    return len(first) >= 2 and all(_is_number(cell) for cell in first[:2])


def track_lines(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield the labels of a label track, each with the number of its line."""
    for number, line in enumerate(lines, start=1):
        if line.strip() and not line.startswith("\\"):
            yield number, line


def tracked(line: str) -> tuple[int, int, str]:
    """Return start and end in ms, and the text of a label.

    Raises
    ------
    ValueError
        If it has no times.
    """
    cells = line.split("\t")
    if len(cells) < 2:
        raise ValueError(f"'{line}' is not a start, an end and a label, separated by tabs")
    return in_ms(cells[0]), in_ms(cells[1]), cells[2].strip() if len(cells) > 2 else ""


def without_confidence(label: str) -> tuple[str, str]:
    """Return a label, and the confidence that BADC's export wrote in brackets behind it, or "".

    Examples
    --------
    >>> without_confidence("Wren (0.712)")
    ('Wren', '0.712')
    >>> without_confidence("Veery (song)")
    ('Veery (song)', '')
    """
    found = _WITH_CONFIDENCE.fullmatch(label)
    return (found["label"], found["confidence"]) if found and _is_number(found["confidence"]) else (label, "")


def in_ms(text: str, unit_ms: int = 1000) -> int:
    """Return a number of seconds, or of another unit, in ms; its decimals may be after a comma.

    Raises
    ------
    ValueError
        If it is no number.
    """
    try:
        return round(float(text.replace(",", ".")) * unit_ms)
    except (ValueError, OverflowError):
        raise ValueError(f"'{text}' is not a number") from None


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True
