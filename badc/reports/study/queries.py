"""Queries over the views of `badc.reports.query.tables` that fill the classes of `badc.reports.study.data`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from badc.detections.tables import NOT_CHUNKED
from badc.errors import RequestError
from badc.recordings.names import nfc
from badc.reports.naming import scientific_names
from badc.reports.query.counts import MS_PER_HOUR, choose, count_detections, count_effort, known_names
from badc.reports.query.event_settings import EventSettings
from badc.reports.query.events import EVENTS_OF_LABELS, count_events
from badc.reports.query.expected import notes_on_expected, unexpected
from badc.reports.query.notes import notes_on_gaps
from badc.reports.query.runs import runs_of
from badc.reports.query.thresholds import Threshold, thresholds_by_label
from badc.reports.settings import EVERYTHING, ChoiceSettings, PrivacySettings
from badc.reports.study.data import (
    HISTOGRAM_BINS,
    HOURS,
    DateBins,
    Grid,
    Histogram,
    Making,
    Sighting,
    Species,
    Station,
    Timeline,
    date_bins,
    time_bin_s,
)
from badc.reports.study.privacy import Privacy, keep_private

if TYPE_CHECKING:
    import duckdb

_MOST_LISTED_RECORDINGS = 5
_SIGHTING = (
    "label, label_name, confidence, recording_id, station, local_time, source_path, dataset_root, chunk_start_ms, "
    "chunk_end_ms, timestamp_ms, end_ms"
)
_CHUNKS = f"FROM coverage WHERE status IS DISTINCT FROM '{NOT_CHUNKED}'"


class Counts:
    """The tables of one report, counted.

    `database` has the views of `badc.reports.query.tables.open_tables`; without coverage, effort is unknown. Detections
    below `choice.min_confidence` count in the histograms only; at 0, those without a confidence count too. `labels` are
    the species to keep (see `badc.reports.query.counts.choose`); empty keeps all.
    """

    def __init__(
        self,
        database: duckdb.DuckDBPyConnection,
        *,
        has_coverage: bool,
        choice: ChoiceSettings = EVERYTHING,
        labels: Sequence[str] = (),
    ) -> None:
        self.database = database
        self.has_coverage = has_coverage
        self.choice = choice
        self.labels = tuple(labels)
        self.problems = choose(database, choice, labels)
        self.thresholds: dict[str, Threshold] = {}
        if choice.thresholds is not None:
            self.thresholds, _ = thresholds_by_label(choice.thresholds, known_names(database))
        self._heard = "chosen"  # where detections for clips come from
        count_detections(database)
        count_effort(database)
        database.execute(
            """
            CREATE TEMP TABLE cells AS
            SELECT label, station, date, hour, count(*) AS n FROM chosen WHERE date IS NOT NULL
            GROUP BY label, station, date, hour
            """
        )
        database.execute(
            f"""
            CREATE TEMP VIEW analysed_hours AS
            SELECT recording_id, station, date, hour, analysed_ms / {MS_PER_HOUR} AS hours FROM effort_hours
            """
        )

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        found: list[tuple[Any, ...]] = self.database.execute(query, list(values)).fetchall()
        return found

    def species(self, events: EventSettings | None = None) -> list[Species]:
        """Return every species, the most often detected first; with what an event is, count these too."""
        found = self.rows(
            """
            WITH dated AS (SELECT label, min(date) AS first, max(date) AS last FROM cells GROUP BY label)
            SELECT label, min(label_name), sum(n)::BIGINT, count(DISTINCT station), count(DISTINCT recording_id),
              sum(confidence_sum) / nullif(sum(rated), 0), max(highest), any_value(dated.first), any_value(dated.last),
              sum(unexpected)::BIGINT
            FROM pairs LEFT JOIN dated USING (label) GROUP BY label ORDER BY sum(n) DESC, label
            """
        )
        names = scientific_names([(row[0], row[1]) for row in found])
        counted: dict[str, int] = {}
        if events is not None:
            count_events(self.database, events)
            counted = dict(self.rows(EVENTS_OF_LABELS))
        return [Species(*(*row, names.get(row[0]), counted.get(row[0]))) for row in found]

    def stations(self) -> list[Station]:
        """Return every station of detections or coverage, by name."""
        sites = {row[0]: row[1:] for row in self.rows("SELECT station, latitude, longitude, timezone FROM sites")}
        table = "coverage" if self.has_coverage else "chosen"
        areas = dict(self.rows(f"SELECT station, min(study_area) FROM {table} GROUP BY station"))
        heard = {
            row[0]: row[1:]
            for row in self.rows(
                """
                WITH dated AS (SELECT station, min(date) AS first, max(date) AS last FROM cells GROUP BY station)
                SELECT p.station, sum(n)::BIGINT, count(DISTINCT label), count(DISTINCT recording_id),
                  any_value(dated.first), any_value(dated.last)
                FROM pairs p LEFT JOIN dated ON dated.station IS NOT DISTINCT FROM p.station GROUP BY p.station
                """
            )
        }
        covered = {
            row[0]: row[1:]
            for row in self.rows(
                "SELECT c.station, count(DISTINCT h.recording_id), coalesce(sum(hours), 0), min(date), max(date) "
                "FROM (SELECT DISTINCT station FROM coverage) c LEFT JOIN analysed_hours h "
                "ON h.station IS NOT DISTINCT FROM c.station GROUP BY c.station"
            )
        }
        names = sorted({*heard, *covered}, key=lambda name: (name is None, name or ""))
        return [
            self._station(name, areas.get(name), sites.get(name), heard.get(name), covered.get(name)) for name in names
        ]

    def _station(
        self,
        name: str | None,
        area: str | None,
        site: tuple[Any, ...] | None,
        heard: tuple[Any, ...] | None,
        covered: tuple[Any, ...] | None,
    ) -> Station:
        detections, species, recordings, first, last = heard or (0, 0, 0, None, None)
        hours = None
        if covered is not None:
            recordings, hours, first, last = covered
        latitude, longitude, timezone = site or (None, None, None)
        return Station(name, area, latitude, longitude, timezone, detections, species, recordings, hours, first, last)

    def making(self) -> Making:
        """Return how the detections were made."""
        runs = runs_of(self.database)
        untimed, unrated = self.rows(
            "SELECT (sum(n) - (SELECT coalesce(sum(n), 0) FROM cells))::BIGINT, sum(n - rated)::BIGINT FROM pairs"
        )[0]
        gaps = (*notes_on_expected(self.database), *notes_on_gaps(self.database))
        heard_in = self.rows("SELECT count(DISTINCT recording_id) FROM pairs")[0][0]
        if not self.has_coverage:
            return Making(runs, {}, heard_in, heard_in, None, 0.0, untimed or 0, unrated or 0, gaps)
        chunks = dict(self.rows(f"SELECT coalesce(status, 'unknown'), count(*) {_CHUNKS} GROUP BY ALL ORDER BY ALL"))
        recordings = self.rows("SELECT count(DISTINCT recording_id) FROM coverage")[0][0]
        analysed, hours, untimed_h = self.rows(
            "SELECT count(DISTINCT recording_id), coalesce(sum(hours), 0), "
            "coalesce(sum(hours) FILTER (date IS NULL), 0) FROM analysed_hours"
        )[0]
        return Making(runs, chunks, recordings, analysed, hours, untimed_h, untimed or 0, unrated or 0, gaps)

    def hours(self, labels: Sequence[str]) -> Grid:
        """Return detections of these species by hour of the day, all stations together."""
        found: dict[str, list[int]] = {label: [0] * HOURS for label in labels}
        query = "SELECT label, hour, sum(n)::BIGINT FROM cells WHERE list_contains(?, label) GROUP BY ALL"
        for label, hour, n in self.rows(query, [list(labels)]):
            found[label][hour] = n
        effort = self.effort_by_hour()
        return Grid(
            tuple(labels),
            tuple(tuple(found[label]) for label in labels),
            None if effort is None else (effort,) * len(labels),
        )

    def detections_by_hour(self) -> tuple[int, ...]:
        """Return the detections of all species in each hour of the day."""
        by_hour = dict(self.rows("SELECT hour, sum(n)::BIGINT FROM cells GROUP BY hour"))
        return tuple(by_hour.get(hour, 0) for hour in range(HOURS))

    def effort_by_hour(self) -> tuple[float, ...] | None:
        """Return the hours of audio analysed in each hour of the day, or None without coverage."""
        if not self.has_coverage:
            return None
        by_hour = dict(self.rows("SELECT hour, sum(hours) FROM analysed_hours WHERE hour IS NOT NULL GROUP BY hour"))
        return tuple(by_hour.get(hour, 0.0) for hour in range(HOURS))

    def span(self) -> tuple[date, date] | None:
        """Return the first and the last date of detections and analysed audio, or None without dates."""
        tables = ("cells", "analysed_hours")
        dates = " UNION ALL ".join(f"SELECT min(date) AS a, max(date) AS b FROM {table}" for table in tables)
        first, last = self.rows(f"SELECT min(a), max(b) FROM ({dates})")[0]
        return None if first is None else (first, last)

    def dates(self, stations: Sequence[str | None]) -> tuple[DateBins, Grid] | None:
        """Return detections of all species over dates at these stations, or None without dates."""
        span = self.span()
        if span is None:
            return None
        bins = date_bins(*span)
        counts = self._by_date(bins, "sum(n)::BIGINT", "cells")
        effort = self._by_date(bins, "sum(hours)", "analysed_hours") if self.has_coverage else None
        grid = Grid(
            tuple(name or "no station" for name in stations),
            tuple(tuple(int(counts[name][column]) for column in range(bins.number)) for name in stations),
            None
            if effort is None
            else tuple(tuple(float(effort[name][column]) for column in range(bins.number)) for name in stations),
        )
        return bins, grid

    def _by_date(self, bins: DateBins, what: str, table: str) -> dict[str | None, dict[int, float]]:
        found: dict[str | None, dict[int, float]] = defaultdict(lambda: defaultdict(int))
        for station, day, value in self.rows(
            f"SELECT station, date, {what} FROM {table} WHERE date IS NOT NULL GROUP BY station, date"
        ):
            found[station][bins.column(day)] += value
        return found

    def matrix(self, labels: Sequence[str], stations: Sequence[Station]) -> Grid | None:
        """Return detections of these species at each of these stations, or None with fewer than two of them."""
        if len(stations) < 2 or not labels:
            return None
        place = {station.name: number for number, station in enumerate(stations)}
        found: dict[str, list[int]] = {label: [0] * len(stations) for label in labels}
        query = "SELECT label, station, sum(n)::BIGINT FROM pairs WHERE list_contains(?, label) GROUP BY ALL"
        for label, station, n in self.rows(query, [list(labels)]):
            if station in place:
                found[label][place[station]] = n
        effort = tuple(station.analysed_h or 0.0 for station in stations) if self.has_coverage else None
        counts = tuple(tuple(found[label]) for label in labels)
        columns = tuple(station.name or "" for station in stations)
        return Grid(tuple(labels), counts, None if effort is None else (effort,) * len(labels), columns)

    def histograms(self, labels: Sequence[str]) -> list[Histogram]:
        """Return the confidence of these species, detections below the threshold included."""
        found: dict[str, list[int]] = {label: [0] * HISTOGRAM_BINS for label in labels}
        kept = f"AND ({unexpected(self.database, self.choice)}) IS NOT TRUE" if self.choice.drop_unexpected else ""
        for label, number, n in self.rows(
            f"""
            SELECT label,
              greatest(0, least(floor(confidence * {HISTOGRAM_BINS} + 1e-9), {HISTOGRAM_BINS - 1}))::INTEGER, count(*)
            FROM detections WHERE confidence IS NOT NULL AND list_contains(?, label) {kept} GROUP BY ALL
            """,
            [list(labels)],
        ):
            found[label][number] = n
        return [Histogram(label, tuple(found[label])) for label in labels]

    def keep_private(self, settings: PrivacySettings, margin_ms: int) -> Privacy:
        """Let `sightings` and `weakest` have no detection near people (see `badc.reports.study.privacy`)."""
        private = keep_private(self.database, settings, margin_ms)
        self._heard = "shareable" if private.left_out else "chosen"
        return private

    def sightings(self, labels: Sequence[str], each: int) -> list[Sighting]:
        """Return the strongest detection of each species in up to `each` different recordings."""
        pairs = "pairs"
        if self._heard != "chosen":
            pairs = f"(SELECT label, recording_id, station, max(confidence) AS highest FROM {self._heard} GROUP BY ALL)"
        found = self.rows(
            f"""
            WITH best AS (
              SELECT label, recording_id, station, highest FROM {pairs}
              WHERE highest IS NOT NULL AND list_contains(?, label)
              QUALIFY row_number() OVER (PARTITION BY label ORDER BY highest DESC, recording_id) <= ?)
            SELECT {_SIGHTING} FROM {self._heard} AS h
            WHERE EXISTS (
              FROM best AS b WHERE b.label = h.label AND b.recording_id = h.recording_id
                AND b.station IS NOT DISTINCT FROM h.station AND b.highest = h.confidence)
            QUALIFY row_number() OVER (
              PARTITION BY label, recording_id, station ORDER BY chunk_start_ms, timestamp_ms) = 1
            """,
            [list(labels), each],
        )
        place = {label: number for number, label in enumerate(labels)}
        sightings = [Sighting(*row) for row in found]
        return sorted(sightings, key=lambda s: (place[s.label], -s.confidence, s.recording_id))

    def weakest(self, labels: Sequence[str]) -> list[Sighting]:
        """Return the detection of each species nearest to the threshold: the one with the lowest confidence."""
        found = self.rows(
            f"""
            WITH lowest AS (
              SELECT label, min(confidence) AS confidence FROM {self._heard} WHERE list_contains(?, label)
              GROUP BY label)
            SELECT {_SIGHTING} FROM {self._heard} JOIN lowest USING (label, confidence)
            QUALIFY row_number() OVER (PARTITION BY label ORDER BY recording_id, chunk_start_ms, timestamp_ms) = 1
            """,
            [list(labels)],
        )
        return [Sighting(*row) for row in found]

    def timeline(self, recording_id: str | None, most_rows: int) -> Timeline | None:
        """Return one recording over time, by default the one with the most species among those with times, or None.

        Raises
        ------
        RequestError
            If the tables lack that recording; the text names some that they have.
        """
        if recording_id is None:
            recording_id = self._richest("true") or ""
            if self._recording(recording_id)[0] == 0:
                timed = "SELECT recording_id FROM chosen WHERE absolute_time_ms > 0 OR absolute_end_ms > 0"
                recording_id = self._richest(f"recording_id IN ({timed})")
            if recording_id is None:
                return None
        recording_id = nfc(recording_id)
        length_ms, station, started = self._recording(recording_id)
        if length_ms == 0:
            some = self.rows("SELECT DISTINCT recording_id FROM pairs ORDER BY 1 LIMIT ?", [_MOST_LISTED_RECORDINGS])
            names = ", ".join(row[0] for row in some) or "none"
            raise RequestError(f"{recording_id}: the tables have no such recording with times; they have {names} …")
        species = self.rows(
            "SELECT label, sum(n)::BIGINT FROM pairs WHERE recording_id = ? GROUP BY label ORDER BY 2 DESC, 1",
            [recording_id],
        )
        shown = species[:most_rows]
        bin_s = time_bin_s(length_ms)
        number = max(1, -(-length_ms // (bin_s * 1000)))
        highest: dict[str, list[float | None]] = {label: [None] * number for label, _ in shown}
        for label, column, confidence in self.rows(
            "SELECT label, absolute_time_ms // ?, coalesce(max(confidence), 0) FROM chosen "
            "WHERE recording_id = ? AND absolute_time_ms >= 0 GROUP BY ALL",
            [bin_s * 1000, recording_id],
        ):
            if label in highest:
                highest[label][min(int(column), number - 1)] = confidence
        return Timeline(
            recording_id,
            station,
            started,
            bin_s,
            length_ms / 1000,
            tuple(label for label, _ in shown),
            tuple(tuple(highest[label]) for label, _ in shown),
            tuple(n for _, n in shown),
            self._analysed(recording_id, bin_s, number),
            len(species) - len(shown),
        )

    def _richest(self, condition: str) -> str | None:
        found = self.rows(
            f"SELECT recording_id FROM pairs WHERE {condition} GROUP BY 1 "
            "ORDER BY count(DISTINCT label) DESC, sum(n) DESC, 1 LIMIT 1"
        )
        return str(found[0][0]) if found else None

    def _recording(self, recording_id: str) -> tuple[int, str | None, Any]:
        """Return length in ms, 0 if it is not known, station and local start of a recording."""
        found = self.rows(
            "SELECT max(absolute_end_ms), max(absolute_time_ms), any_value(station), "
            "min(local_time - to_milliseconds(absolute_time_ms)) FROM detections WHERE recording_id = ?",
            [recording_id],
        )[0]
        covered: tuple[Any, ...] = (None, None, None)
        if self.has_coverage:
            covered = self.rows(
                "SELECT max(end_ms), any_value(station), min(local_start - to_milliseconds(start_ms)) FROM coverage "
                "WHERE recording_id = ?",
                [recording_id],
            )[0]
        length_ms = max(found[0] or 0, found[1] or 0, covered[0] or 0)
        return length_ms, found[2] or covered[1], found[3] or covered[2]

    def _analysed(self, recording_id: str, bin_s: int, number: int) -> tuple[bool, ...] | None:
        if not self.has_coverage:
            return None
        analysed = [False] * number
        for first, last in self.rows(
            "SELECT DISTINCT start_ms // ?, (end_ms - 1) // ? FROM coverage "
            "WHERE recording_id = ? AND analysed AND start_ms IS NOT NULL AND end_ms > start_ms",
            [bin_s * 1000, bin_s * 1000, recording_id],
        ):
            for column in range(int(first), min(int(last), number - 1) + 1):
                analysed[column] = True
        return tuple(analysed)
