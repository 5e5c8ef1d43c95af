"""The report in words: what the page says before it shows anything."""

from __future__ import annotations

from datetime import date

from badc.detections.fingerprint import MODEL_VERSION, RUNNER, described
from badc.errors import numbered
from badc.reports.page.checked import checked_words, counted_words
from badc.reports.query.event_settings import EventSettings
from badc.reports.query.runs import Run, mixture
from badc.reports.study.data import HOURS, Findings, Making, Species
from badc.reports.study.scale import short

_RUNNERS = {
    "birdnet": "BirdNET",
    "hawkears": "HawkEars",
    "onnx": "an ONNX model",
    "custom": "a custom command",
    "resident": "a resident command",
    "stub": "the stub",
}
_ANALYSED = ("ok", "no_detections")
_SURE = 0.5
_STATUS_WORDS = {
    "ok": "analysed with detections",
    "no_detections": "analysed with nothing detected",
    "no_output": "given to a command that wrote nothing",
    "missing": "without a result",
    "stub": "given to the stub, which analyses nothing",
}


def long_date(day: date) -> str:
    """Return a date as `1 May 2023`."""
    return f"{day.day} {day:%B %Y}"


def dates_words(first: date, last: date) -> str:
    """Return a span of dates in words, naming year and month once."""
    if first == last:
        return long_date(first)
    if first.year != last.year:
        return f"{long_date(first)} to {long_date(last)}"
    if first.month != last.month:
        return f"{first.day} {first:%B} to {long_date(last)}"
    return f"{first.day} to {long_date(last)}"


def short_dates(first: date | None, last: date | None) -> str:
    """Return a span of dates for a table, such as `14 May to 12 Jun 2023`, or a dash."""
    if first is None or last is None:
        return "–"
    if first == last:
        return f"{first.day} {first:%b %Y}"
    year = f" {first.year}" if first.year != last.year else ""
    month = "" if (first.month, first.year) == (last.month, last.year) else f" {first:%b}"
    return f"{first.day}{month}{year} to {last.day} {last:%b %Y}"


def hour_words(hour: int) -> str:
    """Return an hour of the day as `05:00 to 06:00`."""
    return f"{hour:02}:00 to {(hour + 1) % HOURS:02}:00"


def other_names(species: Species) -> str:
    """Return the other names of a species, the scientific one last; nothing repeats the label."""
    names = dict.fromkeys(filter(None, (species.label_name, species.scientific)))
    return ", ".join(name for name in names if name.casefold() != species.label.casefold())


def beside(species: Species) -> str:
    """Return what stands beside the label of a species: its other names, and whether it is unexpected there."""
    mark = unexpected_words(species)
    return "; ".join(filter(None, (other_names(species), mark)))


def unexpected_words(species: Species) -> str:
    """Return how many detections of a species are unexpected at their place and time of year, or nothing."""
    if not species.unexpected:
        return ""
    if species.unexpected == species.detections:
        return "unexpected here"
    return f"{species.unexpected:,} of {species.detections:,} unexpected here"


def runner_words(making: Making) -> str:
    """Return which runner made the detections."""
    names = list(dict.fromkeys(_runner(run) for run in making.runs))
    return " and ".join(names) or "The classifier"


def _runner(run: Run) -> str:
    name = str(run.settings.get(RUNNER) or "an unknown program")
    return _RUNNERS.get(name, name)


def _version(run: Run) -> str:
    version = run.settings.get(MODEL_VERSION)
    return f", {version}" if version else ""


def kept_words(making: Making) -> list[str]:
    """Return what each run kept: from which confidence on, in which windows, and of which species."""
    return list(dict.fromkeys(_kept(run) for run in making.runs))


def _lowest_kept(run: Run) -> float | None:
    lowest: float | None = run.settings.get("min_confidence", run.settings.get("min_score"))
    return lowest


def _kept(run: Run) -> str:
    settings = run.settings
    lowest = _lowest_kept(run)
    parts = [
        "the lowest confidence that it kept is not known"
        if lowest is None
        else f"detections from a confidence of {lowest:g} on"
    ]
    if (window_s := settings.get("window_s")) is not None:
        overlap_s = settings.get("birdnet_overlap_s")
        parts.append(f"windows of {window_s:g} s" + ("" if overlap_s is None else f" that overlap by {overlap_s:g} s"))
    if "species" in settings:
        species = settings["species"]
        parts.append("all its species" if species is None else f"a list of {len(species):,} species")
    return f"{_sentence(_runner(run))}: {', '.join(parts)}."


