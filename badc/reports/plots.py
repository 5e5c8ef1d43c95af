"""Plots of a table of detections as PNG files, for papers and slides: the charts of the page on white."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from badc.recordings.audio import AudioError
from badc.recordings.locate import audio_bases
from badc.reports.drawing import ACCENT, BAR, HATCH, INK, PALE, SOFT, ZERO, new_figure, save_figure
from badc.reports.query.runs import mixture
from badc.reports.query.tables import find_coverage, open_tables
from badc.reports.settings import CAREFUL, EVERYTHING, ChoiceSettings, PlotKind, PrivacySettings
from badc.reports.study.clips import MARGIN_MS, read_passage, spectrogram
from badc.reports.study.data import HISTOGRAM_BINS, HOURS, Grid, Histogram, Sighting, Timeline, runs, tick_step_s
from badc.reports.study.figures import Figures, read_figures
from badc.reports.study.queries import Counts
from badc.reports.study.scale import CONFIDENCE_SCALE, LIGHT_STEPS, Scale, scale_of, short
from badc.reports.study.sun import SunBand, sun_band
from badc.reports.study.words import clean, fitted, span_words
from badc.system.clock import duration_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW_IN = 0.24
_SUN = {"night": "#3c4a78", "change": "#c9a96a", "day": "#fdf1c3"}
_MOST_SPECTROGRAMS = 30
_LABEL_PX = 210.0
_MIXTURE_CHARS, _MIXTURE_LINES = 130, 6


@dataclass(frozen=True, slots=True)
class Plots:
    """The PNG files that were written, and a sentence for each plot that could not be drawn.

    `notes` say that results of several settings are mixed, and what was left out for privacy.
    """

    written: list[Path]
    problems: list[str]
    notes: tuple[str, ...]


def write_plots(
    parquet: Path,
    output_dir: Path,
    kinds: Sequence[PlotKind],
    *,
    coverage: Path | None = None,
    sites: Path | None = None,
    choice: ChoiceSettings = EVERYTHING,
    labels: Sequence[str] = (),
    recording_id: str | None = None,
    top: int | None = None,
    audio_root: Path | None = None,
    privacy: PrivacySettings = CAREFUL,
) -> Plots:
    """Draw a table of detections as `<stem>_hours.png`, `<stem>_spectrogram_01.png` and so on.

    `coverage`, `sites`, `choice`, `audio_root` and `privacy` are as for `badc.reports.page.page.write_page`;
    `recording_id` and `top` as for `badc.reports.study.figures.read_figures`. `labels` are the species to draw, by
    label, code or name; empty draws the most often detected ones.

    Raises
    ------
    RequestError
        If a table cannot be read, or has no such recording.
    """
    has_coverage = find_coverage(parquet, coverage) is not None
    with open_tables(parquet, coverage, sites) as database:
        counts = Counts(database, has_coverage=has_coverage, choice=choice, labels=labels)
        figures = read_figures(counts, recording_id=recording_id, top=top)
        sightings: list[Sighting] = []
        notes = [mixture(figures.found.making.runs)]
        if PlotKind.SPECTROGRAM in kinds:
            shown = [species.label for species in figures.found.species]
            private = counts.keep_private(privacy, MARGIN_MS)
            sightings = counts.sightings(shown[: top or _MOST_SPECTROGRAMS], 1)
            notes += [*private.problems, private.words]
    written = plots_of(figures, output_dir, parquet.stem, kinds)
    problems = list(counts.problems)
    if not figures.found.species and not problems:
        problems.append("there are no detections to draw")
    bases = audio_bases(parquet, audio_root)
    for number, sighting in enumerate(sightings, start=1):
        target = output_dir / f"{parquet.stem}_spectrogram_{number:02}.png"
        try:
            save_figure(_spectrogram_figure(sighting, bases), target)
        except AudioError as error:
            problems.append(f"{clean(sighting.label)}: {error}")
        else:
            written.append(target)
    return Plots(written, problems, tuple(filter(None, notes)))


def plots_of(figures: Figures, folder: Path, stem: str, kinds: Sequence[PlotKind]) -> list[Path]:
    """Draw the requested plots that have data, and return their files."""
    drawn: dict[PlotKind, Callable[[], Figure] | None] = {
        PlotKind.HOURS: (lambda: _hours_figure(figures)) if figures.hours.rows and figures.found.span else None,
        PlotKind.DATES: (lambda: _dates_figure(figures)) if figures.dates is not None else None,
        PlotKind.TIMELINE: (lambda: _timeline_figure(figures.timeline)) if figures.timeline is not None else None,
        PlotKind.CONFIDENCE: (lambda: _confidence_figure(figures)) if figures.histograms else None,
    }
    written = []
    for kind in kinds:
        draw = drawn.get(kind)
        path = folder / f"{stem}_{kind.value}.png"
        if draw is None:
            path.unlink(missing_ok=True)  # of an earlier report, which would be taken for this one's
        else:
            written.append(path)
            figure = draw()
            if (mixed := mixture(figures.found.making.runs)) is not None:
                # In the picture itself, which travels alone.
                title = textwrap.fill(
                    mixed[:1].upper() + mixed[1:], _MIXTURE_CHARS, max_lines=_MIXTURE_LINES, placeholder=" …"
                )
                figure.suptitle(f"{figure.get_suptitle()}\n{title}", color=INK, fontsize=9)
            save_figure(figure, path)
    return written


def _hours_figure(figures: Figures) -> Figure:
    grid, effort = figures.hours, figures.found.effort_by_hour
    sun = sun_band(figures.found.stations)
    strip = sun is not None and bool(sun.pieces())
    figure = new_figure(2.4 + _ROW_IN * len(grid.rows))
    heights = [0.7] * (effort is not None) + [0.18] * strip + [_ROW_IN * len(grid.rows) + 0.2]
    axes = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    parts = list(axes)
    figure.suptitle("Detections by hour of the day", color=INK, fontsize=13)
    if effort is not None:
        bars = parts.pop(0)
        bars.bar([hour + 0.5 for hour in range(HOURS)], effort, width=0.9, color=HATCH)
        bars.set_ylabel("hours\nanalysed", rotation=0, ha="right", va="center", color=SOFT, fontsize=9)
        _bare(bars)
    if strip:
        assert sun is not None
        _sun_strip(parts.pop(0), sun)
    heat = parts[0]
    scale = scale_of(grid.values())
    _heat(heat, grid.rows, HOURS, lambda row, hour: _grid_colour(grid, scale, row, hour), grid.absent)
    heat.set_xticks(range(0, HOURS + 1, 3), [f"{hour:02}:00" for hour in range(0, HOURS + 1, 3)])
    _legend(heat, scale, _rate_title(grid), grid.effort_h is not None)
    return figure


def _rate_title(grid: Grid) -> str:
    return "detections per analysed hour" if grid.effort_h is not None else "detections"


def _sun_strip(axes: Axes, sun: SunBand) -> None:
    for name, start, end in sun.pieces():
        axes.axvspan(start, end, color=_SUN[name], linewidth=0)
    axes.set_ylabel("daylight", rotation=0, ha="right", va="center", color=SOFT, fontsize=9)
    _bare(axes)
    axes.set_yticks([])


def _bare(axes: Axes) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0, labelsize=8, labelcolor=SOFT, labelbottom=False)


def _grid_colour(grid: Grid, scale: Scale, row: int, column: int) -> int | None:
    if not grid.counts[row][column]:
        return None
    value = grid.value(row, column)
    return 0 if value is None else scale.step(value)


def _heat(
    axes: Axes,
    names: Sequence[str],
    columns: int,
    colour: Callable[[int, int], int | None],
    absent: Callable[[int, int], bool],
) -> None:
    """Draw rows of coloured cells; absent ones are hatched."""
    import numpy as np
    from matplotlib.colors import BoundaryNorm, ListedColormap
    from matplotlib.patches import Rectangle

    steps = np.full((len(names), columns), np.nan)
    for row in range(len(names)):
        for start, end in runs([absent(row, column) for column in range(columns)]):
            style: dict[str, Any] = {"hatch": "////", "facecolor": "white", "edgecolor": HATCH, "linewidth": 0}
            axes.add_patch(Rectangle((start, row + 0.06), end - start, 0.88, **style))
        for column in range(columns):
            step = colour(row, column)
            steps[row, column] = np.nan if step is None else step
    axes.set_facecolor(ZERO)
    norm = BoundaryNorm(np.arange(len(LIGHT_STEPS) + 1) - 0.5, len(LIGHT_STEPS))
    x, y = np.arange(columns + 1), np.arange(len(names) + 1)
    axes.pcolormesh(x, y, np.ma.masked_invalid(steps), cmap=ListedColormap(list(LIGHT_STEPS)), norm=norm, zorder=2)
    axes.hlines(y, 0, columns, color="white", linewidth=2, zorder=3)
    axes.set_xlim(0, columns)
    axes.set_ylim(len(names), 0)
    shown = [fitted(name, _LABEL_PX) for name in names]
    axes.set_yticks([row + 0.5 for row in range(len(names))], shown, parse_math=False)
    axes.tick_params(length=0, labelsize=9, labelcolor=INK)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _legend(axes: Axes, scale: Scale, title: str, rated: bool, zero: str = "none detected") -> None:
    from matplotlib.patches import Patch

    patches = [
        Patch(facecolor=LIGHT_STEPS[scale.colour(number)], label=name) for number, name in enumerate(scale.names())
    ]
    ground = [Patch(facecolor=ZERO, edgecolor=HATCH, linewidth=0.5, label=zero)]
    if rated:
        ground.append(Patch(facecolor="white", edgecolor=HATCH, linewidth=0, hatch="////", label="not analysed"))
    axes.figure.legend(
        handles=[*ground, *patches],
        loc="outside lower center",
        ncols=4,
        fontsize=8.5,
        frameon=False,
        title=title,
        title_fontsize=9,
        labelcolor=INK,
    )


def _dates_figure(figures: Figures) -> Figure:
    assert figures.dates is not None
    bins, grid = figures.dates
    figure = new_figure(1.9 + _ROW_IN * len(grid.rows))
    axes = figure.subplots()
    asked = figures.found.labels
    whose = fitted(", ".join(asked), 500) if asked else "all species"
    figure.suptitle(f"Detections of {whose} by station and date", color=INK, fontsize=13, parse_math=False)
    scale = scale_of(grid.values())
    _heat(axes, grid.rows, bins.number, lambda row, column: _grid_colour(grid, scale, row, column), grid.absent)
    every = -(-bins.number // 9)
    columns = range(0, bins.number, every)
    axes.set_xticks(
        [column + 0.5 for column in columns], [f"{span_words(bins, c)}\n{bins.start(c).year}" for c in columns]
    )
    _legend(axes, scale, _rate_title(grid), grid.effort_h is not None)
    return figure


def _timeline_figure(timeline: Timeline | None) -> Figure:
    assert timeline is not None
    figure = new_figure(1.9 + _ROW_IN * len(timeline.rows))
    axes = figure.subplots()
    figure.suptitle(f"Recording {fitted(timeline.recording_id, 600)}", color=INK, fontsize=13, parse_math=False)
    columns = len(timeline.highest[0]) if timeline.highest else 1

    def colour(row: int, column: int) -> int | None:
        confidence = timeline.highest[row][column]
        return None if confidence is None else CONFIDENCE_SCALE.step(confidence)

    analysed = timeline.analysed
    _heat(axes, timeline.rows, columns, colour, lambda row, column: analysed is not None and not analysed[column])
    ticks = range(0, columns * timeline.bin_s, tick_step_s(columns * timeline.bin_s, 12))
    axes.set_xticks([second / timeline.bin_s for second in ticks], [duration_text(second) for second in ticks])
    axes.set_xlabel("time from the start of the recording", color=SOFT, fontsize=9)
    rated = analysed is not None and not all(analysed)
    _legend(axes, CONFIDENCE_SCALE, "highest confidence", rated, "nothing detected")
    return figure


def _confidence_figure(figures: Figures) -> Figure:
    histograms = figures.histograms
    columns = min(4, len(histograms))
    rows = -(-len(histograms) // columns)
    figure = new_figure(0.9 + 1.5 * rows)
    figure.suptitle("Confidence of the detections", color=INK, fontsize=13)
    axes = figure.subplots(rows, columns, squeeze=False)
    for number, place in enumerate(axes.flat):
        if number < len(histograms):
            _histogram(place, histograms[number], figures.found.threshold_of(histograms[number].label))
        else:
            place.set_visible(False)
    return figure


def _histogram(axes: Axes, histogram: Histogram, threshold: float) -> None:
    edges = [number / HISTOGRAM_BINS for number in range(HISTOGRAM_BINS)]
    width = 1 / HISTOGRAM_BINS
    colours = [PALE if edge + width <= threshold + 1e-9 else BAR for edge in edges]
    axes.bar(edges, histogram.counts, width=width * 0.9, align="edge", color=colours)
    if threshold > 0:
        axes.axvline(threshold, color=ACCENT, linewidth=1.5)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.set_yticks([max(histogram.counts)], [short(max(histogram.counts))])
    axes.set_title(fitted(histogram.label, 190), fontsize=9.5, color=INK, parse_math=False)
    axes.tick_params(labelsize=8, labelcolor=SOFT, length=2)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _spectrogram_figure(sighting: Sighting, bases: Sequence[Path]) -> Figure:
    from matplotlib.patches import Rectangle

    passage = read_passage(sighting, bases)
    picture = spectrogram(passage)
    figure = new_figure(4.2)
    axes = figure.subplots()
    top_khz = picture.top_hz / 1000
    axes.imshow(picture.levels, origin="lower", aspect="auto", cmap="Greys", extent=(0, picture.length_s, 0, top_khz))
    start, end = passage.marked_s
    axes.add_patch(Rectangle((start, 0), end - start, top_khz, fill=False, edgecolor=ACCENT, linewidth=2))
    axes.set_xlabel("seconds", color=SOFT)
    axes.set_ylabel("kHz", color=SOFT)
    at = duration_text(((sighting.chunk_start_ms or 0) + (sighting.timestamp_ms or 0)) / 1000)
    where = fitted(f"{sighting.recording_id} at {at}", 700)
    title = f"{fitted(sighting.label, 500)}, confidence {sighting.confidence:.2f}\n{where}"
    axes.set_title(title, fontsize=11, color=INK, parse_math=False)
    return figure
