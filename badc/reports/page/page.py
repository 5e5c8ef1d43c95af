"""The page to send to a colleague: one self-contained HTML file, with the plots as PNG files beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from markupsafe import Markup

from badc import __version__
from badc.errors import RequestError
from badc.recordings.locate import audio_bases
from badc.reports.page import listen, sentences
from badc.reports.page.checked import counted_words
from badc.reports.page.listen import Listening
from badc.reports.page.map import map_part
from badc.reports.page.markup import page_style, template
from badc.reports.page.sections import (
    MOST_SPECIES,
    SPECIES_AT_FIRST,
    ChartPart,
    Table,
    confidence_parts,
    dates_part,
    hours_part,
    matrix_part,
    species_table,
    timeline_part,
)
from badc.reports.page.sources import Sources
from badc.reports.plots import plots_of
from badc.reports.query.event_settings import BY_WINDOW, EventSettings
from badc.reports.query.tables import find_coverage, open_tables
from badc.reports.settings import CAREFUL, DEFAULT_KINDS, EVERYTHING, ChoiceSettings, Group, PrivacySettings
from badc.reports.study.clips import MARGIN_MS
from badc.reports.study.data import Findings
from badc.reports.study.figures import Figures, read_figures
from badc.reports.study.queries import Counts
from badc.reports.study.sun import sun_band
from badc.system import atomic


@dataclass(frozen=True, slots=True)
class Page:
    """Everything the template shows; see `templates/page.html.j2`."""

    title: str
    mixture: str | None
    lede: str
    sections: tuple[tuple[str, str], ...]
    answers: list[tuple[str, str]]
    warnings: list[str]
    species: Table | None
    species_words: str
    more_species: Table | None
    species_left_out: str
    species_command: str
    species_csv: str
    hours: ChartPart | None
    matrix: ChartPart | None
    map: ChartPart | None
    dates: ChartPart | None
    timeline: ChartPart | None
    confidence_words: list[str]
    histograms: list[tuple[str, str, Markup]]
    confidence_table: Table | None
    confidence_source: str
    listening: Listening | None
    facts: list[tuple[str, str]]
    method: tuple[str, ...]
    footer: str


def write_page(
    parquet: Path,
    target: Path,
    *,
    coverage: Path | None = None,
    sites: Path | None = None,
    clips: bool = True,
    plots: bool = True,
    choice: ChoiceSettings = EVERYTHING,
    audio_root: Path | None = None,
    title: str | None = None,
    min_effort_h: float = 1.0,
    privacy: PrivacySettings = CAREFUL,
    events: EventSettings = BY_WINDOW,
) -> list[Path]:
    """Write the report of a table of detections as an HTML file, and its charts as PNG files; return all of them.

    The page makes no network request, and its content security policy allows none. If a large study does not fit, the
    page says so and gives the command that lists everything. The plots are `<stem>_hours.png` and so on, beside the
    page.

    Parameters
    ----------
    coverage
        By default the table beside `parquet`, if there is one. Without coverage, effort is unknown.
    sites
        Sites CSV: study areas, time zones, and coordinates for the daylight.
    clips
        Whether to embed the strongest detections as spectrograms and sound. The page names unreadable recordings.
    plots
        Whether to write the charts as PNG files, too.
    choice
        Which detections count; those below its `min_confidence` are in the histograms of confidence only.
    audio_root
        Folder to look for recordings in, before the places that the table names.
    title
        By default the table's own name.
    min_effort_h
        Analysed audio that an hour of the day or a station needs to be called the busiest.
    privacy
        Near which sounds no clip is made; by default, near people.
    events
        Which detections make one event.

    Raises
    ------
    RequestError
        If a table cannot be read.
    """
    if target.is_dir():
        raise RequestError(f"{target}: is a folder; name the file to write")
    found = find_coverage(parquet, coverage)
    with open_tables(parquet, coverage, sites) as database:
        counts = Counts(database, has_coverage=found is not None, choice=choice)
        figures = read_figures(counts, min_effort_h=min_effort_h, events=events)
        labels = [species.label for species in figures.found.species[: listen.MOST_SPECIES]]
        private = counts.keep_private(privacy, MARGIN_MS).words if clips else ""
        sightings = counts.sightings(labels, listen.EACH) if clips else []
        weakest = counts.weakest(labels) if clips else []
    heard = None
    if sightings or private:
        bases = audio_bases(parquet, audio_root)
        heard = listen.listening(sightings, weakest, bases, len(figures.found.species), private)
    elsewhere = None if found == find_coverage(parquet) else found
    page = page_of(figures, heard, parquet, target, title=title, coverage=elsewhere, sites=sites)
    atomic.write_text(target, render(page))
    return [target, *(plots_of(figures, target.parent, target.stem, DEFAULT_KINDS) if plots else ())]


def render(page: Page) -> str:
    """Return the page as HTML."""
    return template("badc.reports.page", "page.html.j2").render(page=page, style=page_style())


def page_of(
    figures: Figures,
    heard: Listening | None,
    parquet: Path,
    target: Path,
    *,
    title: str | None = None,
    coverage: Path | None = None,
    sites: Path | None = None,
) -> Page:
    """Return the content of the page; `heard` is None without clips, `target` is where the page will be.

    `coverage` is None if it is the one beside the table, or if there is none.
    """
    found = figures.found
    told = Sources(parquet, target, coverage, found.choice, sites, found.events)
    sun = sun_band(found.stations)
    words, histograms, confidence_table = confidence_parts(figures.histograms, found)
    made_at = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    species = found.species
    hours = hours_part(figures.hours, found, sun) if species and found.span else None
    timeline = timeline_part(figures.timeline) if figures.timeline is not None else None
    matrix = matrix_part(figures.matrix, found) if figures.matrix is not None else None
    clips = {} if heard is None else heard.first
    there: list[tuple[str, str, object]] = [
        ("glance", "At a glance", True),
        ("species", "Species", species),
        ("hours", "Time of day", hours),
        ("places", "Species and stations", matrix),
        ("dates", "Stations and dates", found.stations),
        ("recording", "One recording", timeline),
        ("confidence", "Confidence", histograms),
        ("listen", "Listen", heard),
        ("made", "How it was made", True),
    ]
    return Page(
        title=title or parquet.stem.replace("_", " "),
        mixture=sentences.mixture_words(found.making),
        lede=sentences.lede(found),
        sections=tuple((id_, name) for id_, name, content in there if content),
        answers=sentences.answers(found),
        warnings=sentences.warnings(found),
        species=species_table(species[:SPECIES_AT_FIRST], found, clips) if species else None,
        species_words=_species_words(found),
        more_species=_more_species(found, clips),
        species_left_out=_left_out(len(species) - MOST_SPECIES),
        species_command=told.summary("species.csv", Group.LABEL),
        species_csv=_csv_beside(target),
        hours=hours and replace(hours, source=told.summary("hours.csv", Group.LABEL, Group.HOUR)),
        matrix=matrix and replace(matrix, source=told.summary("stations.csv", Group.LABEL, Group.STATION)),
        map=map_part(found) if found.stations else None,
        dates=dates_part(figures.dates, found, told.summary("dates.csv", Group.STATION, Group.DATE))
        if found.stations
        else None,
        timeline=timeline and replace(timeline, source=told.timeline(figures.timeline)),
        confidence_words=words,
        histograms=histograms,
        confidence_table=confidence_table if histograms else None,
        confidence_source=told.confidence(),
        listening=heard,
        facts=sentences.facts(found, parquet.name, made_at),
        method=sentences.METHOD,
        footer=f"Made by BADC {__version__} from {parquet.name}. One file, which loads nothing from the network.",
    )


def _species_words(found: Findings) -> str:
    kept = " ".join(sentences.kept_words(found.making))
    if counted := counted_words(found):
        return f"Detections {counted}. {kept}".rstrip()
    return f"All detections that were kept. {kept}".rstrip()


def _more_species(found: Findings, clips: Mapping[str, str]) -> Table | None:
    more = found.species[SPECIES_AT_FIRST:MOST_SPECIES]
    return species_table(more, found, clips, f"The next {len(more):,} species") if more else None


def _left_out(number: int) -> str:
    if number <= 0:
        return ""
    return f"{number:,} more species, the rarest, are left out of this page."


def _csv_beside(target: Path) -> str:
    """Return words that name the bundle's CSV of all species, if it exists."""
    exported = f"{target.stem.removesuffix('_report')}_duckdb_exports/label_summary.csv"
    return f", or {exported} beside this page." if (target.parent / exported).is_file() else ""