def lede(found: Findings) -> str:
    """Return the report in two sentences."""
    who = runner_words(found.making)
    who = who[0].upper() + who[1:]
    what = f"{who} detected {f'{len(found.species):,} species' if found.species else 'nothing'}"
    hours = found.making.analysed_h
    effort = f" in {hours_words(hours)} of audio" if hours is not None else ""
    stations = found.named_stations
    where = f" from {numbered(len(stations), 'station')}" if stations else ""
    first_sentence = f"{what}{effort}{where}{_when(found)}."
    return f"{first_sentence} {checked_words(found)}" if found.species else first_sentence


def _when(found: Findings) -> str:
    if found.span is None:
        return ""
    first, last = found.span
    return f", on {long_date(first)}" if first == last else f", {dates_words(first, last)}"


def hours_words(hours: float) -> str:
    """Return a length in hours, short ones in minutes or seconds."""
    units = ((1, "hour"), (60, "minute"), (3600, "second"))
    factor, unit = next((pair for pair in units if hours * pair[0] >= 1), units[-1])
    number = short(hours * factor)
    return f"{number} {unit}" if number == "1" else f"{number} {unit}s"


def event_words(events: EventSettings) -> str:
    """Return what one event is."""
    gap = "one window of the classifier" if events.max_gap_s is None else f"{events.max_gap_s:g} s"
    return f"An event is a series of detections without a gap longer than {gap}."


def answers(found: Findings) -> list[tuple[str, str]]:
    """Return the questions that come first, and their answers."""
    return [
        ("Which species", _which(found)),
        ("Where", _where(found)),
        ("When", _at_what_time(found)),
        ("How sure", _how_sure(found)),
        ("How much effort", _effort(found)),
    ]


def _which(found: Findings) -> str:
    if not found.species:
        return "None."
    total = f"{len(found.species):,} species in {numbered(found.detections, 'detection')}."
    if never := sum(s.unexpected == s.detections for s in found.species):
        total += f" {numbered(never, 'is', 'are')} unexpected wherever and whenever detected: doubt these first."
    top = ", ".join(f"{s.label} ({s.detections:,})" for s in found.species[:5])
    if len(found.species) == 1:
        return f"{total} It is {top}."
    return f"{total} {'Most often' if found.enough(found.making.analysed_h) else 'Among them'}: {top}."


def _where(found: Findings) -> str:
    stations = found.named_stations
    if not stations:
        return "Neither names nor folders of the recordings say at which station they were made."
    areas = {station.study_area for station in stations if station.study_area}
    words = numbered(len(stations), "station") + (f" in {numbered(len(areas), 'study area')}" if areas else "")
    if len(stations) == 1:
        return f"One station: {stations[0].name}."
    rated = found.making.analysed_h is not None
    with_effort = [s for s in stations if s.analysed_h and s.detections and found.enough(s.analysed_h)]
    if rated and not with_effort:
        return f"{words}. {_too_little(found, 'station')}"
    if rated:
        busiest = max(with_effort, key=lambda s: s.detections / (s.analysed_h or 1))
        rate = short(busiest.detections / (busiest.analysed_h or 1))
        return f"{words}. Most detections per analysed hour at {busiest.name} ({rate})."
    busiest = max(stations, key=lambda s: s.detections)
    return f"{words}. Most detections at {busiest.name} ({busiest.detections:,})."


def _at_what_time(found: Findings) -> str:
    if found.span is None:
        return "The recordings' names do not say when they were made."
    words = f"{dates_words(*found.span)}."
    if not any(found.detections_by_hour):
        return words
    if found.effort_by_hour is None:
        hour = max(range(HOURS), key=lambda h: found.detections_by_hour[h])
        return f"{words} Most detections from {hour_words(hour)} ({found.detections_by_hour[hour]:,})."
    rates = {
        hour: n / hours
        for hour, (n, hours) in enumerate(zip(found.detections_by_hour, found.effort_by_hour, strict=True))
        if n and hours > 0 and found.enough(hours)
    }
    if not rates:
        return f"{words} {_too_little(found, 'hour of the day')}"
    hour = max(rates, key=lambda h: rates[h])
    return f"{words} Most detections per analysed hour from {hour_words(hour)} ({short(rates[hour])})."


def _too_little(found: Findings, what: str) -> str:
    least = hours_words(found.min_effort_h)
    return f"No {what} with detections has {least} of analysed audio, so none is named as the busiest."


def _how_sure(found: Findings) -> str:
    rated = [s for s in found.species if s.mean_confidence is not None]
    if not rated:
        return "The classifier gave no confidence." if found.species else "Nothing was detected."
    weights = sum(s.detections for s in rated)
    mean = sum((s.mean_confidence or 0.0) * s.detections for s in rated) / weights
    weak = sum((s.highest_confidence or 0.0) < _SURE for s in rated)
    words = [f"The mean confidence is {mean:.2f} on a scale from 0 to 1."]
    if counted := counted_words(found):
        words.append(f"Only detections {counted} are counted.")
    if weak:
        words.append(f"{weak:,} of the species never reached {_SURE:g}: check these first.")
    return " ".join(words)


