"""How likely each detection's species is at its station and in its week, as a column of the table.

Each (station, week) is asked of BirdNET's range model once, with the species of the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from functools import lru_cache
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from badc.detections.stations import add_sites, local_time, site_join
from badc.detections.tables import DetectionsStage, seeing
from badc.errors import NotInstalledError, named_few, numbered
from badc.recordings.sites import Site, unlisted_note
from badc.species.names import Names, read_names
from badc.species.range_model import RangeModel, week_of

_ROWS_PER_READ = 50_000
_DIGITS = 4  # the sixth depends on which places are asked together
_NAMES = "label, label_code, label_name"


def add_occurrence(stage: DetectionsStage, database: duckdb.DuckDBPyConnection, sites: Sequence[Site]) -> list[str]:
    """Fill in the column `occurrence`; return a sentence for each reason why it is null somewhere.

    The date is the local one of the detection at its station, as in reports. It is null where station, date or species
    is not known, or not to the model. `database` is that of `stage_database`.
    """
    try:
        model = RangeModel()
    except NotInstalledError as error:
        return [f"the occurrence of species is not known: {error}"]
    seeing(database, {"this": stage.path})
    add_sites(database, sites)
    dated = f"""
        (SELECT file_row_number AS row, sites.station AS site, {_NAMES},
          CAST({local_time("told.detected_at", sites)} AS DATE) AS day
        FROM this AS told {site_join(sites)})
    """
    names = database.execute(f"SELECT DISTINCT {_NAMES} FROM this").fetchall()
    species = model.find(names)
    if None in species:  # classifiers rename species, and some tables have codes alone
        species = model.find([(*row, *sorted(_other_names().spellings(*row))) for row in names])
    known = sorted({place for place in species if place is not None})
    days = database.execute(f"SELECT DISTINCT site, day FROM {dated} WHERE site IS NOT NULL AND day IS NOT NULL")
    weeks, asked = _weeks(days.fetchall(), {site.station: site for site in sites})
    scores = model.scores(asked, known).astype(np.float64).round(_DIGITS)
    columns = {place: column for column, place in enumerate(known)}
    database.register("weeks", weeks)
    database.register("species", _species(names, [-1 if place is None else columns[place] for place in species]))
    found = database.sql(
        f"""
        SELECT coalesce(w.week, -1), s.species FROM {dated} d
        LEFT JOIN weeks w ON w.site = d.site AND w.day = d.day
        JOIN species s ON {" AND ".join(f"s.{name} IS NOT DISTINCT FROM d.{name}" for name in _NAMES.split(", "))}
        ORDER BY d.row
        """
    )
    pieces = (_occurrence(batch, scores) for batch in found.to_arrow_reader(_ROWS_PER_READ))
    stage.change(_Filler(pieces))
    assert next(pieces, None) is None  # read to its end, the result leaves the connection to others
    database.unregister("weeks")
    database.unregister("species")
    unknown = [row[0] for row, place in zip(names, species, strict=True) if place is None]
    return _notes(database, unknown, sites)


@lru_cache(maxsize=1)
def _other_names() -> Names:
    return read_names(None)


def _weeks(days: Sequence[tuple[str, date]], sites: dict[str, Site]) -> tuple[pa.Table, list[tuple[float, float, int]]]:
    """Return a number for each station and day, the same within a week, and what is to be asked for each number."""
    numbers: dict[tuple[str, int], int] = {}
    week = [numbers.setdefault((site, week_of(day)), len(numbers)) for site, day in days]
    table = pa.table(
        {
            "site": pa.array([site for site, _ in days], pa.string()),
            "day": pa.array([day for _, day in days], pa.date32()),
            "week": pa.array(week, pa.int32()),
        }
    )
    return table, [(sites[site].latitude, sites[site].longitude, week) for site, week in numbers]


def _species(names: Sequence[tuple[str | None, ...]], columns: Sequence[int]) -> pa.Table:
    told = {name: pa.array([row[n] for row in names], pa.string()) for n, name in enumerate(_NAMES.split(", "))}
    return pa.table({**told, "species": pa.array(columns, pa.int32())})


def _occurrence(batch: pa.RecordBatch, scores: np.ndarray[Any, np.dtype[np.float64]]) -> pa.Array:
    """Return the scores of rows that have a number of a week and one of a species, -1 for unknown."""
    week, species = (column.to_numpy() for column in batch.columns)
    unknown = (week < 0) | (species < 0)
    values = np.zeros(batch.num_rows)
    values[~unknown] = scores[week[~unknown], species[~unknown]]
    return pa.array(values, mask=unknown)


class _Filler:
    """Fills the column of successive pieces of the table from pieces of another length, in the order of the rows."""

    def __init__(self, pieces: Iterator[pa.Array]) -> None:
        self._pieces = pieces
        self._left = pa.array([], pa.float64())

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        values = [self._left]
        while sum(map(len, values)) < batch.num_rows:
            values.append(next(self._pieces))
        column = pa.concat_arrays(values)
        self._left = column[batch.num_rows :]
        place = batch.schema.get_field_index("occurrence")
        return batch.set_column(place, batch.schema.field(place), column[: batch.num_rows])


def _notes(database: duckdb.DuckDBPyConnection, unknown: Sequence[str], sites: Sequence[Site]) -> list[str]:
    stations = database.execute("SELECT DISTINCT station FROM this WHERE station IS NOT NULL ORDER BY 1").fetchall()
    listed = {site.station for site in sites}
    notes = unlisted_note([name for (name,) in stations if name not in listed])
    if unknown:
        many = numbered(len(unknown), "label has", "labels have")
        notes.append(f"{many} no occurrence, as the range model does not know them: {named_few(sorted(unknown))}")
    return notes
