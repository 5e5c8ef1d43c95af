"""Text files that people write with other programs: how they are encoded, separated and spelt."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypeVar

from badc.errors import RequestError, listed
from badc.system.annex import require_content

if TYPE_CHECKING:
    import _csv

R = TypeVar("R")
T = TypeVar("T")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def one_line(text: str) -> str:
    """Return text with a space for each control character, so that a terminal does nothing but show it."""
    return text if text.isprintable() else "".join(letter if letter.isprintable() else " " for letter in text)


def printable(text: str) -> str:
    """Return text of several lines, each as `one_line` returns it."""
    return "\n".join(map(one_line, text.split("\n")))


def read_text(path: Path, what: str) -> str:
    """Return the content of a UTF-8 file, with or without a byte order mark; `what` names it in messages.

    Raises
    ------
    RequestError
        When it cannot be read or is not UTF-8.
    """
    require_content([path], what)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise RequestError(f"{path}: no such {what}") from None
    except OSError as error:
        raise RequestError(f"{path}: the {what} cannot be read ({error.strerror})") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        kind = "UTF-16, not UTF-8" if content.startswith(_UTF_16) else "not UTF-8"
        raise RequestError(f"{path}: {kind}; save it as UTF-8") from None


def read_table(
    path: Path, what: str, needed: Sequence[str], optional: Sequence[str]
) -> list[tuple[int, dict[str, str]]]:
    """Return the rows of a CSV with a header, each with its line; `what` names the file in messages.

    As `rows_of`, and each row has all columns that are needed or optional, empty where the file lacks them.

    Raises
    ------
    RequestError
        When the file cannot be read, or lacks a needed column.
    """
    header, rows = rows_of(path, read_text(path, what), what)
    if lacking := [name for name in needed if name not in header]:
        require_commas(path, header, what)
        further = f" and may have {','.join(optional)}" if optional else ""
        raise RequestError(f"{path}: the column {', '.join(lacking)} is missing; it needs {','.join(needed)}{further}")
    return [(number, dict.fromkeys(optional, "") | row) for number, row in rows]


def rows_of(
    path: Path, text: str, what: str, separator: str = ","
) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Return the header of a text with columns, and its rows, each with its line and by column.

    The header is in lower case, and the first row that is not empty; further empty rows are left out. Cells have no
    space around them, and are empty where a row is too short. Nothing is quoted between tabs (Raven's selection
    tables).

    Raises
    ------
    RequestError
        When quotes do not match.
    """
    stream = io.StringIO(text, newline="")
    if separator == "\t":
        reader = csv.reader(stream, delimiter=separator, quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(stream, delimiter=separator, skipinitialspace=True, strict=True)
    header: list[str] = []
    rows: list[tuple[int, dict[str, str]]] = []
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if not any(stripped):
                continue
            if header:
                rows.append((reader.line_num, dict.fromkeys(header, "") | dict(zip(header, stripped, strict=False))))
            else:
                header = [cell.lower() for cell in stripped]
    except csv.Error as error:
        raise RequestError(f"{path}:{reader.line_num}: the {what} cannot be read ({error})") from None
    return header, rows


def csv_writer(stream: TextIO) -> _csv.Writer:
    """Return a writer of CSV with plain line ends, whose cells every reader gives back, also those with a CR in them.

    `csv.writer` quotes a CR only if it is among the line ends, and a cell with a bare one would end the row.
    """
    return csv.writer(_PlainLineEnds(stream))


class _PlainLineEnds:
    """Takes each row with CRLF at its end, and writes it with LF."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, row: str) -> int:
        return self._stream.write(f"{row[:-2]}\n")


def read_each(path: Path, rows: Iterable[tuple[int, R]], read: Callable[[R], T]) -> list[tuple[str, T]]:
    """Return what `read` makes of each row, with its file and line.

    Raises
    ------
    RequestError
        When `read` raises a ValueError for some rows, which says why; all of these are listed with their lines.
    """
    made: list[tuple[str, T]] = []
    problems: list[str] = []
    for number, row in rows:
        try:
            made.append((f"{path}:{number}", read(row)))
        except ValueError as error:
            problems.append(f"{path}:{number}: {error}")
    if problems:
        raise RequestError(listed(problems))
    return made


def require_commas(path: Path, header: Sequence[str], what: str) -> None:
    """Refuse a CSV whose header has become one column because other signs separate it, as in many spreadsheets."""
    separator = next((sign for sign in (";", "\t", "|") if len(header) == 1 and sign in header[0]), None)
    if separator is not None:
        raise RequestError(f"{path}:1: the columns are separated by {separator!r}; a {what} uses commas")


def spelling(name: str) -> str:
    """Return a name of a species as it is compared: NFC, lower case, straight apostrophes, single spaces."""
    return " ".join(unicodedata.normalize("NFC", name).casefold().replace("\u2019", "'").split())
