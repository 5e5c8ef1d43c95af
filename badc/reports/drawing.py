"""What all PNG files of the reports look like: white, with the colours of the page."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from badc.system import atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 150
_WIDTH_IN = 10.0
INK, SOFT, ZERO, HATCH, ACCENT, BAR, PALE = (
    "#1b2422",
    "#53605b",
    "#f0f1ec",
    "#8b9791",
    "#b3360b",
    "#08857f",
    "#c3ccc7",
)


def new_figure(height_in: float) -> Figure:
    """Return an empty figure, ten inches wide."""
    from matplotlib.figure import Figure

    return Figure(figsize=(_WIDTH_IN, height_in), layout="constrained", facecolor="white")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG file."""
    with atomic.replacing(path) as temporary, warnings.catch_warnings():
        # A label in a script that the font lacks is drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(temporary, format="png", dpi=_DPI)
