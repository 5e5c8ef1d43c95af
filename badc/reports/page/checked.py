"""What the page says of thresholds, and of what people checked."""

from __future__ import annotations

from badc.errors import numbered
from badc.reports.query.thresholds import Threshold
from badc.reports.study.data import Findings

NOBODY = "No person has checked these detections."


def checked_words(found: Findings) -> str:
    """Return who checked the detections, in a sentence."""
    checks = [own for species in found.species if (own := _check(found, species.label)) is not None]
    if not checks:
        return NOBODY
    number = sum(check.checked or 0 for check in checks)
    drawn_from = [check.sampled_from for check in checks]
    total = "" if None in drawn_from else f" of {sum(n or 0 for n in drawn_from):,}"
    what = f"People checked {number:,}{total} detections"
    others = len(found.species) - len(checks)
    if not others:
        return f"{what} of these species; the table of species has how many were right."
    return f"{what} of {len(checks):,} species, see the table of species; nobody checked the other {others:,}."


def _check(found: Findings, label: str) -> Threshold | None:
    own = found.thresholds.get(label)
    return own if own is not None and own.checked else None


def check_cell(found: Findings, label: str) -> str:
    """Return how many detections of a species people checked, and how many of those that count here are right."""
    check = _check(found, label)
    if check is None:
        return "–"
    words = f"{check.checked:,}" + ("" if check.sampled_from is None else f" of {check.sampled_from:,}")
    if check.precision is None:
        return words
    between = "" if check.low is None or check.high is None else f" ({check.low:.2f} to {check.high:.2f})"
    return f"{words}, precision {check.precision:.2f}{between}"


def has_checks(found: Findings) -> bool:
    """Whether people checked any species."""
    return any(_check(found, species.label) is not None for species in found.species)


def counted_words(found: Findings) -> str:
    """Return which detections count, to follow `detections`; empty if all do."""
    least = f"with a confidence of at least {found.min_confidence:g}" if found.min_confidence > 0 else ""
    own = [found.thresholds.get(species.label) for species in found.species]
    without = sum(one is None or one.min_confidence is None for one in own)
    if without == len(own):
        return least
    name = "" if found.choice.thresholds is None else f" in {found.choice.thresholds.name}"
    words = f"from their species' own threshold{name} on"
    if not without:
        return words
    return f"{words}, or of {numbered(without, 'species', 'species')} without one {least or 'with any confidence'}"
