"""The charts of the page as inline SVG, each drawn wide for screens and narrow for phones.

Their colours are classes that the page's style sheet fills, so that they follow light mode, dark mode and print.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import ceil

from markupsafe import Markup

from badc.errors import numbered
from badc.reports.page.svg import element, line, picture, rect, text
from badc.reports.study.clips import Passage, Spectrogram
from badc.reports.study.data import HISTOGRAM_BINS, HOURS, DateBins, Grid, Histogram, Timeline, runs, tick_step_s
from badc.reports.study.scale import CONFIDENCE_SCALE, Scale, short
from badc.reports.study.sun import SunBand
from badc.reports.study.words import _day, clean, fitted, span_words
from badc.system.clock import duration_text

_AXIS_PX = 22
_EFFORT_PX = 44
_SUN_PX = 12
_GAP_PX = 8
_YEAR_PX = 95
_LINE_PX = 15  # of a name that stands upright
_CHARACTER_PX = 7.2
_LONGEST_NAME_PX = 150


@dataclass(frozen=True, slots=True)
class Layout:
    """How a chart is laid out, in px."""

    class_: str  # by which the style sheet shows it at its width
    width: float
    label_px: float  # of the names left of the rows; 0 puts them above, with the numbers
    total_px: float  # of the numbers right of the rows
    row_px: float
    cell_px: float  # height of the cells in a row
    tick_px: float  # least distance between labels of the axis

    @property
    def cell_top_px(self) -> float:
        """Where in a row its cells begin: below the name if that stands above them."""
        return 0.0 if self.label_px else 17.0

    @property
    def plot_px(self) -> float:
        """Width left for the cells."""
        return self.width - self.label_px - self.total_px


LAYOUTS = (Layout("wide", 960, 220, 70, 24, 21, 64), Layout("narrow", 340, 0, 0, 36, 15, 56))
Cell = tuple[int, str] | None  # colour and words


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of coloured cells, as `_heat` draws them."""

    names: Sequence[str]
    totals: Sequence[str]
    columns: int
    cell: Callable[[int, int], Cell]
    absent: Callable[[int, int], bool]


def hours_chart(
    grid: Grid, totals: Sequence[int], scale: Scale, effort_h: Sequence[float] | None, sun: SunBand | None
) -> Markup:
    """Return species over the hours of the day, with the effort of each hour and the daylight."""
    rows = _Rows(
        grid.rows,
        [f"{n:,}" for n in totals],
        HOURS,
        lambda row, hour: _rate_cell(grid, scale, row, hour, f"{hour:02}:00 to {(hour + 1) % 24:02}:00"),
        grid.absent,
    )
    return Markup("").join(_hours_drawing(layout, rows, effort_h, sun) for layout in LAYOUTS)


def _hours_drawing(layout: Layout, rows: _Rows, effort_h: Sequence[float] | None, sun: SunBand | None) -> Markup:
    parts: list[str] = []
    top = 4.0
    cell = layout.plot_px / HOURS
    if effort_h is not None:
        parts += _effort_bars(layout, effort_h, top)
        top += _EFFORT_PX + _GAP_PX + (14 if not layout.label_px else 0)
    pieces = sun.pieces() if sun is not None else []
    if pieces:
        parts += [
            rect(layout.label_px + start * cell, top, (end - start) * cell, _SUN_PX, f"sun-{name}")
            for name, start, end in pieces
        ]
        if layout.label_px:
            parts.append(text(layout.label_px - 10, top + 10, "daylight", "muted", "end"))
        top += _SUN_PX + _GAP_PX
    drawn, bottom = _heat(layout, rows, top)
    parts += drawn
    changes = [(start + end) / 2 for name, start, end in pieces if name == "change"]
    for row in range(len(rows.names)):
        y = top + row * layout.row_px + layout.cell_top_px
        xs = [layout.label_px + hour * cell for hour in changes]
        parts += [line(x, y, x, y + layout.cell_px, "sun-line") for x in xs]
    for hour in range(0, HOURS + 1, 3):
        x = layout.label_px + hour * cell
        anchor = "start" if hour == 0 else "end" if hour == HOURS else "middle"
        parts.append(text(x, bottom + 16, f"{hour:02}", "axis", anchor))
    name = f"Heat map: {len(rows.names)} species by hour of day. The table below has the numbers."
    return picture(layout.width, bottom + _AXIS_PX, name, layout.class_, *parts)


def _effort_bars(layout: Layout, effort_h: Sequence[float], top: float) -> list[str]:
    most = max(effort_h, default=0.0)
    cell = layout.plot_px / HOURS
    parts: list[str] = []
    caption = f"hours analysed (up to {short(most)})"
    if layout.label_px:
        parts.append(text(layout.label_px - 10, top + _EFFORT_PX - 4, caption, "muted", "end"))
    else:
        parts.append(text(0, top + 8, caption, "muted"))
        top += 14
    parts.append(line(layout.label_px, top + _EFFORT_PX, layout.label_px + layout.plot_px, top + _EFFORT_PX, "rule"))
    for hour, hours in enumerate(effort_h):
        height = _EFFORT_PX * hours / most if most > 0 else 0.0
        if height > 0:
            title = f"{hour:02}:00 to {(hour + 1) % 24:02}:00: {short(hours)} hours analysed"
            x = layout.label_px + hour * cell
            parts.append(rect(x + 1, top + _EFFORT_PX - height, cell - 2, height, "effort", title))
    return parts