def _effort(found: Findings) -> str:
    making = found.making
    if making.analysed_h is None:
        return (
            "Not known: there is no coverage table beside the detections, so silence and no recording look alike. "
            f"{numbered(making.recordings, 'recording')} had detections."
        )
    words = (
        f"{_sentence(hours_words(making.analysed_h))} analysed in {numbered(making.analysed_recordings, 'recording')}."
    )
    missing = sum(n for status, n in making.chunks.items() if status not in _ANALYSED)
    total = sum(making.chunks.values())
    if missing:
        return f"{words} {missing:,} of {numbered(total, 'chunk')} {'has' if missing == 1 else 'have'} no result."
    return f"{words} Every one of {numbered(total, 'chunk')} has a result."


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def mixture_words(making: Making) -> str | None:
    """Return the sentence that comes before all others where results of several settings are mixed."""
    words = mixture(making.runs)
    return None if words is None else f"{_sentence(words)}."


def warnings(found: Findings) -> list[str]:
    """Return what a reader must know before believing the numbers."""
    making = found.making
    total = sum(making.chunks.values())
    words = []
    missing = {status: n for status, n in making.chunks.items() if status not in _ANALYSED}
    if missing:
        parts = ", ".join(f"{n:,} {_STATUS_WORDS.get(status, status)}" for status, n in missing.items())
        words.append(
            f"Not all audio was analysed. Of {numbered(total, 'chunk')}: {parts}. What was sung in them is not in this "
            "report."
        )
    words += [f"{_sentence(gap)}." for gap in making.gaps]
    if making.untimed_h > 0:
        words.append(
            f"{_sentence(hours_words(making.untimed_h))} of audio have no known date and time; they are missing from "
            "the charts over hours and dates."
        )
    if making.untimed_detections:
        words.append(
            f"{numbered(making.untimed_detections, 'detection')} without a known date and time "
            f"{'is' if making.untimed_detections == 1 else 'are'} missing from the charts over hours and dates."
        )
    if making.unrated_detections:
        words.append(f"{numbered(making.unrated_detections, 'detection')} came without a confidence.")
    return words


def facts(found: Findings, table: str, made_at: str) -> list[tuple[str, str]]:
    """Return how the report was made, fact by fact."""
    making = found.making
    runners = "; ".join(dict.fromkeys(_runner(run) + _version(run) for run in making.runs))
    rows = [
        ("Classifier", runners or "the tables do not say"),
        *(("Settings", f"{described(run.settings)} ({run.fingerprint})") for run in making.runs if run.fingerprint),
        ("Table", table),
        ("Recordings", f"{making.analysed_recordings:,} analysed of {making.recordings:,}"),
    ]
    by_number = sorted(making.chunks.items(), key=lambda item: -item[1])
    if making.analysed_h is not None:
        rows.append(("Audio analysed", hours_words(making.analysed_h)))
        rows += [("Chunks", "; ".join(f"{n:,} {_STATUS_WORDS.get(status, status)}" for status, n in by_number))]
    rows.append(("Threshold", _threshold(found)))
    zones = sorted({station.timezone for station in found.stations if station.timezone})
    rows.append(("Times", f"local time ({', '.join(zones)})" if zones else "the recorders' own clocks"))
    rows.append(("Report made", made_at))
    return rows


def _threshold(found: Findings) -> str:
    """Return from which confidence on the runners kept detections, and which of those the page counts."""
    kept = dict.fromkeys((_runner(run), _lowest_kept(run)) for run in found.making.runs)
    lowest = [one for _, one in kept]
    parts = [
        f"the lowest confidence that {who} kept is not known"
        if one is None
        else f"{who} kept detections from a confidence of {one:g} on"
        for who, one in kept
    ] or ["the lowest confidence that was kept is not known"]
    counted = counted_words(found)
    if not found.thresholds and found.min_confidence <= min((one or 0.0 for one in lowest), default=0.0):
        counted = ""
    counted = f"those {counted}" if counted else "all of them"
    return f"{_sentence('; '.join(parts))}; this page counts {counted}."


METHOD = (
    "A species here is a label of the classifier; labels of other sounds count too. A detection says that the "
    "classifier heard something in a window of a few seconds. One bird that sings on gives many detections, so their "
    "number is a measure of activity, not of birds.",
    "Detections per analysed hour are detections divided by the hours of audio that were analysed in the same cell. "
    "Averages are over detections.",
)
