"""The labels of a model's scores, in their order, as several kinds of files hold them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from badc.errors import RequestError
from badc.system.texts import read_text, rows_of

_SCIENTIFIC = ("sci_name", "scientific_name", "scientific name", "latin_name")
_COMMON = ("com_name", "common_name", "common name", "english_name")
_SEPARATORS = (";", "\t", ",")


@dataclass(frozen=True, slots=True)
class Label:
    """A label as detections have it; `code` is the scientific name, where both are known."""

    label: str
    name: str
    code: str | None = None


def read_labels(path: Path, scores: int | None = None) -> tuple[Label, ...]:
    """Read a file of labels: one a line, or a table with a column of scientific or common names.

    A line may be `Scientific name_Common name`, as BirdNET has it. `scores` is how many the model gives, where that is
    known: in a CSV, a first line too many is the header.

    Raises
    ------
    RequestError
        When it cannot be read, or has another number of labels.
    """
    text = read_text(path, "file of labels")
    labels = _of_table(path, text) or _of_lines(text, scores if path.suffix.lower() == ".csv" else None)
    if not labels:
        raise RequestError(f"{path}: the file of labels is empty")
    if scores is not None and len(labels) != scores:
        raise RequestError(
            f"{path}: {len(labels):,} labels, but the model gives {scores:,} scores; give the labels of this model"
        )
    return labels


def _of_table(path: Path, text: str) -> tuple[Label, ...]:
    first = text.split("\n", 1)[0].strip().lower()
    for separator in _SEPARATORS:
        columns = [cell.strip('" ') for cell in first.split(separator)]
        scientific = next((name for name in _SCIENTIFIC if name in columns), None)
        common = next((name for name in _COMMON if name in columns), None)
        if scientific or common:
            _, rows = rows_of(path, text, "file of labels", separator)
            return tuple(_label(row.get(scientific or "", ""), row.get(common or "", "")) for _, row in rows)
    return ()


def _of_lines(text: str, scores: int | None) -> tuple[Label, ...]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if scores is not None and len(lines) == scores + 1:
        lines = lines[1:]
    if not lines:
        return ()
    # BirdNET's labels; in those of others, such as class_1, the part before the line is no scientific name.
    of_birdnet = all("_" in line for line in lines) and any(" " in line.partition("_")[0] for line in lines)
    return tuple(_label(*line.split("_", 1)) if of_birdnet else Label(line, line) for line in lines)


def _label(scientific: str, common: str) -> Label:
    name = common or scientific
    return Label(name, name, scientific if common and scientific else None)
