"""A threshold of its own for each species: the CSV that `badc review report` writes, or one typed by hand.

It may also say how many detections a person checked, and how many were right, which the page shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from badc.errors import RequestError, named_few, numbered
from badc.recordings.names import nfc
from badc.system.sql import quoted
from badc.system.texts import read_each, read_table, spelling

_WHAT = "CSV of thresholds"
_FOUND = ("checked", "sampled_from", "precision", "low", "high", "kept_precision", "kept_low", "kept_high")


@dataclass(frozen=True, slots=True)
class Threshold:
    """A species' threshold, and what people found; numbers that are not known are None.

    `precision` and its 95 % interval are of the detections that the threshold keeps, where the CSV has them.
    """

    label: str
    min_confidence: float | None
    checked: int | None = None
    sampled_from: int | None = None  # detections that the checked ones were drawn from
    precision: float | None = None
    low: float | None = None
    high: float | None = None


def read_thresholds(path: Path) -> list[Threshold]:
    """Return the rows of a CSV with `label,min_confidence`, and further columns as in docs/formats.md.

    Raises
    ------
    RequestError
        If it cannot be read, lacks a column, or has wrong rows; all of them are listed with their lines.
    """
    rows = read_table(path, _WHAT, ("label", "min_confidence"), _FOUND)
    return [threshold for _, threshold in read_each(path, rows, _threshold)]


def _threshold(cells: dict[str, str]) -> Threshold:
    if not cells["label"]:
        raise ValueError("label is empty")
    kept = "kept_" if cells["kept_precision"] else ""
    checked, sampled_from = _number(cells, "checked"), _number(cells, "sampled_from")
    return Threshold(
        nfc(cells["label"]),
        _part(cells, "min_confidence"),
        None if checked is None else int(checked),
        None if sampled_from is None else int(sampled_from),
        *(_part(cells, f"{kept}{name}") for name in ("precision", "low", "high")),
    )


def _number(cells: dict[str, str], name: str) -> float | None:
    text = cells[name]
    try:
        return float(text) if text else None
    except ValueError:
        raise ValueError(f"{name} '{text}' is not a number") from None


def _part(cells: dict[str, str], name: str) -> float | None:
    value = _number(cells, name)
    if value is not None and not 0 <= value <= 1:
        raise ValueError(f"{name} '{cells[name]}' is not between 0 and 1")
    return value


def thresholds_by_label(path: Path, known: dict[str, set[str]]) -> tuple[dict[str, Threshold], tuple[str, ...]]:
    """Return the thresholds by the labels of a table, and a sentence on rows for which it has no detection.

    `known` has these labels by what they may be called (see `badc.reports.query.counts.known_names`).

    Raises
    ------
    RequestError
        As `read_thresholds`, or if two rows are of one species.
    """
    found: dict[str, Threshold] = {}
    unknown: list[str] = []
    for row in read_thresholds(path):
        labels = known.get(spelling(row.label), set())
        if not labels:
            unknown.append(row.label)
        for label in labels:
            if label in found:
                raise RequestError(f"{path}: '{found[label].label}' and '{row.label}' are the same species, {label}")
            found[label] = row
    if not unknown:
        return found, ()
    return found, (f"{path}: {numbered(len(unknown), 'label')} that no detection has: {named_few(unknown)}",)


def above_threshold(thresholds: Mapping[str, Threshold], otherwise: str) -> str:
    """Return SQL for whether a detection reaches its species' threshold; `otherwise` is for species without one.

    A map is looked up ten times as fast as a table in a condition.
    """
    own = {label: t.min_confidence for label, t in thresholds.items() if t.min_confidence is not None}
    if not own:
        return otherwise
    entries = ", ".join(f"{quoted(label)}: {value!r}::DOUBLE" for label, value in own.items())
    labels = ", ".join(map(quoted, own))
    return f"CASE WHEN label IN ({labels}) THEN confidence >= MAP {{{entries}}}[label] ELSE {otherwise} END"
