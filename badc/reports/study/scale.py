"""The ordered colours of the plots, and the classes of values they stand for."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from math import floor, log10

# Six steps of even lightness in OKLCH, from yellow-green over teal to indigo. Lightness alone orders them, so they hold
# in grey and for colour-blind eyes. On a dark ground they run the other way: more is further from the ground.
LIGHT_STEPS = ("#d4ecae", "#82cf9c", "#08ac9c", "#008299", "#005584", "#202c5b")
STEPS = len(LIGHT_STEPS)
# Multiples of powers of ten at which classes may begin, from the finest to the coarsest.
_SERIES = ((1.0, 2.0, 5.0), (1.0, 3.0), (1.0,))
_MOST_PART_BELOW = 0.25
_NARROW = 4


@dataclass(frozen=True, slots=True)
class Scale:
    """Classes of positive values; `bounds` are the starts of all but the first, ascending, at most `STEPS - 1`."""

    bounds: tuple[float, ...]

    def step(self, value: float) -> int:
        """Return the colour of a positive value: 0 (least) to `STEPS - 1`."""
        return self.colour(bisect_right(self.bounds, value))

    def colour(self, number: int) -> int:
        """Return the colour of a class by its number from 0; if there are few, their colours are far apart."""
        return round(number * (STEPS - 1) / len(self.bounds)) if self.bounds else STEPS // 2

    def names(self) -> list[str]:
        """Return the name of each class for a legend."""
        if not self.bounds:
            return ["any"]
        shown = [short(bound) for bound in self.bounds]
        between = [f"{low} to {high}" for low, high in pairwise(shown)]
        return [f"less than {shown[0]}", *between, f"{shown[-1]} or more"]


def scale_of(values: Iterable[float]) -> Scale:
    """Return classes with round bounds for these values.

    Rates of common and rare species differ by orders of magnitude; equal steps would put all rare ones into one class.
    So the bounds grow by about the same factor, the smallest of 2, 3 and 10 that leaves at most a quarter of the values
    below the first bound. If the largest value is less than four times the smallest, the classes are equal steps from
    0, so that small differences do not look large.
    """
    positive = sorted(value for value in values if value > 0)
    if not positive:
        return Scale(())
    low, high = positive[0], positive[-1]
    if high < _NARROW * low:
        step = _round_up(high / STEPS)
        return Scale(tuple(_exact(step * number) for number in range(1, STEPS) if step * number <= high))
    quarter = positive[int(len(positive) * _MOST_PART_BELOW)]
    bounds: tuple[float, ...] = ()
    for series in _SERIES:
        below = [part * 10.0**power for power in range(-9, 13) for part in series if part * 10.0**power <= high]
        bounds = tuple(_exact(bound) for bound in below[-(STEPS - 1) :])
        if bounds and bounds[0] <= quarter:
            break
    return Scale(bounds[bisect_right(bounds, low) :])  # classes below every value say nothing


def _round_up(value: float) -> float:
    """Return the least of 1, 2, 2.5, 5 and 10 times a power of ten that is not below a positive value."""
    power = 10.0 ** floor(log10(value))
    return next(_exact(part * power) for part in (1, 2, 2.5, 5, 10) if part * power >= value * (1 - 1e-9))


def _exact(value: float) -> float:
    return float(f"{value:.6g}")


CONFIDENCE_SCALE = Scale((0.3, 0.5, 0.7, 0.8, 0.9))


def short(value: float) -> str:
    """Return a number rounded for reading: `1,234`, `56.7`, `0.042`."""
    if value == 0:
        return "0"
    if abs(value) >= 99.95:
        return f"{value:,.0f}"
    if abs(value) >= 9.995:
        return f"{value:.1f}".removesuffix(".0")
    digits = f"{value:.2f}" if abs(value) >= 1 else f"{value:.2g}"
    if "e" in digits:
        return f"{value:.1e}"
    return digits.rstrip("0").rstrip(".") if "." in digits else digits
