"""`badc review report`: precision of each species, thresholds, and where people disagree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from badc.errors import numbered
from badc.reports.query.spreadsheets import text_of
from badc.reports.review.draw import BANDS, Stratum
from badc.reports.review.precision import MOST_WIDTH, Fit, Precision, Scored, fit, precision, wilson
from badc.reports.review.samples import Agreement, Check, agreements, checks_of, read_sample
from badc.reports.review.settings import VerdictSettings
from badc.reports.review.verdicts import Answer, read_verdicts
from badc.system import atomic
from badc.system.paths import absolute
from badc.system.texts import csv_writer

_SAMPLE = "sample.csv"
_LEVELS = (0.9, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class SpeciesRow:
    """A row of thresholds.csv; see docs/formats.md."""

    label: str
    min_confidence: float | None
    target: float
    threshold_90: float | None
    threshold_95: float | None
    threshold_99: float | None
    threshold_low: float | None
    threshold_high: float | None
    intercept: float | None
    slope: float | None
    sampled_from: int | None
    checked: int
    correct: int
    wrong: int
    unsure: int
    precision: float | None
    low: float | None
    high: float | None
    kept_checked: int | None
    kept_correct: int | None
    kept_precision: float | None
    kept_low: float | None
    kept_high: float | None
    note: str


@dataclass(frozen=True, slots=True)
class BandRow:
    """A row of precision.csv: a species' checks in a band of the confidence; see docs/formats.md."""

    label: str
    band_low: float | None
    band_high: float | None
    detections: int | None
    checked: int
    correct: int
    wrong: int
    unsure: int
    precision: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class ConflictRow:
    """A row of conflicts.csv: a detection on which people disagree."""

    label: str
    recording_id: str
    start_ms: int
    confidence: float | None
    counted_as: str
    verdicts: str


@dataclass(frozen=True, slots=True)
class ReviewReport:
    """What the verdicts say."""

    species: list[SpeciesRow]
    bands: list[BandRow]
    agreements: list[Agreement]
    conflicts: list[ConflictRow]
    notes: tuple[str, ...]
    written: tuple[Path, ...]


def report_on_verdicts(settings: VerdictSettings) -> ReviewReport:
    """Work out precision and thresholds from verdicts, and write thresholds.csv, precision.csv and conflicts.csv.

    Raises
    ------
    RequestError
        If a file cannot be read or has wrong rows.
    """
    verdicts = [verdict for path in settings.verdicts for verdict in read_verdicts(absolute(path))]
    named = [absolute(path) for path in settings.sample]
    beside = [path for v in settings.verdicts if (path := absolute(v).with_name(_SAMPLE)).is_file()]
    samples = {path: read_sample(path) for path in dict.fromkeys(named or beside)}
    checks = checks_of(verdicts, samples)
    by_label: dict[str, list[Check]] = defaultdict(list)
    for check in checks:
        by_label[check.label].append(check)
    strata: dict[str, set[Stratum | None]] = defaultdict(set)
    for rows in samples.values():
        for row in rows:
            strata[row.label].add(row.stratum)
    species = [species_row(label, found, strata[label], settings.target) for label, found in sorted(by_label.items())]
    bands = [row for label, found in sorted(by_label.items()) for row in _band_rows(label, found)]
    conflicts = [_conflict(check) for check in checks if check.is_disputed]
    notes = []
    if not checks:
        notes.append("no verdict in these files, so nothing is written: the column verdict is empty in every row")
    if unscored := sum(check.confidence is None for check in checks):
        notes.append(
            f"{numbered(unscored, 'verdict')} without a confidence, which no threshold can use; --sample names the "
            "sample.csv that has them"
        )
    if unweighted := sum(check.stratum is None for check in checks):
        notes.append(
            f"{numbered(unweighted, 'detection')} not from a sample over bands of the confidence (--sample names the "
            "review's sample.csv): the precision of their species is that of the checked detections, not of all"
        )
    folder = absolute(settings.folder)
    tables: list[tuple[str, type[Any], Sequence[Any]]] = [
        ("thresholds", SpeciesRow, species),
        ("precision", BandRow, bands),
        ("conflicts", ConflictRow, conflicts),
    ]
    if checks and not conflicts:
        (folder / "conflicts.csv").unlink(missing_ok=True)  # of earlier verdicts
    written = tuple(
        _write(folder / f"{name}.csv", kind, rows, settings.for_spreadsheets) for name, kind, rows in tables if rows
    )
    return ReviewReport(species, bands, agreements(checks), conflicts, tuple(notes), written)


