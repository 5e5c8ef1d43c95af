"""How reports name species: `--names`, `--language` and `--names-table`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, field_validator

from badc.errors import RequestError, named_few, numbered
from badc.settings.model import Settings
from badc.species.names import NameKind, Names, read_names

if TYPE_CHECKING:
    import duckdb


_SCIENTIFIC = re.compile("[A-Z][a-z]+( [a-z][a-z-]+){1,2}")


class NamesSettings(Settings):
    """What species are called in a report."""

    names: Annotated[
        NameKind | None,
        Field(
            description="Name species by eBird or alpha4 (banding) code, by scientific or common name, where a table "
            "of names has them. Default: as the classifier does."
        ),
    ] = None
    language: Annotated[
        str | None, Field(description="Common names in this language, such as de: a column of --names-table.")
    ] = None
    names_table: Annotated[
        Path | None,
        Field(
            description="CSV of names: label, scientific or common, and ebird, alpha4 or languages such as de. Comes "
            "before the names that installed classifiers bring."
        ),
    ] = None

    @field_validator("language")
    @classmethod
    def _as_in_tables(cls, language: str | None) -> str | None:
        return None if language is None else language.strip().lower().replace("-", "_")

    @property
    def column(self) -> str | None:
        """The column of the asked names, or None if species are to be called as the classifier does."""
        if self.names in (None, NameKind.COMMON) and self.language:
            return self.language
        return None if self.names is None else self.names.value.lower()


def name_species(database: duckdb.DuckDBPyConnection, settings: NamesSettings) -> tuple[str, ...]:
    """Make the view `named`: `chosen` with `species_name`, `species_common` and `species_scientific`.

    They are what `--names` asks for, the common name in `--language`, and the scientific name; null where no name is
    asked for or known. Returns a sentence if species lack the asked name.

    Raises
    ------
    RequestError
        If the table of names cannot be read, or no table has such names.
    """
    if settings.column is None:
        empty = ", ".join(f"CAST(NULL AS VARCHAR) AS species_{name}" for name in ("name", "common", "scientific"))
        database.execute(f"CREATE OR REPLACE TEMP VIEW named AS SELECT *, {empty} FROM chosen")
        return ()
    import pyarrow as pa

    names = read_names(settings.names_table)
    for column in filter(None, (settings.column, settings.language)):
        _require_column(names, column)
    found = database.execute("SELECT DISTINCT label, label_code, label_name FROM chosen ORDER BY ALL").fetchall()
    columns = {"species_name": settings.column, "species_common": settings.language, "species_scientific": "scientific"}
    cells: dict[str, list[str | None]] = {
        title: [names.name(column, *row) if column else None for row in found] for title, column in columns.items()
    }
    told = dict(zip(("label", "label_code", "label_name"), map(list, zip(*found, strict=True)), strict=False))
    schema = pa.schema([(name, pa.string()) for name in ("label", "label_code", "label_name", *columns)])
    database.register("found_names", pa.table({name: [] for name in schema.names} | told | cells, schema))
    database.execute("CREATE OR REPLACE TEMP TABLE species_names AS SELECT * FROM found_names")
    database.unregister("found_names")
    same = " AND ".join(f"d.{name} IS NOT DISTINCT FROM s.{name}" for name in ("label", "label_code", "label_name"))
    database.execute(
        "CREATE OR REPLACE TEMP VIEW named AS SELECT d.*, s.species_name, s.species_common, s.species_scientific "
        f"FROM chosen d LEFT JOIN species_names s ON {same}"
    )
    nameless = list(dict.fromkeys(row[0] for row, n in zip(found, cells["species_name"], strict=True) if n is None))
    if not nameless:
        return ()
    what = numbered(len(nameless), "label")
    return (f"no name in '{settings.column}' for {what}, which stay as they are: {named_few(nameless)}",)


def scientific_names(species: Sequence[tuple[str, str | None]]) -> dict[str, str]:
    """Return the scientific name of each label that the installed classifiers know by it or by its name.

    `species` are labels and their names. Nothing is read where all names are scientific ones already.
    """
    wanted = [pair for pair in species if not _SCIENTIFIC.fullmatch(pair[1] or "")]
    if not wanted:
        return {}
    names = read_names(None)
    return {label: found for label, name in wanted if (found := names.name("scientific", label, name))}


def _require_column(names: Names, column: str) -> None:
    if column not in names.columns:
        there = ", ".join(sorted(names.columns - {"label"})) or "none"
        raise RequestError(
            f"no table of names has the column '{column}' (there are: {there}); name one that has it with --names-table"
        )
