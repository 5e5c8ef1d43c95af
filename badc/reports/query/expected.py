"""Which detections are unexpected at their place and time of year: by the range model, or by a person's own list."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from badc.errors import RequestError, named_few, numbered
from badc.species.expected import ExpectedSpecies, read_expected
from badc.species.names import read_names
from badc.system.sql import quoted

if TYPE_CHECKING:
    import duckdb

    from badc.reports.settings import ChoiceSettings

# Of detections, from a column `unexpected`; null where nothing is known of any of them.
UNEXPECTED = "CASE WHEN count(unexpected) > 0 THEN count_if(unexpected) END AS unexpected"


def unexpected(database: duckdb.DuckDBPyConnection, choice: ChoiceSettings) -> str:
    """Return SQL that says of a row of the view `detections` whether it is unexpected; null if that is not known.

    A species that the list has, for the row's study area or for everywhere, is expected. Any other one is unexpected in
    a study area that has rows of its own; elsewhere, if its occurrence is below `min_occurrence`.

    Raises
    ------
    RequestError
        When the list cannot be read, or detections are to be left out of which nothing is known.
    """
    model = f"occurrence < {choice.min_occurrence!r}"
    if choice.expected is not None:
        return _by_list(database, read_expected(choice.expected), model)
    if choice.drop_unexpected and not has_occurrence(database) and _exists(database, "detections"):
        raise RequestError(
            "--drop-unexpected: the table does not say where species occur, so none is known to be unexpected; "
            "aggregate with the stations' coordinates (`badc infer aggregate --sites`), or give a list (--expected)"
        )
    return model


def has_occurrence(database: duckdb.DuckDBPyConnection) -> bool:
    """Whether any detection has an occurrence."""
    return _exists(database, "detections WHERE occurrence IS NOT NULL")


def _by_list(database: duckdb.DuckDBPyConnection, expected: ExpectedSpecies, otherwise: str) -> str:
    names = read_names(None)
    called = {
        row[0]: names.spellings(*row)
        for row in database.execute("SELECT DISTINCT label, label_code, label_name FROM detections").fetchall()
    }

    def listed(wanted: Iterable[str]) -> str:
        labels = sorted(label for label, spellings in called.items() if not spellings.isdisjoint(wanted))
        return f"label IN ({', '.join(map(quoted, labels))})" if labels else "false"

    cases = [f"WHEN {listed(expected.everywhere)} THEN false"]
    cases += [
        f"WHEN study_area = {quoted(area)} THEN NOT ({listed(species)})" for area, species in expected.in_area.items()
    ]
    return f"CASE {' '.join(cases)} ELSE {otherwise} END"


def notes_on_expected(database: duckdb.DuckDBPyConnection) -> list[str]:
    """Return a sentence on unexpected detections, or on why none is known, if places are; `choose` first."""
    rows = database.execute(
        "SELECT label, count(*) FROM considered WHERE unexpected GROUP BY label ORDER BY count(*) DESC, label"
    ).fetchall()
    if not rows:
        if _exists(database, "sites") and _exists(database, "detections") and not has_occurrence(database):
            return ["the table does not say where species occur; `badc infer aggregate --sites` adds it (occurrence)"]
        return []
    number = numbered(sum(row[1] for row in rows), "detection")
    species = f"{number} of {numbered(len(rows), 'label')} ({named_few([row[0] for row in rows])})"
    if _exists(database, "chosen WHERE unexpected"):
        return [f"unexpected at their station and time of year: {species}; --drop-unexpected leaves them out"]
    return [f"left out as unexpected at their station and time of year: {species}"]


def _exists(database: duckdb.DuckDBPyConnection, rows: str) -> bool:
    return bool(database.execute(f"SELECT 1 FROM {rows} LIMIT 1").fetchall())