def _heat(layout: Layout, rows: _Rows, top: float) -> tuple[list[str], float]:
    """Return the rows' elements and the y below the last one."""
    parts: list[str] = []
    cell = layout.plot_px / rows.columns
    gap = 1.0 if cell > 6 else 0.0
    for row, name in enumerate(rows.names):
        y = top + row * layout.row_px
        if layout.label_px:
            label = text(layout.label_px - 10, y + 15, fitted(name, layout.label_px - 14), None, "end")
            parts += [label, text(layout.width, y + 15, rows.totals[row], "muted", "end")]
        else:
            parts.append(text(0, y + 12, fitted(f"{name} ({rows.totals[row]})", layout.width, 12.5)))
            y += layout.cell_top_px
        parts.append(rect(layout.label_px, y, layout.plot_px, layout.cell_px, "zero"))
        for start, end in runs([rows.absent(row, column) for column in range(rows.columns)]):
            parts.append(rect(layout.label_px + start * cell, y, (end - start) * cell, layout.cell_px, "none"))
        for column in range(rows.columns):
            found = rows.cell(row, column)
            if found is not None:
                x = layout.label_px + column * cell
                title = f"{name}, {found[1]}" if layout.label_px else None
                parts.append(rect(x, y, cell - gap, layout.cell_px, f"c{found[0]}", title))
    return parts, top + len(rows.names) * layout.row_px


def _rate_cell(grid: Grid, scale: Scale, row: int, column: int, when: str) -> Cell:
    count = grid.counts[row][column]
    if not count:
        return None
    value = grid.value(row, column)
    if grid.effort_h is None:
        return scale.step(count), f"{when}: {numbered(count, 'detection')}"
    if value is None:  # coverage has no analysed audio there
        return 0, f"{when}: {numbered(count, 'detection')}, hours analysed unknown"
    hours = grid.effort_h[row][column]
    return scale.step(value), f"{when}: {short(value)} per hour ({count:,} in {short(hours)} h)"


def dates_chart(bins: DateBins, grid: Grid, scale: Scale) -> Markup:
    """Return stations over dates: detections of all species per analysed hour."""
    rows = _Rows(
        grid.rows,
        [f"{sum(counts):,}" for counts in grid.counts],
        bins.number,
        lambda row, column: _rate_cell(grid, scale, row, column, span_words(bins, column)),
        grid.absent,
    )
    return Markup("").join(_dates_drawing(layout, bins, rows) for layout in LAYOUTS)


def _dates_drawing(layout: Layout, bins: DateBins, rows: _Rows) -> Markup:
    parts, bottom = _heat(layout, rows, 4.0)
    cell = layout.plot_px / bins.number
    every = ceil(1.4 * layout.tick_px / cell)
    if bins.days == 1 and every > 3:
        every = ceil(every / 7) * 7
    for column in range(0, bins.number, every):
        x = layout.label_px + column * cell
        if x + layout.tick_px * 0.7 > layout.label_px + layout.plot_px and column:
            break
        parts.append(line(x, bottom, x, bottom + 4, "rule"))
        parts.append(
            text(x, bottom + 17, _day(bins.start(column), with_year=column == 0 and every * cell > _YEAR_PX), "axis")
        )
    name = f"Heat map: {numbered(len(rows.names), 'station')} over dates. The table below has the numbers."
    return picture(layout.width, bottom + _AXIS_PX, name, layout.class_, *parts)


def matrix_chart(grid: Grid, totals: Sequence[int], scale: Scale) -> Markup:
    """Return species over stations: detections per analysed hour."""
    rows = _Rows(
        grid.rows,
        [f"{n:,}" for n in totals],
        len(grid.columns),
        lambda row, column: _rate_cell(grid, scale, row, column, clean(grid.columns[column])),
        grid.absent,
    )
    return Markup("").join(_matrix_drawing(layout, grid.columns, rows) for layout in LAYOUTS)


def _matrix_drawing(layout: Layout, stations: Sequence[str], rows: _Rows) -> Markup:
    parts, bottom = _heat(layout, rows, 4.0)
    cell = layout.plot_px / len(stations)
    longest = max(len(fitted(station, _LONGEST_NAME_PX)) for station in stations) * _CHARACTER_PX
    upright = longest > cell - 4
    for column in range(0, len(stations), ceil(_LINE_PX / cell) if upright else 1):
        x, y = layout.label_px + (column + 0.5) * cell, bottom + 16
        name = fitted(stations[column], _LONGEST_NAME_PX)
        if upright:
            turned = f"rotate(-90 {x + 4:.1f} {bottom + 6:.1f})"
            parts.append(
                element("text", name, x=x + 4, y=bottom + 6, class_="axis", text_anchor="end", transform=turned)
            )
        else:
            parts.append(text(x, y, name, "axis", "middle"))
    height = longest + 12 if upright else _AXIS_PX
    name = f"Heat map: {len(rows.names)} species at {len(stations)} stations. The table below has the numbers."
    return picture(layout.width, bottom + height, name, layout.class_, *parts)


