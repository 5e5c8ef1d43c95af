"""What the page holds, section by section; the template only marks it up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from badc.errors import numbered
from badc.reports.page import sentences as words_of
from badc.reports.page.charts import dates_chart, histogram_chart, hours_chart, matrix_chart, timeline_chart
from badc.reports.page.checked import check_cell, has_checks
from badc.reports.page.sentences import hour_words, short_dates
from badc.reports.study.data import (
    HISTOGRAM_BINS,
    HOURS,
    DateBins,
    Findings,
    Grid,
    Histogram,
    Species,
    Station,
    Timeline,
)
from badc.reports.study.scale import CONFIDENCE_SCALE, Scale, scale_of, short
from badc.reports.study.sun import SunBand
from badc.reports.study.words import span_words
from badc.system.clock import duration_text

SPECIES_AT_FIRST = 20
MOST_SPECIES = 500
MOST_STATIONS_LISTED = 200


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table: its name, a second name, and the cells after it."""

    name: str
    note: str
    cells: tuple[str, ...]
    clip: str = ""  # the clip of it in this page, by its id


@dataclass(frozen=True, slots=True)
class Table:
    """A table; with a `summary`, it is hidden until that is pressed; `wordy` cells are words rather than numbers."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    summary: str = ""
    wordy: bool = False


@dataclass(frozen=True, slots=True)
class ChartPart:
    """A chart with its words, its legend and the same numbers as tables."""

    words: tuple[str, ...]  # paragraphs above the chart
    chart: Markup | None  # None if there is nothing to draw
    tables: tuple[Table, ...]
    legend_title: str = ""
    legend: tuple[tuple[int, str], ...] = ()  # each colour with its words
    zero: str = ""  # what the plain ground means
    hatched: str = ""  # what the hatched ground means; empty without one
    source: str = ""  # the command or the SQL that gives the same numbers


def species_table(species: Sequence[Species], found: Findings, clips: Mapping[str, str], summary: str = "") -> Table:
    """Return the table of species; `clips` are the ids of the first clip of each, by label."""
    hours = found.making.analysed_h
    rate = ("Per hour",) if hours else ()
    checked = ("Checked by people",) if has_checks(found) else ()
    rows = [
        Row(
            s.label,
            words_of.beside(s),
            (
                f"{s.detections:,}",
                *((short(s.detections / hours),) if hours else ()),
                "–" if s.events is None else f"{s.events:,}",
                f"{s.stations:,}",
                f"{s.recordings:,}",
                "–" if s.mean_confidence is None else f"{s.mean_confidence:.2f}",
                "–" if s.highest_confidence is None else f"{s.highest_confidence:.2f}",
                *((check_cell(found, s.label),) if checked else ()),
                short_dates(s.first, s.last),
            ),
            clips.get(s.label, ""),
        )
        for s in species
    ]
    columns = (
        *("Species", "Detections", *rate, "Events", "Stations", "Recordings", "Confidence", "Highest"),
        *(*checked, "Dates"),
    )
    caption = "The most often detected first. Confidence is the mean of the detections; beside it is the highest one."
    if hours:
        caption += " Per hour: detections per analysed hour."
    caption += f" {words_of.event_words(found.events)}"
    if checked:
        caption += (
            " Checked by people: detections of how many that they were drawn from, and which part of those that count "
            "here is right, with its 95 % interval."
        )
    return Table(caption, columns, tuple(rows), summary)


def hours_part(grid: Grid, found: Findings, sun: SunBand | None) -> ChartPart:
    """Return the section on the time of day."""
    scale = scale_of(grid.values())
    shown = {species.label: species for species in found.species}
    totals = [shown[label].detections for label in grid.rows]
    left_out = len(found.species) - len(grid.rows)
    rated = grid.effort_h is not None
    words = [
        "When each species was detected, by hour of the day at the station."
        + (f" The {len(grid.rows)} most often detected species; {left_out:,} more are in the table." * (left_out > 0))
    ]
    if rated:
        words.append("In hatched hours no audio was analysed, so nothing could be detected.")
    if sun is not None and sun.words():
        words.append(f"Daylight at {numbered(sun.stations, 'station')} over these dates: {sun.words()}.")
    else:
        words.append("Sunrise and sunset need the stations' coordinates and time zones (option --sites).")
    return ChartPart(
        (" ".join(words),),
        hours_chart(grid, totals, scale, found.effort_by_hour, sun),
        (_hours_table(grid, found), _effort_table(found)),
        *rate_legend(scale, rated),
    )


def rate_legend(scale: Scale, rated: bool) -> tuple[str, tuple[tuple[int, str], ...], str, str]:
    """Return the last fields of a `ChartPart` with detections per hour, or detections: its legend."""
    steps = tuple((scale.colour(number), name) for number, name in enumerate(scale.names()))
    if rated:
        return "Detections per analysed hour", steps, "analysed, none detected", "not recorded or not analysed"
    return "Detections", steps, "none detected, or not recorded", ""


def _hours_table(grid: Grid, found: Findings) -> Table:
    rows = []
    for number, name in enumerate(grid.rows):
        values = [(hour, grid.value(number, hour)) for hour in range(HOURS)]
        there = [(hour, value) for hour, value in values if value]
        compared = [pair for pair in there if found.enough(grid.hours(number, pair[0]))]
        busiest = max(compared, key=lambda item: item[1] or 0.0) if compared else None
        rows.append(
            Row(
                name,
                "",
                (
                    "–" if busiest is None else f"{hour_words(busiest[0])} ({short(busiest[1] or 0.0)})",
                    "; ".join(f"{hour:02}: {short(value or 0.0)}" for hour, value in there) or "–",
                ),
            )
        )
    what = "detections per analysed hour" if grid.effort_h is not None else "detections"
    caption = f"By hour of the day: {what}. Hours that are not named had none."
    if grid.effort_h is not None and found.min_effort_h > 0:
        caption += f" The busiest hour is one of at least {words_of.hours_words(found.min_effort_h)} of analysed audio."
    return Table(caption, ("Species", "Busiest hour", "Hour: " + what), tuple(rows), "Species by hour as a table", True)


def _effort_table(found: Findings) -> Table:
    effort = found.effort_by_hour
    rows = []
    for hour in range(HOURS):
        n = found.detections_by_hour[hour]
        cells = [f"{n:,}"]
        if effort is not None:
            cells += [short(effort[hour]), short(n / effort[hour]) if effort[hour] > 0 else "not recorded"]
        rows.append(Row(hour_words(hour), "", tuple(cells)))
    columns = ("Hour", "Detections", *(("Hours analysed", "Per analysed hour") if effort is not None else ()))
    return Table("All species by hour of the day.", columns, tuple(rows), "All species by hour as a table")


def matrix_part(grid: Grid, found: Findings) -> ChartPart:
    """Return the section on species at stations."""
    scale = scale_of(grid.values())
    rated = grid.effort_h is not None
    words = ["Which species was detected at which station."]
    if left_out := len(found.species) - len(grid.rows):
        words.append(f"The {len(grid.rows)} most often detected species; {left_out:,} more are in the command's CSV.")
    if left_out := len(found.named_stations) - len(grid.columns):
        words.append(f"The {len(grid.columns)} stations with the most detections; {left_out:,} more are in the CSV.")
    totals = {species.label: species.detections for species in found.species}
    rows = []
    for number, name in enumerate(grid.rows):
        values = [(station, grid.value(number, column)) for column, station in enumerate(grid.columns)]
        cells = "; ".join(f"{station}: {short(value)}" for station, value in values if value)
        rows.append(Row(name, "", (cells or "–",)))
    what = "detections per analysed hour" if rated else "detections"
    caption = f"By station: {what}. Stations that are not named had none."
    table = Table(caption, ("Species", "Station: " + what), tuple(rows), "Species by station as a table", True)
    return ChartPart(
        (" ".join(words),),
        matrix_chart(grid, [totals[label] for label in grid.rows], scale),
        (table,),
        *rate_legend(scale, rated),
    )


def dates_part(dates: tuple[DateBins, Grid] | None, found: Findings, source: str) -> ChartPart:
    """Return the section on stations and dates."""
    table = _stations_table(found)
    if dates is None:
        nothing = "The recordings' names do not say when they were made, so there is nothing to show over dates."
        return ChartPart((nothing,), None, (table,))
    bins, grid = dates
    scale = scale_of(grid.values())
    rated = grid.effort_h is not None
    each = "day" if bins.days == 1 else f"span of {bins.days} days"
    left_out = len(found.stations) - len(grid.rows)
    words = [f"Detections of all species at each station, by {each}."]
    if left_out > 0:
        words.append(
            f"The {len(grid.rows)} stations with the most detections; {left_out:,} more are in the table of stations."
        )
    return ChartPart(
        (" ".join(words),),
        dates_chart(bins, grid, scale),
        (table, _dates_table(bins, grid)),
        *rate_legend(scale, rated),
        source,
    )


def _stations_table(found: Findings) -> Table:
    shown = found.stations[:MOST_STATIONS_LISTED]
    left_out = len(found.stations) - len(shown)
    areas = any(s.study_area for s in shown)
    rated = found.making.analysed_h is not None
    placed = any(s.latitude is not None for s in shown)
    rows = tuple(
        Row(
            s.name or "no station",
            "",
            (
                *((s.study_area or "–",) if areas else ()),
                *((_place(s),) if placed else ()),
                *((short(s.analysed_h or 0.0),) if rated else ()),
                f"{s.recordings:,}",
                f"{s.detections:,}",
                *((short(s.detections / s.analysed_h) if s.analysed_h else "–",) if rated else ()),
                f"{s.species:,}",
                short_dates(s.first, s.last),
            ),
        )
        for s in shown
    )
    columns = (
        "Station",
        *(("Study area",) if areas else ()),
        *(("Latitude, longitude",) if placed else ()),
        *(("Hours analysed",) if rated else ()),
        "Recordings",
        "Detections",
        *(("Per hour",) if rated else ()),
        "Species",
        "Dates",
    )
    caption = f"Stations; {left_out:,} more are left out here." if left_out else "Stations."
    return Table(caption, columns, rows, "Stations as a table")


def _place(station: Station) -> str:
    if station.latitude is None or station.longitude is None:
        return "–"
    return f"{station.latitude:.4f}, {station.longitude:.4f}"


def _dates_table(bins: DateBins, grid: Grid) -> Table:
    rows = []
    for number, name in enumerate(grid.rows):
        values = [(column, grid.value(number, column)) for column in range(bins.number)]
        words = "; ".join(
            f"{span_words(bins, column)}: {short(value)}" for column, value in values if value is not None
        )
        rows.append(Row(name, "", (words or "–",)))
    what = "detections per analysed hour" if grid.effort_h is not None else "detections"
    caption = f"By date: {what}." + (" Dates that are not named were not recorded." if grid.effort_h else "")
    return Table(caption, ("Station", "Date: " + what), tuple(rows), "Stations by date as a table", True)


def timeline_part(timeline: Timeline) -> ChartPart:
    """Return the section on one recording."""
    where = f" at {timeline.station}" if timeline.station else ""
    when = ""
    if timeline.started is not None:
        when = f", started {words_of.long_date(timeline.started.date())} at {timeline.started:%H:%M:%S}"
    words = [
        f"The recording {timeline.recording_id}{where}{when}, {duration_text(timeline.length_s)} long. "
        f"Each cell is {words_of.hours_words(timeline.bin_s / 3600)}; its colour is the highest confidence in it."
    ]
    if timeline.left_out:
        words.append(f"{timeline.left_out:,} more species were detected in it.")
    steps = tuple((CONFIDENCE_SCALE.colour(n), name) for n, name in enumerate(CONFIDENCE_SCALE.names()))
    rows = tuple(
        Row(
            name,
            "",
            (
                f"{timeline.counts[number]:,}",
                "; ".join(
                    f"{duration_text(column * timeline.bin_s)}: {confidence:.2f}"
                    for column, confidence in enumerate(timeline.highest[number])
                    if confidence is not None
                ),
            ),
        )
        for number, name in enumerate(timeline.rows)
    )
    caption = "Time from the start of the recording, and the highest confidence from there on."
    columns = ("Species", "Detections", "Time: highest confidence")
    return ChartPart(
        tuple(words),
        timeline_chart(timeline),
        (Table(caption, columns, rows, "The recording as a table", True),),
        "Highest confidence",
        steps,
        "nothing detected" if timeline.analysed is None else "analysed, nothing detected",
        "" if timeline.analysed is None or all(timeline.analysed) else "not analysed",
    )


def confidence_parts(
    histograms: Sequence[Histogram], found: Findings
) -> tuple[list[str], list[tuple[str, str, Markup]], Table]:
    """Return the words, the histograms (name, words, chart) and the table of the section on confidence."""
    thresholds = [found.threshold_of(histogram.label) for histogram in histograms]
    has_any = any(threshold > 0 for threshold in thresholds)
    left_out = len(found.species) - len(histograms)
    words = [
        "How many detections had which confidence. Confidence is the classifier's own score, not a probability that it "
        "is right; the same value can mean different things for two species."
    ]
    if has_any:
        which = f" of {thresholds[0]:g}" if len(set(thresholds)) == 1 else ", of each species its own"
        words.append(f"The line is the threshold{which}. Pale bars are below it and counted nowhere else.")
    if left_out > 0:
        words.append(f"The {len(histograms)} most often detected species; {left_out:,} more are not shown.")
    parts = []
    rows = []
    for histogram, threshold in zip(histograms, thresholds, strict=True):
        total = sum(histogram.counts)
        below = sum(n for number, n in enumerate(histogram.counts) if (number + 1) / HISTOGRAM_BINS <= threshold + 1e-9)
        tallest = f"tallest bar: {max(histogram.counts):,} of {total:,}"
        parts.append((histogram.label, tallest, histogram_chart(histogram, threshold)))
        classes = "; ".join(f"{number / HISTOGRAM_BINS:.2f}: {n:,}" for number, n in enumerate(histogram.counts) if n)
        rows.append(Row(histogram.label, "", (f"{total:,}", *((f"{below:,}",) if has_any else ()), classes)))
    width = 1 / HISTOGRAM_BINS
    columns = (
        "Species",
        "Detections",
        *(("Below the threshold",) if has_any else ()),
        f"From confidence (classes of {width:g}): detections",
    )
    table = Table("Confidence by species.", columns, tuple(rows), "Confidence as a table", True)
    return words, parts, table
