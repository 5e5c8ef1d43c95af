"""`badc report history`: which species was detected at which station in which visit, and where nobody listened.

The tables are those that occupancy models take: a matrix of stations and visits for each species, with 1 (detected), 0
(analysed and not detected) and NA (no analysed audio), and the effort of each visit.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from badc.reports.files.export import file_name
from badc.reports.history.settings import HistorySettings
from badc.reports.history.visits import define_visits, require_coverage
from badc.reports.query.counts import MS_PER_HOUR, Ranking, choose, matching, ranked, write_csv
from badc.reports.query.notes import notes_on_tables
from badc.reports.query.spreadsheets import text_of
from badc.reports.query.tables import find_coverage, open_tables
from badc.system import atomic
from badc.system.paths import absolute, require_inside, require_writable
from badc.system.sql import quoted
from badc.system.texts import csv_writer

HISTORIES = "histories"
_SPECIES = "SELECT * FROM history_species ORDER BY detections DESC, label"
_LONG = f"""
    SELECT s.label, s.label_name, l.station, v.name AS visit, CAST(n IS NOT NULL AS INTEGER) AS detected,
      coalesce(n, 0) AS detections, effort_ms / {MS_PER_HOUR} AS effort_h
    FROM history_species s CROSS JOIN listened l JOIN visits v USING (visit)
    LEFT JOIN heard h ON h.label = s.label AND h.station = l.station AND h.visit = l.visit
    ORDER BY s.label, l.station, v.number
"""
_STATIONS = f"""
    WITH told AS (
      SELECT station, min(study_area) AS study_area, any_value(latitude) AS latitude, any_value(longitude) AS longitude
      FROM coverage GROUP BY station)
    SELECT station, any_value(study_area) AS study_area, any_value(latitude) AS latitude,
      any_value(longitude) AS longitude, count(*) AS visits, sum(effort_ms) / {MS_PER_HOUR} AS effort_h
    FROM listened JOIN told USING (station) GROUP BY station ORDER BY station
"""


@dataclass(frozen=True, slots=True)
class History:
    """What a history has."""

    species: Ranking  # with their detections, stations and visits, the most often detected first
    stations: int  # that listened
    visits: int  # in which any station listened
    station_visits: int  # of each station, added up
    effort_h: float
    folder: Path
    notes: tuple[str, ...]  # what the reader should know, and what is left out


def write_history(settings: HistorySettings) -> History:
    """Write the histories of all species, or of those that are named, to a folder.

    `detections.csv` has a row for each species, station and visit with analysed audio; `effort.csv` the hours of audio
    by station and visit; `stations.csv` the stations; `species.csv` the species, with the file of each in `histories`:
    0, 1 and NA by station and visit. An earlier history in the folder is replaced.

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
    require_inside(folder.parent, folder / HISTORIES)
    require_writable(folder, "folder of the histories")
    with open_tables(settings.parquet, coverage, settings.sites) as database:
        problems = choose(database, settings, settings.labels)
        problems += define_visits(database, settings.visit, settings.relative_to)
        _define_species(database, settings.labels)
        earlier = _files_of(folder)
        write_csv(database, _LONG, folder / "detections.csv", settings.for_spreadsheets)
        write_csv(database, _STATIONS, folder / "stations.csv", settings.for_spreadsheets)
        write_csv(database, _SPECIES, folder / "species.csv", settings.for_spreadsheets)
        _write_matrices(database, folder, settings.for_spreadsheets)
        for path in earlier - _files_of(folder):
            path.unlink(missing_ok=True)  # would be taken for a part of this history
        stations, visits, both, effort_ms = database.execute(
            "SELECT count(DISTINCT station), count(DISTINCT visit), count(*), coalesce(sum(effort_ms), 0)::BIGINT "
            "FROM listened"
        ).fetchall()[0]
        notes = (*notes_on_tables(database, settings.parquet, coverage), *problems)
        species = ranked(database, _SPECIES, settings.limit)
        return History(species, stations, visits, both, effort_ms / MS_PER_HOUR, folder, notes)