def timeline_chart(timeline: Timeline) -> Markup:
    """Return the species of a recording over its length, coloured by the highest confidence of each span."""

    def cell(row: int, column: int) -> Cell:
        confidence = timeline.highest[row][column]
        if confidence is None:
            return None
        return CONFIDENCE_SCALE.step(confidence), f"{duration_text(column * timeline.bin_s)}: up to {confidence:.2f}"

    rows = _Rows(
        timeline.rows,
        [f"{n:,}" for n in timeline.counts],
        len(timeline.highest[0]) if timeline.highest else 1,
        cell,
        lambda row, column: timeline.analysed is not None and not timeline.analysed[column],
    )
    return Markup("").join(_timeline_drawing(layout, timeline, rows) for layout in LAYOUTS)


def _timeline_drawing(layout: Layout, timeline: Timeline, rows: _Rows) -> Markup:
    parts, bottom = _heat(layout, rows, 4.0)
    cell = layout.plot_px / rows.columns
    step_s = tick_step_s(rows.columns * timeline.bin_s, layout.plot_px / (layout.tick_px * 1.2))
    for second in range(0, rows.columns * timeline.bin_s, step_s):
        x = layout.label_px + second / timeline.bin_s * cell
        if second and x + layout.tick_px * 0.8 > layout.label_px + layout.plot_px:
            break
        parts.append(line(x, bottom, x, bottom + 4, "rule"))
        words = duration_text(second)
        if timeline.started is not None:
            form = "%H:%M" if step_s % 60 == 0 and timeline.started.second == 0 else "%H:%M:%S"
            words = f"{timeline.started + timedelta(seconds=second):{form}}"
        parts.append(text(x, bottom + 17, words, "axis"))
    name = f"Timeline of a recording: {len(rows.names)} species. The table below has the numbers."
    return picture(layout.width, bottom + _AXIS_PX, name, layout.class_, *parts)


def histogram_chart(histogram: Histogram, threshold: float) -> Markup:
    """Return the confidence of a species' detections, with a line at the threshold and pale bars below it."""
    width, height, base = 220.0, 92.0, 70.0
    most = max(histogram.counts)
    parts: list[str] = []
    bar = width / HISTOGRAM_BINS
    for number, count in enumerate(histogram.counts):
        if not count:
            continue
        low, high = number / HISTOGRAM_BINS, (number + 1) / HISTOGRAM_BINS
        tall = max(1.5, (base - 8) * count / most)
        kind = "bar below" if high <= threshold + 1e-9 else "bar"
        parts.append(
            rect(number * bar + 0.7, base - tall, bar - 1.4, tall, kind, f"{low:.2f} to {high:.2f}: {count:,}")
        )
    parts.append(line(0, base, width, base, "rule"))
    if threshold > 0:
        parts.append(line(threshold * width, 0, threshold * width, base + 4, "threshold"))
    parts += [
        text(0, base + 17, "0", "axis"),
        text(width / 2, base + 17, "0.5", "axis", "middle"),
        text(width, base + 17, "1", "axis", "end"),
    ]
    name = f"Histogram of confidence: {histogram.label}. The table below has the numbers."
    return picture(width, height, name, "histogram", *parts)


def spectrogram_chart(picture_of: Spectrogram, passage: Passage, image: str, name: str) -> Markup:
    """Return a spectrogram with its axes and a box around the detection.

    `image` is the spectrogram as a `data:` address; `name` describes it to those who do not see it.
    """
    left, top, width, height = 34.0, 6.0, 400.0, 150.0
    length = picture_of.length_s
    parts: list[str] = [
        element(
            "image", href=image, x=left, y=top, width=width, height=height, preserveAspectRatio="none", class_="sound"
        ),
        rect(left, top, width, height, "frame"),
    ]
    start, end = (left + second / length * width for second in passage.marked_s)
    parts.append(rect(start, top + 1, max(end - start, 2.0), height - 2, "box"))
    step = next((khz for khz in (1, 2, 4, 10, 20, 50) if picture_of.top_hz / 1000 / khz <= 6), 100)
    for khz in range(0, int(picture_of.top_hz / 1000) + 1, step):
        y = top + height * (1 - khz * 1000 / picture_of.top_hz)
        parts.append(text(left - 5, min(max(y + 4, top + 9), top + height), f"{khz}", "axis", "end"))
    for second in range(int(length) + 1):
        x = left + second / length * width
        parts.append(line(x, top + height, x, top + height + 3, "rule"))
        last = x > left + width - 12
        parts.append(
            text(x, top + height + 15, f"{second} s" if second == 0 else f"{second}", "axis", "end" if last else None)
        )
    parts.append(text(left + 4, top + 12, "kHz", "axis on-sound"))
    return picture(left + width + 2, top + height + 20, name, "spectrogram", *parts)
