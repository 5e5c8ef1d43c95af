"""The numbers to draw of a table of detections: which species, which stations, which recording."""

from __future__ import annotations

from dataclasses import dataclass

from badc.reports.query.event_settings import BY_WINDOW, EventSettings
from badc.reports.study.data import DateBins, Findings, Grid, Histogram, Timeline
from badc.reports.study.queries import Counts

MOST_HOUR_ROWS = 40
MOST_STATION_ROWS = 60
MOST_TIMELINE_ROWS = 15
MOST_HISTOGRAMS = 24


@dataclass(frozen=True, slots=True)
class Figures:
    """The numbers of all charts."""

    found: Findings
    hours: Grid  # species over the hours of the day
    dates: tuple[DateBins, Grid] | None  # stations over dates; None without dates
    timeline: Timeline | None  # None without detections
    histograms: list[Histogram]  # one per species
    matrix: Grid | None = None  # species over stations; None with fewer than two stations


def read_figures(
    counts: Counts,
    *,
    recording_id: str | None = None,
    top: int | None = None,
    min_effort_h: float = 1.0,
    events: EventSettings | None = None,
) -> Figures:
    """Read the numbers of all charts.

    The timeline is of `recording_id`, by default the recording with the most species. At most `top` species are drawn,
    by default as many as each chart has room for. `min_effort_h` is as in `Findings`.
    Without `events`, which say what one event is, events are not counted, which is quicker.

    Raises
    ------
    RequestError
        If there is no such recording.
    """
    species = counts.species(events)
    found = Findings(
        species,
        counts.stations(),
        counts.making(),
        counts.span(),
        counts.detections_by_hour(),
        counts.effort_by_hour(),
        counts.choice,
        counts.labels,
        min_effort_h,
        counts.thresholds,
        events or BY_WINDOW,
    )
    busiest = sorted(found.stations, key=lambda station: -station.detections)[:MOST_STATION_ROWS]
    shown = [station.name for station in found.stations if station in busiest]
    timeline = counts.timeline(recording_id, min(top or MOST_TIMELINE_ROWS, MOST_TIMELINE_ROWS))
    labels = [one.label for one in species]
    named = [station for station in found.stations if station in busiest and station.name is not None]
    return Figures(
        found,
        counts.hours(labels[: min(top or MOST_HOUR_ROWS, MOST_HOUR_ROWS)]),
        counts.dates(shown),
        timeline,
        counts.histograms(labels[: min(top or MOST_HISTOGRAMS, MOST_HISTOGRAMS)]),
        counts.matrix(labels[: min(top or MOST_HOUR_ROWS, MOST_HOUR_ROWS)], named),
    )