def _files_of(folder: Path) -> set[Path]:
    """Return the files in `histories` that the `species.csv` of a history names; empty without one."""
    try:
        with (folder / "species.csv").open(encoding="utf-8", newline="") as stream:
            names = [Path(row.get("file") or "") for row in csv.DictReader(stream)]
    except (OSError, ValueError, csv.Error):
        return set()
    return {folder / name for name in names if name.parent == Path(HISTORIES) and name.suffix == ".csv"}


def _define_species(database: duckdb.DuckDBPyConnection, wanted: Sequence[str]) -> None:
    """Make the table `history_species`: those that are heard, and those that were asked for and are not."""
    asked, _ = matching(database, wanted)
    told = f"label IN ({', '.join(map(quoted, asked))})" if asked else "label IN (SELECT label FROM heard)"
    names = database.execute(
        "SELECT label, min(label_name) FROM (SELECT DISTINCT label, label_name FROM detections) "
        f"WHERE {told} GROUP BY label"
    ).fetchall()
    database.execute("CREATE TEMP TABLE files (label VARCHAR, label_name VARCHAR, file VARCHAR)")
    for label, name in names:
        file = f"{HISTORIES}/{file_name(label, '.csv')}"
        database.execute("INSERT INTO files VALUES (?, ?, ?)", [label, name, file])
    database.execute(
        """
        CREATE TEMP TABLE history_species AS
        SELECT label, any_value(label_name) AS label_name, CAST(coalesce(sum(n), 0) AS BIGINT) AS detections,
          count(DISTINCT station) AS stations, count(station) AS station_visits, any_value(file) AS file
        FROM files LEFT JOIN heard USING (label) GROUP BY label
        """
    )


def _write_matrices(database: duckdb.DuckDBPyConnection, folder: Path, for_spreadsheets: bool) -> None:
    """Write the effort, and for each species its history, by station and visit."""
    stations = [row[0] for row in database.execute("SELECT DISTINCT station FROM listened ORDER BY 1").fetchall()]
    visits = [row[0] for row in database.execute("SELECT name FROM visits ORDER BY number").fetchall()]
    database.register("numbered_stations", _numbered(stations))
    effort = np.zeros((len(stations), len(visits)))
    rows = database.execute(
        "SELECT s.number AS station, v.number AS visit, effort_ms FROM listened "
        "JOIN numbered_stations s USING (station) JOIN visits v USING (visit)"
    ).fetchnumpy()
    effort[rows["station"], rows["visit"]] = rows["effort_ms"] / MS_PER_HOUR
    names = [text_of(name) for name in stations] if for_spreadsheets else stations
    _write_matrix(folder / "effort.csv", names, visits, ([f"{cell:.6g}" for cell in line] for line in effort.tolist()))
    silence = np.where(effort > 0, "0", "NA")
    heard = database.execute(
        f"""
        WITH numbered AS (SELECT label, row_number() OVER (ORDER BY label) - 1 AS number FROM history_species)
        SELECT n.number AS species, s.number * {len(visits)} + v.number AS cell FROM heard
        JOIN numbered n USING (label) JOIN numbered_stations s USING (station) JOIN visits v USING (visit)
        ORDER BY species
        """
    ).fetchnumpy()
    files = [row[0] for row in database.execute("SELECT file FROM history_species ORDER BY label").fetchall()]
    places = np.searchsorted(heard["species"], np.arange(len(files) + 1))
    for file, begin, end in zip(files, places, places[1:], strict=False):
        history = silence.copy()
        history.flat[heard["cell"][begin:end]] = "1"
        _write_matrix(folder / file, names, visits, iter(history.tolist()))
    database.unregister("numbered_stations")


def _numbered(names: Sequence[str]) -> Any:
    import pyarrow as pa

    return pa.table({"station": pa.array(names, pa.string()), "number": pa.array(range(len(names)), pa.int64())})


def _write_matrix(path: Path, names: Sequence[str], visits: Sequence[str], lines: Iterator[list[str]]) -> None:
    with atomic.replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        rows = csv_writer(stream)
        rows.writerow(["station", *visits])
        rows.writerows([name, *line] for name, line in zip(names, lines, strict=True))
