"""What species are called: their codes, their scientific names, and their names in people's languages.

BADC ships no list of names. It reads a table that the user gives, and the lists that installed classifiers bring:
HawkEars' classes (banding and eBird codes of Canada's birds; MIT) and the labels of BirdNET 2.4 (scientific and English
names; CC BY-NC-SA 4.0). A species that one source knows by its code is found in the next by its names.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from badc.errors import NotInstalledError, RequestError
from badc.species.birdnet_files import read_labels
from badc.species.hawkears_files import classes_file
from badc.system.choices import Choice
from badc.system.texts import read_text, require_commas, rows_of, spelling


class NameKind(Choice):
    """The ways to name a species."""

    EBIRD = "eBird"
    ALPHA4 = "alpha4"
    SCIENTIFIC = "scientific"
    COMMON = "common"


# What a species is found by.
_KEYS = ("label", "scientific", "common", "ebird", "alpha4")
# The headers of other people's tables: HawkEars' classes.csv (Name,Code,AltName,AltCode), eBird's taxonomy as a
# download (SPECIES_CODE,PRIMARY_COM_NAME,SCI_NAME) and from its API (SCIENTIFIC_NAME,COMMON_NAME,SPECIES_CODE,
# BANDING_CODES), and the alpha codes of the Institute for Bird Populations (SPEC,COMMONNAME,SCINAME).
_HEADERS = {
    **dict.fromkeys(("altname", "scientificname", "sciname"), "scientific"),
    **dict.fromkeys(("name", "commonname", "primarycomname", "comname"), "common"),
    **dict.fromkeys(("altcode", "ebirdcode", "speciescode"), "ebird"),
    **dict.fromkeys(("code", "bandingcode", "bandingcodes", "spec"), "alpha4"),
}
_LANGUAGE = re.compile(r"[a-z]{2,3}(_[a-z]{2,4})?")
# Of BirdNET's lists of labels in other languages, such as `BirdNET_GLOBAL_6K_V2.4_Labels_de.txt`.
_LANGUAGE_OF_LABELS = re.compile(r"_labels_([a-z]{2,3}(?:_[a-z]{2,4})?)$", re.IGNORECASE)

Row = Mapping[str, str]  # what one species is called, by column


class Names:
    """Tables of names; the first that has a name gives it."""

    def __init__(self, tables: Sequence[Iterable[Row]]) -> None:
        self._tables: list[dict[str, Row]] = []
        self.columns: set[str] = set()
        for rows in tables:
            table: dict[str, Row] = {}
            listed = list(rows)
            for key in _KEYS:
                for row in listed:
                    if row.get(key):
                        table.setdefault(spelling(row[key]), row)
            self.columns.update(*listed)
            self._tables.append(table)

    def rows(self, *called: str | None) -> list[Row]:
        """Return what the tables know of a species that is called so, in their order."""
        keys = [spelling(name) for name in called if name]
        found: list[Row] = []
        for _ in range(2):  # the second time with what the last table adds
            found = []
            for table in self._tables:
                row = next((table[key] for key in keys if key in table), None)
                if row is not None:
                    found.append(row)
                    keys += [spelling(row[key]) for key in ("scientific", "common") if row.get(key)]
        return found

    def name(self, column: str, *called: str | None) -> str | None:
        """Return the name of a species in a column (a `NameKind` in lower case, or a language), or None."""
        return next((row[column] for row in self.rows(*called) if row.get(column)), None)

    def spellings(self, *called: str | None) -> set[str]:
        """Return everything that a species is called, as names are compared; also what was asked with."""
        keys = {spelling(name) for name in called if name}
        return keys | {spelling(row[key]) for row in self.rows(*called) for key in _KEYS if row.get(key)}


def read_names(table: Path | None) -> Names:
    """Return the names of a user's table, if there is one, and of the installed classifiers.

    Raises
    ------
    RequestError
        If the table cannot be read, or has no column that names species.
    """
    tables: list[Iterable[Row]] = [] if table is None else [read_names_table(table)]
    classes = classes_file()
    if classes is not None:
        tables.append(read_names_table(classes))
    with contextlib.suppress(NotInstalledError):
        tables.append(_of_labels(read_labels(), "common"))
    return Names(tables)


def read_names_table(path: Path) -> list[Row]:
    """Read a table of names: a CSV with a header, or a list of BirdNET's labels (`.txt`).

    Columns of the CSV are `label`, `scientific`, `common`, `ebird`, `alpha4`, each language by its code (`de`,
    `pt_br`), and those of `_HEADERS`, in upper or lower case; others are ignored. A cell with several banding codes
    counts with its first.

    Raises
    ------
    RequestError
        If it cannot be read, or has no column that names species.
    """
    text = read_text(path, "table of names")
    if path.suffix.lower() == ".txt":
        language = _LANGUAGE_OF_LABELS.search(path.stem)
        return _of_labels(text.splitlines(), language[1].lower() if language else "common")
    header, lines = rows_of(path, text, "table of names")
    columns = {title: _column(title) for title in header}
    if not set(columns.values()) & set(_KEYS):
        require_commas(path, header, "table of names")
        raise RequestError(
            f"{path}: no column names species; there must be at least one of {', '.join(_KEYS)}, and others for "
            "what they are called"
        )
    rows = [{columns[title]: cell for title, cell in line.items() if columns[title]} for _, line in lines]
    for row in rows:
        row["alpha4"] = row.get("alpha4", "").partition(" ")[0]
    return [{column: cell for column, cell in row.items() if cell} for row in rows]


def _column(header: str) -> str:
    """Return the column of a header, empty for one that is ignored."""
    word = "_".join(header.strip().lower().replace("-", " ").replace("_", " ").split())
    column = _HEADERS.get(word.replace("_", ""), word)
    return column if column in _KEYS or _LANGUAGE.fullmatch(column) else ""


def _of_labels(labels: Iterable[str], column: str) -> list[Row]:
    pairs = (label.partition("_") for label in labels if label.strip())
    return [{"scientific": scientific, column: name} for scientific, _, name in pairs if name]
