"""Text files that people write with other programs: how they are encoded, separated and spelt."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from badc.errors import RequestError

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def read_text(path: Path, what: str) -> str:
    """Return the content of a UTF-8 file, with or without a byte order mark; `what` names it in messages.

    Raises
    ------
    RequestError
        When it cannot be read or is not UTF-8.
    """
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

    Columns may be in any order and case; further ones and empty rows are ignored. A cell is "" or missing where a row
    is too short.

    Raises
    ------
    RequestError
        When the file cannot be read, or lacks a needed column.
    """
    reader = csv.DictReader(io.StringIO(read_text(path, what), newline=""), skipinitialspace=True, strict=True)
    try:
        header = [name.strip().lower() for name in reader.fieldnames or ()]
        reader.fieldnames = header
        if lacking := [name for name in needed if name not in header]:
            require_commas(path, header, what)
            raise RequestError(
                f"{path}: the column {', '.join(lacking)} is missing; it needs {','.join(needed)} and may have "
                f"{','.join(optional)}"
            )
        return [(reader.line_num, row) for row in reader if any(row.values())]
    except csv.Error as error:
        raise RequestError(f"{path}: the {what} cannot be read ({error})") from None


def require_commas(path: Path, header: Sequence[str], what: str) -> None:
    """Refuse a CSV whose header has become one column because other signs separate it, as in many spreadsheets."""
    separator = next((sign for sign in (";", "\t", "|") if len(header) == 1 and sign in header[0]), None)
    if separator is not None:
        raise RequestError(f"{path}:1: the columns are separated by {separator!r}; a {what} uses commas")


def spelling(name: str) -> str:
    """Return a name of a species as it is compared: NFC, lower case, straight apostrophes, single spaces."""
    return " ".join(unicodedata.normalize("NFC", name).casefold().replace("\u2019", "'").split())
