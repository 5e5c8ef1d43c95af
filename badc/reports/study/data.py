"""The numbers behind the plots and the page, as `badc.reports.study.queries` reads them from the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from badc.reports.query.event_settings import BY_WINDOW, EventSettings
from badc.reports.query.runs import Run
from badc.reports.query.thresholds import Threshold
from badc.reports.settings import ChoiceSettings

HOURS = 24
HISTOGRAM_BINS = 20
_MOST_DATE_BINS = 70
_BIN_DAYS = (1, 7, 14, 28, 91, 364)
_MOST_TIME_BINS = 96
_BIN_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)


@dataclass(frozen=True, slots=True)
class Species:
    """What was detected under one label."""

    label: str  # as the runner gives it
    label_name: str | None  # likewise
    detections: int
    stations: int
    recordings: int
    mean_confidence: float | None  # None if the runner gives no confidence
    highest_confidence: float | None  # likewise
    first: date | None  # date of the first detection, if recordings have dates
    last: date | None  # of the last one
    unexpected: int | None = None  # detections that are unexpected at their place and time; None if that is not known
    scientific: str | None = None  # where a table of names has it
    events: int | None = None  # None where they are not counted


@dataclass(frozen=True, slots=True)
class Station:
    """One station: where it is, how much was recorded and what was found."""

    name: str | None  # None for recordings without a station
    study_area: str | None
    latitude: float | None  # from the sites CSV, like the next two
    longitude: float | None
    timezone: str | None
    detections: int
    species: int
    recordings: int  # analysed, or without coverage those with detections
    analysed_h: float | None  # None without coverage
    first: date | None  # date of the first analysed audio, or without coverage of the first detection
    last: date | None  # of the last one


@dataclass(frozen=True, slots=True)
class Making:
    """How the detections were made."""

    runs: tuple[Run, ...]  # what made them, the largest part first
    chunks: dict[str, int]  # by status, from coverage; empty without
    recordings: int
    analysed_recordings: int  # with at least one analysed chunk
    analysed_h: float | None  # None without coverage
    untimed_h: float  # the part of `analysed_h` without a known time of day
    untimed_detections: int  # without a date
    unrated_detections: int  # without a confidence
    gaps: tuple[str, ...] = ()  # what was not analysed, has no station or no time, with its recordings, in words


@dataclass(frozen=True, slots=True)
class Grid:
    """Detections and effort by row (species or stations) and column (hours, dates or stations)."""

    rows: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]  # per row and column
    effort_h: tuple[tuple[float, ...], ...] | None  # hours of analysed audio, per row and column; None without coverage
    columns: tuple[str, ...] = ()  # their names, where they are no hours or dates

    def value(self, row: int, column: int) -> float | None:
        """Return detections per analysed hour, or None where nothing was analysed; without coverage, detections."""
        if self.effort_h is None:
            return float(self.counts[row][column])
        hours = self.effort_h[row][column]
        return self.counts[row][column] / hours if hours > 0 else None

    def hours(self, row: int, column: int) -> float | None:
        """Return the hours of analysed audio there, or None without coverage."""
        return None if self.effort_h is None else self.effort_h[row][column]

    def absent(self, row: int, column: int) -> bool:
        """Return whether coverage shows that nothing was analysed there."""
        return self.effort_h is not None and self.effort_h[row][column] <= 0

    def values(self) -> list[float]:
        """Return the values of all cells that have one."""
        cells = [self.value(row, column) for row in range(len(self.rows)) for column in range(len(self.counts[row]))]
        return [value for value in cells if value is not None]


@dataclass(frozen=True, slots=True)
class DateBins:
    """Spans of dates of equal length."""

    first: date  # first day of the first span
    days: int  # length of a span
    number: int  # of spans

    def start(self, column: int) -> date:
        """Return the first day of a span."""
        return self.first + timedelta(days=column * self.days)

    def column(self, day: date) -> int:
        """Return the span that a day lies in."""
        return (day - self.first).days // self.days


@dataclass(frozen=True, slots=True)
class Histogram:
    """Detections of a species in `HISTOGRAM_BINS` equal classes of confidence from 0 to 1, ignoring the threshold."""

    label: str
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """One recording over time."""

    recording_id: str
    station: str | None
    started: datetime | None  # by the station's clock
    bin_s: int  # length of a span
    length_s: float  # of the recording
    rows: tuple[str, ...]  # species
    highest: tuple[tuple[float | None, ...], ...]  # confidence, per species and span; None if not detected
    counts: tuple[int, ...]  # detections per species in the whole recording
    analysed: tuple[bool, ...] | None  # per span, whether any of it was; None without coverage
    left_out: int  # species of the recording beyond `rows`


def runs(flags: Sequence[bool]) -> list[tuple[int, int]]:
    """Return the spans `[start, end)` in which the flags are true."""
    found: list[tuple[int, int]] = []
    for column, flag in enumerate(flags):
        if flag and found and found[-1][1] == column:
            found[-1] = (found[-1][0], column + 1)
        elif flag:
            found.append((column, column + 1))
    return found


def date_bins(first: date, last: date) -> DateBins:
    """Return the spans to show these dates in: days, or as many weeks as keep the spans few enough."""
    total = (last - first).days + 1
    days = next((days for days in _BIN_DAYS if -(-total // days) <= _MOST_DATE_BINS), -(-total // _MOST_DATE_BINS))
    return DateBins(first, days, -(-total // days))


def tick_step_s(length_s: int, most: float) -> int:
    """Return the seconds between the labels of a time axis that has room for `most` of them."""
    return next((seconds for seconds in _BIN_S if length_s / seconds <= most), length_s)


def time_bin_s(length_ms: int) -> int:
    """Return the length in seconds of the spans to show a recording in."""
    least = -(-length_ms // (1000 * _MOST_TIME_BINS))
    return next((seconds for seconds in _BIN_S if seconds >= least), least)


@dataclass(frozen=True, slots=True)
class Sighting:
    """One detection, with what is needed to find it in its recording."""

    label: str
    label_name: str | None  # the scientific name, if the runner gives it
    confidence: float
    recording_id: str
    station: str | None
    local_time: datetime | None  # by the station's clock
    source_path: str | None  # the audio file as the detections table names it
    dataset_root: str | None
    chunk_start_ms: int | None  # from the start of the recording
    chunk_end_ms: int | None  # likewise
    timestamp_ms: int | None  # from the start of the chunk
    end_ms: int | None  # likewise


@dataclass(frozen=True, slots=True)
class Findings:
    """The complete numbers from `Counts` that the page's text is made of."""

    species: Sequence[Species]
    stations: Sequence[Station]
    making: Making
    span: tuple[date, date] | None  # first and last date
    detections_by_hour: Sequence[int]
    effort_by_hour: Sequence[float] | None  # None without coverage
    choice: ChoiceSettings  # which detections count
    labels: tuple[str, ...] = ()  # requested species; empty for all
    min_effort_h: float = 1.0  # analysed audio that a superlative rests on, at least
    thresholds: Mapping[str, Threshold] = field(default_factory=dict)  # the species' own, by label
    events: EventSettings = BY_WINDOW  # what one event is

    def threshold_of(self, label: str) -> float:
        """Return the threshold of a species; 0 is none."""
        own = self.thresholds.get(label)
        return self.min_confidence if own is None or own.min_confidence is None else own.min_confidence

    @property
    def min_confidence(self) -> float:
        """The threshold; 0 is none."""
        return self.choice.min_confidence

    def enough(self, analysed_h: float | None) -> bool:
        """Return whether hours of analysed audio bear a superlative; numbers without coverage do."""
        return analysed_h is None or analysed_h >= self.min_effort_h

    @property
    def detections(self) -> int:
        """Number of detections of all species."""
        return sum(species.detections for species in self.species)

    @property
    def named_stations(self) -> list[Station]:
        """The stations that have a name."""
        return [station for station in self.stations if station.name is not None]