def species_row(label: str, checks: Sequence[Check], strata: Set[Stratum | None], target: float) -> SpeciesRow:
    """Return what the checks of a species say; `strata` are all from which its sample was drawn."""
    scored = _scored(checks)
    bands = {stratum for stratum in strata if stratum is not None}
    is_sample = bool(bands) and None not in strata
    whole = precision(scored)
    curve = fit(scored)
    notes = [curve] if isinstance(curve, str) else []
    threshold = None
    if not isinstance(curve, str):
        threshold, said = _within(curve.threshold(target).value, scored)
        notes += [said] if said else []
    if whole is not None and whole.high - whole.low > MOST_WIDTH:
        notes.append(f"too few checked: the precision is between {whole.low:.2f} and {whole.high:.2f}")
        threshold = None
    if is_sample and (bare := bands - {one.stratum for one in scored}):
        notes.append(f"{numbered(len(bare), 'band')} of the confidence without a verdict, not in the precision")
    kept = [one for one in scored if threshold is not None and one.score is not None and one.score >= threshold]
    correct = sum(one.correct for one in scored)
    whole_value, low, high = _numbers(whole)
    kept_value, kept_low, kept_high = _numbers(None if threshold is None else precision(scored, threshold))
    return SpeciesRow(
        label=label,
        min_confidence=_rounded(threshold),
        target=target,
        **_curve_cells(curve, scored, target),
        sampled_from=sum(band.detections for band in bands) if is_sample else None,
        checked=len(scored),
        correct=correct,
        wrong=len(scored) - correct,
        unsure=len(checks) - len(scored),
        precision=whole_value,
        low=low,
        high=high,
        kept_checked=None if threshold is None else len(kept),
        kept_correct=None if threshold is None else sum(one.correct for one in kept),
        kept_precision=kept_value,
        kept_low=kept_low,
        kept_high=kept_high,
        note="; ".join(notes),
    )


def _curve_cells(curve: Fit | str, scored: Sequence[Scored], target: float) -> dict[str, float | None]:
    names = ("threshold_90", "threshold_95", "threshold_99", "threshold_low", "threshold_high", "intercept", "slope")
    if isinstance(curve, str):
        return dict.fromkeys(names)
    interval = curve.threshold(target)
    levels = [_within(curve.threshold(level).value, scored)[0] for level in _LEVELS]
    values = (*levels, interval.low, interval.high, curve.intercept, curve.slope)
    return dict(zip(names, map(_rounded, values), strict=True))


def _within(threshold: float, scored: Sequence[Scored]) -> tuple[float | None, str]:
    """Return a threshold where somebody has checked, and what to say where nobody has: a curve knows nothing there."""
    scores = [one.score for one in scored if one.score is not None]
    if threshold > max(scores):
        return None, f"no threshold: it would be {threshold:.4g}, above every checked confidence"
    if threshold < min(scores):
        return min(scores), f"the threshold is the lowest checked confidence; the curve has {threshold:.4g}"
    return threshold, ""


def _scored(checks: Iterable[Check]) -> list[Scored]:
    return [
        Scored(check.confidence, check.answer is Answer.YES, check.stratum)
        for check in checks
        if check.answer is not Answer.UNSURE
    ]


def _band_rows(label: str, checks: Sequence[Check]) -> list[BandRow]:
    groups: dict[tuple[float, float, int | None] | None, list[Check]] = defaultdict(list)
    for check in checks:
        groups[_band(check)].append(check)
    rows = []
    for band, found in sorted(groups.items(), key=lambda item: (item[0] is None, item[0] or ())):
        scored = _scored(found)
        right = sum(one.correct for one in scored)
        part = wilson(right / max(len(scored), 1), len(scored))
        low, high, detections = band or (None, None, None)
        counts = (len(scored), right, len(scored) - right, len(found) - len(scored))
        rows.append(BandRow(label, low, high, detections, *counts, *_numbers(part)))
    return rows


def _band(check: Check) -> tuple[float, float, int | None] | None:
    if check.stratum is not None:
        return check.stratum.low, check.stratum.high, check.stratum.detections
    if check.confidence is None:
        return None
    number = min(int(check.confidence * BANDS + 1e-9), BANDS - 1)
    return number / BANDS, (number + 1) / BANDS, None


def _conflict(check: Check) -> ConflictRow:
    said = "; ".join(f"{who}: {answer}" + (f" ({other})" if other else "") for who, answer, other in check.verdicts)
    return ConflictRow(check.label, check.recording_id, check.start_ms, check.confidence, str(check.answer), said)


def _numbers(part: Precision | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if part is None else (_rounded(part.value), _rounded(part.low), _rounded(part.high))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _write(path: Path, kind: type[Any], rows: Sequence[Any], for_spreadsheets: bool) -> Path:
    names = [field.name for field in fields(kind)]
    with atomic.replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv_writer(stream)
        writer.writerow(names)
        for row in rows:
            cells = ["" if (value := getattr(row, name)) is None else value for name in names]
            writer.writerow([text_of(c) if for_spreadsheets and isinstance(c, str) else c for c in cells])
    return path
