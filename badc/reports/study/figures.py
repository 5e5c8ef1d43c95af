"""What is drawn of a table of detections: which species, which stations, which recording."""

from __future__ import annotations

from dataclasses import dataclass

from badc.reports.study.data import DateBins, Findings, Grid, Histogram, Timeline
from badc.reports.study.queries import Counts

MOST_HOUR_ROWS = 40
MOST_STATION_ROWS = 60
MOST_TIMELINE_ROWS = 15
MOST_HISTOGRAMS = 24


@dataclass(frozen=True, slots=True)
class Figures:
    """The numbers of all charts.

    Parameters
    ----------
    found
        All species and stations, with how they were made.
    hours
        Species over the hours of the day.
    dates
        Stations over dates, or None where there are no dates.
    timeline
        One recording, or None where there are no detections.
    histograms
        Confidence of each species.
    """

    found: Findings
    hours: Grid
    dates: tuple[DateBins, Grid] | None
    timeline: Timeline | None
    histograms: list[Histogram]


def read_figures(counts: Counts, *, recording_id: str | None = None, top: int | None = None) -> Figures:
    """Read what is drawn.

    Parameters
    ----------
    counts
        The counted tables.
    recording_id
        Recording to draw over time; by default the one with the most species.
    top
        How many species to draw at most; by default as many as each chart has room for.

    Raises
    ------
    RequestError
        When there is no such recording.
    """
    species = counts.species()
    found = Findings(
        species,
        counts.stations(),
        counts.making(),
        counts.span(),
        counts.detections_by_hour(),
        counts.effort_by_hour(),
        counts.min_confidence,
        counts.labels,
    )
    busiest = sorted(found.stations, key=lambda station: -station.detections)[:MOST_STATION_ROWS]
    shown = [station.name for station in found.stations if station in busiest]
    timeline = counts.timeline(recording_id, min(top or MOST_TIMELINE_ROWS, MOST_TIMELINE_ROWS))
    labels = [one.label for one in species]
    return Figures(
        found,
        counts.hours(labels[: min(top or MOST_HOUR_ROWS, MOST_HOUR_ROWS)]),
        counts.dates(shown),
        timeline,
        counts.histograms(labels[: min(top or MOST_HISTOGRAMS, MOST_HISTOGRAMS)]),
    )
