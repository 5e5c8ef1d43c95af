"""A line of values as a small picture."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

_WIDTH, _HEIGHT = 240, 32
_LINE, _AREA = (30, 100, 200), (190, 212, 240)


def sparkline_png(values: Sequence[float], highest: float) -> bytes:
    """Return a PNG of 240 × 32 pixels: a line of values from 0 to `highest` (the upper edge), newest on the right."""
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (_WIDTH, _HEIGHT), "white")
    draw = ImageDraw.Draw(picture)
    step = (_WIDTH - 1) / max(1, len(values) - 1)
    points = [
        (round(number * step), round((_HEIGHT - 1) * (1 - min(max(value, 0.0), highest) / highest)))
        for number, value in enumerate(values)
    ]
    if len(points) == 1:
        points.append((_WIDTH - 1, points[0][1]))
    if points:
        draw.polygon([(points[0][0], _HEIGHT - 1), *points, (points[-1][0], _HEIGHT - 1)], fill=_AREA)
        draw.line(points, fill=_LINE, width=2)
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def as_data_uri(png: bytes) -> str:
    """Return a PNG as a `data:` URI, for a page without separate files."""
    return "data:image/png;base64," + base64.b64encode(png).decode()
