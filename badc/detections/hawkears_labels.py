"""`HawkEars_labels.csv`, the table of labels that HawkEars 1.x writes, read as detections."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from badc.detections.result import Detection, InvalidResultError, parse_detections

LABELS = "HawkEars_labels.csv"
COLUMNS = ("filename", "start_time", "end_time", "class_name", "class_code", "score")


def rows_of(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows with their lines; InvalidResultError where it is not CSV, a column is missing or a row short."""
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise InvalidResultError(f"it lacks {', '.join(missing)}")
        for row in reader:
            if any(row[column] is None for column in COLUMNS):
                raise InvalidResultError(f"line {reader.line_num} is short")
            yield reader.line_num, row
    except csv.Error as error:
        raise InvalidResultError(f"line {reader.line_num} is not CSV ({error})") from None


def detection_of(row: dict[str, str]) -> dict[str, Any]:
    """Return a row as a detection's JSON; InvalidResultError if a time or the score is no number."""
    return {
        "timestamp_ms": round(_number(row, "start_time", 1000)),
        "end_ms": round(_number(row, "end_time", 1000)),
        "label": row["class_code"] or row["class_name"],
        "label_code": row["class_code"],
        "label_name": row["class_name"],
        "confidence": _number(row, "score"),
    }


def detections_at(output: str, chunk_id: str, beside: Path) -> tuple[Detection, ...]:
    """Return a chunk's detections from the folder (or table) that its file `beside` names as `hawkears_output`.

    A folder that was moved is looked for beside the file. Rows of another file name are another chunk's, unless the
    folder is the chunk's own: HawkEars may name a link by its target, such as a git-annex key.

    Raises
    ------
    InvalidResultError
        When there is no such table, it is malformed, or has rows of other chunks only.
    """
    named = Path(output)
    folders = (named, beside.parent / named.name) if named.is_absolute() else (beside.parent / named, named)
    tables = [table for folder in folders for table in (folder / LABELS, folder) if os.path.isfile(table)]  # noqa: PTH113
    if not tables:
        raise InvalidResultError(f"it names hawkears_output {output}, which has no {LABELS}")
    try:
        rows = [row for _, row in rows_of(tables[0].read_text(encoding="utf-8-sig"))]
        own = [row for row in rows if Path(row["filename"]).stem == chunk_id]
        if not own and rows:
            if tables[0].parent.name != f"{chunk_id}_hawkears":
                raise InvalidResultError(f"its rows are of {rows[0]['filename']}, not of this chunk")
            own = rows
        return parse_detections([detection_of(row) for row in own])
    except (OSError, UnicodeDecodeError, InvalidResultError) as error:
        raise InvalidResultError(f"{tables[0]}: {error}") from None


def _number(row: dict[str, str], column: str, times: int = 1) -> float:
    try:
        value = float(row[column]) * times
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InvalidResultError(f"{column} is {row[column]!r}, not a number")
    return value
