"""Which table of detections a report is of: the one that is named, or the one that a folder means."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from badc.detections.tables import coverage_path
from badc.errors import RequestError, listed
from badc.settings.model import ARGUMENT_OR_OPTION
from badc.system.paths import RESULTS_FOLDER

# Where `badc infer aggregate` and the bundles of a dataset put their tables, below its folder.
_OF_A_DATASET = Path("artifacts/aggregate")
# Beside the tables of single recordings, the one of all of them.
OF_ALL = "detections.parquet"


def table_in(place: Path) -> Path:
    """Return the table of detections that a path means: itself, unless it is a folder.

    Of a folder (of results, a dataset, or recordings with their results), it is the only table in it or in its
    `artifacts/aggregate`, else the one named detections.parquet.

    Raises
    ------
    RequestError
        If the folder has no table, or has several to choose from.
    """
    if not place.is_dir():
        return place
    for folder in (place, place / _OF_A_DATASET, place / RESULTS_FOLDER / _OF_A_DATASET):
        there = sorted(path for path in folder.glob("*.parquet") if path.is_file())
        tables = [path for path in there if path not in {coverage_path(other) for other in there}]
        if len(tables) == 1:
            return tables[0]
        if (of_all := folder / OF_ALL) in tables:
            return of_all
        if tables:
            raise RequestError(
                f"{place}: {len(tables)} tables of detections in {folder}; name one of them:\n"
                f"{listed([str(path) for path in tables])}\n"
                f"`badc report aggregate-dir {place}` ranks all of them together, and `badc infer aggregate` makes one "
                f"table of all detections ({folder / OF_ALL} is the one that the folder then means)"
            )
    raise RequestError(
        f"{place}: no table of detections (*.parquet) in it, nor in its {_OF_A_DATASET}; "
        "`badc infer aggregate --parquet` writes one"
    )


def asked_for(value: Any) -> Any:
    """Return the value of a required option, or raise ValueError if it is not given."""
    if value is None:
        raise ValueError("this option is needed")
    return value


def needed() -> Any:
    """Return the default of a required option, so that its absence is reported like any other wrong value."""
    return Field(default=None, validate_default=True)


def _table(value: Any) -> Any:
    if value is None:
        raise ValueError("name the table of detections, or the dataset or folder of results that it is in")
    return value


Table = Annotated[
    Path,
    BeforeValidator(_table),
    AfterValidator(table_in),
    Field(
        description="Table of detections, as `badc infer aggregate --parquet` writes it; or the dataset or folder of "
        "results that it is in.",
        json_schema_extra=ARGUMENT_OR_OPTION,
    ),
]
