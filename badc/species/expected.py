"""A person's own list of the species to expect, in each study area or everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from badc.errors import RequestError
from badc.recordings.names import nfc
from badc.system.texts import read_each, read_table, spelling

_WHAT = "CSV of expected species"


@dataclass(frozen=True, slots=True)
class ExpectedSpecies:
    """Labels, codes or names, as `badc.system.texts.spelling` has them."""

    everywhere: frozenset[str]
    in_area: Mapping[str, frozenset[str]]  # by study area, in NFC; these areas' lists are complete


def read_expected(path: Path) -> ExpectedSpecies:
    """Read a CSV of expected species: `label[,study_area]`, in any order.

    A row without a study area holds everywhere. UTF-8; further columns and empty lines are ignored.

    Raises
    ------
    RequestError
        If the file cannot be read, has no column `label`, no species, or rows without one; all of those are listed.
    """
    found: dict[str, set[str]] = {}

    def add(row: Mapping[str, str]) -> None:
        if not row["label"]:
            raise ValueError("label is empty")
        found.setdefault(nfc(row["study_area"]), set()).add(spelling(row["label"]))

    read_each(path, read_table(path, _WHAT, ("label",), ("study_area",)), add)
    if not found:
        raise RequestError(f"{path}: the {_WHAT} lists none")
    everywhere = frozenset(found.pop("", ()))
    return ExpectedSpecies(everywhere, {area: frozenset(names) for area, names in found.items()})
