"""How the page and the plots write dates, times and names."""

from __future__ import annotations

import re
from datetime import date, timedelta

from badc.reports.study.data import DateBins

# Invisible characters that HTML forbids, but a label or an id may contain.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_CHARACTER_PX = 0.55  # mean width of a character, by the size of the text


def clean(text: str) -> str:
    """Return a text on one line, with characters that HTML forbids replaced."""
    return " ".join(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", text).split())


def fitted(words: str, width: float, size: float = 13.0) -> str:
    """Return a text cut to about fit a width in px."""
    words = clean(words)
    most = max(3, int(width / (size * _CHARACTER_PX)))
    return words if len(words) <= most else words[: most - 1].rstrip() + "…"


def span_words(bins: DateBins, column: int) -> str:
    """Return a span of dates in words."""
    first = bins.start(column)
    if bins.days == 1:
        return _day(first)
    return f"{_day(first)} to {_day(first + timedelta(days=bins.days - 1))}"


def _day(day: date, with_year: bool = False) -> str:
    return f"{day.day} {day:%b %Y}" if with_year else f"{day.day} {day:%b}"
