"""The numbers behind the plots and the page, as `badc.reports.study.queries` reads them from the tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

HOURS = 24
HISTOGRAM_BINS = 20
_MOST_DATE_BINS = 70
_BIN_DAYS = (1, 7, 14, 28, 91, 364)
_MOST_TIME_BINS = 96
_BIN_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)


@dataclass(frozen=True, slots=True)
class Species:
    """What was detected under one label.

    Parameters
    ----------
    label, label_name
        As the runner gives them.
    detections, stations, recordings
        How many, and in how many places and recordings.
    mean_confidence, highest_confidence
        Over its detections; None where the runner gives no confidence.
    first, last
        The dates of the first and the last detection, where recordings have dates.
    """

    label: str
    label_name: str | None
    detections: int
    stations: int
    recordings: int
    mean_confidence: float | None
    highest_confidence: float | None
    first: date | None
    last: date | None


@dataclass(frozen=True, slots=True)
class Station:
    """One station: where it is, how much was recorded and what was found.

    Parameters
    ----------
    name
        As in the recordings' names; None for those that name none.
    study_area, latitude, longitude, timezone
        From the table of sites, where there is one.
    detections, species, recordings
        Numbers; recordings are those that were analysed, or without coverage those with detections.
    analysed_h
        Hours of analysed audio, or None without coverage.
    first, last
        The dates of the first and last analysed audio, or without coverage of the detections.
    """

    name: str | None
    study_area: str | None
    latitude: float | None
    longitude: float | None
    timezone: str | None
    detections: int
    species: int
    recordings: int
    analysed_h: float | None
    first: date | None
    last: date | None


@dataclass(frozen=True, slots=True)
class Making:
    """How the detections were made.

    Parameters
    ----------
    runners
        Runner and model version, as far as the detections name them.
    chunks
        Number of chunks by status, from coverage; empty without.
    recordings, analysed_recordings
        All recordings, and those of which at least one chunk was analysed.
    analysed_h
        Hours of analysed audio, or None without coverage.
    untimed_h
        That part of them whose time of day is not known.
    untimed_detections, unrated_detections
        Detections without a date, and those without a confidence.
    """

    runners: tuple[tuple[str, str | None], ...]
    chunks: dict[str, int]
    recordings: int
    analysed_recordings: int
    analysed_h: float | None
    untimed_h: float
    untimed_detections: int
    unrated_detections: int


@dataclass(frozen=True, slots=True)
class Grid:
    """Detections of rows (species or stations) over columns (hours of the day or dates), with the effort of each cell.

    Parameters
    ----------
    rows
        Names of the rows.
    counts
        Detections, per row one number a column.
    effort_h
        Hours of analysed audio, per row one number a column; None without coverage.
    """

    rows: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    effort_h: tuple[tuple[float, ...], ...] | None

    def value(self, row: int, column: int) -> float | None:
        """Return detections per analysed hour, without coverage detections; None where nothing was analysed."""
        if self.effort_h is None:
            return float(self.counts[row][column])
        hours = self.effort_h[row][column]
        return self.counts[row][column] / hours if hours > 0 else None

    def absent(self, row: int, column: int) -> bool:
        """Return whether it is known that nothing was analysed there."""
        return self.effort_h is not None and self.effort_h[row][column] <= 0

    def values(self) -> list[float]:
        """Return the values of all cells that have one."""
        cells = [self.value(row, column) for row in range(len(self.rows)) for column in range(len(self.counts[row]))]
        return [value for value in cells if value is not None]


@dataclass(frozen=True, slots=True)
class DateBins:
    """Spans of dates of equal length.

    Parameters
    ----------
    first
        The first day of the first span.
    days
        Length of a span.
    number
        How many there are.
    """

    first: date
    days: int
    number: int

    def start(self, column: int) -> date:
        """Return the first day of a span."""
        return self.first + timedelta(days=column * self.days)

    def column(self, day: date) -> int:
        """Return the span that a day lies in."""
        return (day - self.first).days // self.days


@dataclass(frozen=True, slots=True)
class Histogram:
    """How confident the runner was.

    Parameters
    ----------
    label
        The species.
    counts
        Detections in each of `HISTOGRAM_BINS` equal classes from 0 to 1, those below the threshold included.
    """

    label: str
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """One recording over time.

    Parameters
    ----------
    recording_id, station, started
        The recording, and when it began by the station's clock.
    bin_s, length_s
        Length of a span and of the recording, in seconds.
    rows
        Species.
    highest
        Per species and span the highest confidence, or None where it was not detected.
    counts
        Detections of each species in the whole recording.
    analysed
        For each span whether any of it was analysed; None without coverage.
    left_out
        Species of the recording beyond those.
    """

    recording_id: str
    station: str | None
    started: datetime | None
    bin_s: int
    length_s: float
    rows: tuple[str, ...]
    highest: tuple[tuple[float | None, ...], ...]
    counts: tuple[int, ...]
    analysed: tuple[bool, ...] | None
    left_out: int


def runs(flags: Sequence[bool]) -> list[tuple[int, int]]:
    """Return the spans `[start, end)` of what is true."""
    found: list[tuple[int, int]] = []
    for column, flag in enumerate(flags):
        if flag and found and found[-1][1] == column:
            found[-1] = (found[-1][0], column + 1)
        elif flag:
            found.append((column, column + 1))
    return found


def date_bins(first: date, last: date) -> DateBins:
    """Return the spans to show dates in: days, or as many weeks as leave few enough of them."""
    total = (last - first).days + 1
    days = next((days for days in _BIN_DAYS if -(-total // days) <= _MOST_DATE_BINS), -(-total // _MOST_DATE_BINS))
    return DateBins(first, days, -(-total // days))


def tick_step_s(length_s: int, most: float) -> int:
    """Return the seconds between the labels of an axis of time that has room for so many."""
    return next((seconds for seconds in _BIN_S if length_s / seconds <= most), length_s)


def time_bin_s(length_ms: int) -> int:
    """Return the length in seconds of the spans to show a recording in."""
    least = -(-length_ms // (1000 * _MOST_TIME_BINS))
    return next((seconds for seconds in _BIN_S if seconds >= least), least)


@dataclass(frozen=True, slots=True)
class Sighting:
    """One detection, with what is needed to find it in its recording.

    Parameters
    ----------
    label, label_name, confidence
        What was detected; the name is the scientific one where the runner gives it.
    recording_id, station, local_time
        Where and when, by the station's clock; station and time may be unknown.
    source_path, dataset_root
        The audio file as the detections table names it.
    chunk_start_ms, chunk_end_ms
        The chunk, in ms from the start of the recording.
    timestamp_ms, end_ms
        The detection, in ms from the start of the chunk; the end may be unknown.
    """

    label: str
    label_name: str | None
    confidence: float
    recording_id: str
    station: str | None
    local_time: datetime | None
    source_path: str | None
    dataset_root: str | None
    chunk_start_ms: int | None
    chunk_end_ms: int | None
    timestamp_ms: int | None
    end_ms: int | None


@dataclass(frozen=True, slots=True)
class Findings:
    """What the words are made of.

    Parameters
    ----------
    species, stations, making
        As `Counts` gives them, complete.
    span
        First and last date, or None.
    detections_by_hour, effort_by_hour
        Totals of each hour of the day; effort is None without coverage.
    min_confidence
        The threshold; 0 is none.
    labels
        Species that were asked for; empty where all are wanted.
    """

    species: Sequence[Species]
    stations: Sequence[Station]
    making: Making
    span: tuple[date, date] | None
    detections_by_hour: Sequence[int]
    effort_by_hour: Sequence[float] | None
    min_confidence: float
    labels: tuple[str, ...] = ()

    @property
    def detections(self) -> int:
        """Number of detections that are counted."""
        return sum(species.detections for species in self.species)

    @property
    def named_stations(self) -> list[Station]:
        """The stations that have a name."""
        return [station for station in self.stations if station.name is not None]
