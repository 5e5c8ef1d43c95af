"""`badc report phenology`: when and at how many stations species were found, and how many with more listening."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from badc.reports.drawing import ACCENT, BAR, INK, SOFT, new_figure, save_figure
from badc.reports.history.settings import PhenologySettings, Visit
from badc.reports.history.visits import define_visits, require_coverage
from badc.reports.query.counts import MS_PER_HOUR, Ranking, choose, ranked, write_csv
from badc.reports.query.notes import notes_on_tables
from badc.reports.query.tables import find_coverage, open_tables
from badc.system.paths import absolute, require_writable

_CURVE_IN = 5.0
_SPECIES = """
    WITH found AS (
      SELECT label, min(label_name) AS label_name, min(visit) AS first, max(visit) AS last,
        count(DISTINCT station) AS stations, count(DISTINCT visit) AS dates, CAST(sum(n) AS BIGINT) AS detections
      FROM heard JOIN named USING (label) GROUP BY label),
    analysed AS (SELECT count(DISTINCT station) AS stations_analysed FROM listened)
    SELECT label, label_name, first, last, stations, stations_analysed, stations / stations_analysed AS naive_occupancy,
      dates, detections
    FROM found CROSS JOIN analysed ORDER BY detections DESC, label
"""
_STATIONS = """
    WITH analysed AS (
      SELECT station, min(visit) AS analysed_from, max(visit) AS analysed_to, count(*) AS analysed_dates
      FROM listened GROUP BY station)
    SELECT label, min(label_name) AS label_name, station, min(visit) AS first, max(visit) AS last, count(*) AS dates,
      CAST(sum(n) AS BIGINT) AS detections, any_value(analysed_from) AS analysed_from,
      any_value(analysed_to) AS analysed_to, any_value(analysed_dates) AS analysed_dates
    FROM heard JOIN named USING (label) JOIN analysed USING (station) GROUP BY label, station ORDER BY label, station
"""
_ACCUMULATION = f"""
    WITH new AS (SELECT first AS visit, count(*) AS n FROM (
      SELECT label, min(visit) AS first FROM heard GROUP BY label) GROUP BY first)
    SELECT l.visit AS date, CAST(sum(count(*)) OVER dated AS BIGINT) AS station_dates,
      sum(sum(effort_ms)) OVER dated / {MS_PER_HOUR} AS effort_h,
      CAST(sum(coalesce(any_value(n), 0)) OVER dated AS BIGINT) AS species
    FROM listened l LEFT JOIN new USING (visit) GROUP BY l.visit WINDOW dated AS (ORDER BY l.visit) ORDER BY date
"""


@dataclass(frozen=True, slots=True)
class Phenology:
    """What a phenology has."""

    species: Ranking  # with their first and last date and their share of stations, the most often detected first
    folder: Path
    notes: tuple[str, ...]  # what the reader should know, and what is left out


def write_phenology(settings: PhenologySettings) -> Phenology:
    """Write when and where species were found.

    `species.csv` has the first and last date of each species, and its naïve occupancy: the part of the stations with
    analysed audio at which it was detected. `phenology.csv` has the dates by species and station, with those between
    which the station was analysed. `accumulation.csv` and `accumulation.png` have the number of species over effort:
    as the dates brought them, and `expected_species`, the mean over all orders of the same station-dates.

    Raises
    ------
    RequestError
        Without a table of coverage, or if the folder cannot be written. Also as
        `badc.reports.query.tables.open_tables`.
    BadcError
        As `badc.reports.query.tables.open_tables`.
    """
    coverage = require_coverage(find_coverage(settings.parquet, settings.coverage), settings.parquet)
    folder = absolute(settings.folder)
    require_writable(folder, "folder of the phenology")
    with open_tables(settings.parquet, coverage, settings.sites) as database:
        problems = choose(database, settings, settings.labels)
        problems += define_visits(database, Visit.DATE)
        database.execute(
            "CREATE TEMP TABLE named AS SELECT label, min(label_name) AS label_name "
            "FROM (SELECT DISTINCT label, label_name FROM detections) GROUP BY label"
        )
        _define_accumulation(database)
        for name, query in {
            "species": _SPECIES,
            "phenology": _STATIONS,
            "accumulation": "SELECT * FROM accumulation ORDER BY date",
        }.items():
            write_csv(database, query, folder / f"{name}.csv", settings.for_spreadsheets)
        rows = database.execute(
            "SELECT effort_h, species, expected_species FROM accumulation ORDER BY date"
        ).fetchnumpy()
        curve = folder / "accumulation.png"
        if len(rows["species"]):
            _draw(rows, curve)
        else:
            curve.unlink(missing_ok=True)  # of an earlier phenology
        notes = (*notes_on_tables(database, settings.parquet, coverage), *problems)
        return Phenology(ranked(database, _SPECIES, settings.limit), folder, notes)


def _define_accumulation(database: duckdb.DuckDBPyConnection) -> None:
    """Make the table `accumulation`: date, station_dates, effort_h, species, expected_species."""
    found = database.execute(_ACCUMULATION).fetchnumpy()
    units = found["station_dates"]
    heard_in = database.execute("SELECT count(*) AS n FROM heard GROUP BY label ORDER BY label").fetchnumpy()["n"]
    told = pa.table(
        {
            "date": pa.array(found["date"]).cast(pa.date32()),
            "station_dates": units,
            "effort_h": found["effort_h"],
            "species": found["species"],
            "expected_species": expected_species(heard_in, units),
        }
    )
    database.register("told_accumulation", told)
    database.execute("CREATE TEMP TABLE accumulation AS SELECT * FROM told_accumulation")
    database.unregister("told_accumulation")


def expected_species(heard_in: Any, drawn: Any) -> Any:
    """Return the number of species to expect in so many of the samples, the mean over all choices of them.

    `heard_in` is, for each species, the number of samples that have it; `drawn` are numbers of samples in ascending
    order, the last of which is that of all. A species that is in f of N samples is in none of n chosen ones with the
    probability C(N - f, n) / C(N, n) (Ugland, Gray and Ellingsen 2003, Journal of Animal Ecology 72: 888-897; Colwell,
    Mao and Chang 2004, Ecology 85: 2717-2727).
    """
    if not len(drawn):
        return np.zeros(0)
    total = int(drawn[-1])
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, total + 1)))])
    without = total - np.asarray(heard_in)
    expected = []
    for n in np.asarray(drawn):
        # C(N - f, n) / C(N, n), which is 0 where fewer than n samples are without the species.
        left = np.maximum(without - n, 0)
        log_chance = log_factorial[without] - log_factorial[left] + log_factorial[total - n] - log_factorial[total]
        expected.append(float(np.sum(1.0 - np.where(without >= n, np.exp(log_chance), 0.0))))
    return np.array(expected)


def _draw(rows: Any, path: Path) -> None:
    """Draw the number of species over effort."""
    figure = new_figure(_CURVE_IN)
    axes = figure.subplots()
    axes.step(rows["effort_h"], rows["species"], where="post", color=BAR, label="by date")
    axes.plot(rows["effort_h"], rows["expected_species"], color=ACCENT, linewidth=1, label="in any order, on average")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("analysed audio in hours, all stations together", color=SOFT)
    axes.set_ylabel("species", color=SOFT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    figure.suptitle("Species found with more listening", color=INK)
    save_figure(figure, path)
