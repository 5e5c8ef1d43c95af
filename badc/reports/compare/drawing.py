"""Pictures of a comparison: precision over recall for each species, and the confidences of two tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from badc.reports.compare.settings import Unit
from badc.reports.drawing import ACCENT, BAR, INK, SOFT, new_figure, save_figure
from badc.reports.study.words import fitted

if TYPE_CHECKING:
    import duckdb
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_SPECIES = 16
_COLUMNS = 4
_PANEL_IN = 2.4
_MOST_POINTS = 2_000  # of a species


def draw_curves(database: duckdb.DuckDBPyConnection, unit: Unit, path: Path) -> Path | None:
    """Draw precision over recall of the species with the most labels; None if no species was heard and detected.

    Then the picture of an earlier comparison is removed, which would be taken for that of this one.

    A point is a threshold; the cross is what the chosen detections have.
    """
    best = f"unit = '{unit.value}' AND heard > 0 AND detected > 0"
    species = database.execute(
        f"SELECT label, recall, precision FROM scores WHERE {best} ORDER BY heard DESC, label LIMIT {_MOST_SPECIES}"
    ).fetchall()
    if not species:
        path.unlink(missing_ok=True)
        return None
    figure = _panels(len(species), f"Precision and recall by {unit.value}, at thresholds 0, 0.05, …")
    for axes, (label, recall, precision) in zip(figure.axes, species, strict=False):
        points = database.execute(
            f"SELECT recall, precision FROM curves WHERE unit = '{unit.value}' AND label = ? AND detected > 0 "
            "ORDER BY threshold",
            [label],
        ).fetchall()
        axes.plot(*zip(*points, strict=True), ".-", color=BAR, linewidth=1)
        axes.plot(recall, precision, "+", color=ACCENT, markersize=10, markeredgewidth=2)
        _name(axes, label, "recall", "precision")
    save_figure(figure, path)
    return path


def draw_confidences(database: duckdb.DuckDBPyConnection, path: Path) -> Path | None:
    """Draw both tables' highest confidence in each minute, of the species with the most such minutes, or return None.

    Minutes in which only one table has the species lie on its axis.
    """
    species = database.execute(
        "SELECT label, count(*) FROM pairs WHERE confidence_first IS NOT NULL OR confidence_second IS NOT NULL "
        f"GROUP BY label ORDER BY count(*) DESC, label LIMIT {_MOST_SPECIES}"
    ).fetchall()
    if not species:
        path.unlink(missing_ok=True)
        return None
    figure = _panels(len(species), "Highest confidence by minute, in the one table and in the other")
    for axes, (label, _) in zip(figure.axes, species, strict=False):
        points = database.execute(
            "SELECT coalesce(confidence_first, 0), coalesce(confidence_second, 0) FROM pairs WHERE label = ? "
            f"ORDER BY hash(recording_id, minute) LIMIT {_MOST_POINTS}",
            [label],
        ).fetchall()
        axes.plot([0, 1], [0, 1], color=SOFT, linewidth=0.5)
        axes.plot(
            [point[0] for point in points], [point[1] for point in points], ".", color=BAR, alpha=0.5, markersize=4
        )
        _name(axes, label, "TABLE", "--other")
    save_figure(figure, path)
    return path


def _panels(number: int, title: str) -> Figure:
    columns = min(_COLUMNS, number)
    rows = -(-number // columns)
    figure = new_figure(0.7 + _PANEL_IN * rows)
    figure.suptitle(title, color=INK, fontsize=13)
    for spare in figure.subplots(rows, columns, squeeze=False).flat[number:]:
        spare.remove()
    return figure


def _name(axes: Axes, label: str, below: str, beside: str) -> None:
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(-0.03, 1.03)
    axes.set_title(fitted(label, 190), fontsize=9.5, color=INK, parse_math=False)
    axes.set_xlabel(below, fontsize=8, color=SOFT)
    axes.set_ylabel(beside, fontsize=8, color=SOFT)
    axes.tick_params(labelsize=8, labelcolor=SOFT, length=2)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
