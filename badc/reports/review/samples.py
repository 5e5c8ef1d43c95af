"""Verdicts together with the samples that their detections were drawn in, and of several people into one."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from badc.errors import RequestError, listed
from badc.recordings.names import nfc
from badc.reports.review.draw import Stratum
from badc.reports.review.verdicts import Answer, Verdict
from badc.system.texts import read_each, read_table, spelling

_COLUMNS = ("clip", "label", "recording_id", "start_ms", "confidence")
_OPTIONAL = ("label_code", "label_name", "band_low", "band_high", "band_detections", "band_drawn")
_NEAR_MS = 500  # a selection may have been nudged in Raven or Audacity


@dataclass(frozen=True, slots=True)
class Sampled:
    """A row of `sample.csv`; `stratum` is None in a sample of the strongest detections."""

    clip: str
    label: str
    names: tuple[str, ...]  # label, code and name, as they are compared
    recording_id: str
    start_ms: int
    confidence: float
    stratum: Stratum | None


@dataclass(frozen=True, slots=True)
class Check:
    """What is known of a detection after all have spoken."""

    label: str
    recording_id: str
    start_ms: int
    confidence: float | None
    answer: Answer  # of most; unsure if there is no majority
    verdicts: tuple[tuple[str, Answer, str], ...]  # reviewer, answer and other species
    stratum: Stratum | None

    @property
    def is_disputed(self) -> bool:
        """Whether two people said different things."""
        return len({answer for _, answer, _ in self.verdicts}) > 1


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two people agree on the detections that both checked."""

    first: str
    second: str
    both: int
    agreed: int
    kappa: float | None  # None where chance alone would make them agree


def read_sample(path: Path) -> list[Sampled]:
    """Return the rows of a `sample.csv`.

    Raises
    ------
    RequestError
        If it cannot be read, lacks a column or has a wrong number.
    """
    return [row for _, row in read_each(path, read_table(path, "sample", _COLUMNS, _OPTIONAL), _sampled)]


def _sampled(row: Mapping[str, str]) -> Sampled:
    try:
        stratum = None
        if row["band_detections"]:
            sizes = int(row["band_detections"]), int(row["band_drawn"])
            stratum = Stratum(float(row["band_low"]), float(row["band_high"]), *sizes)
        start_ms, confidence = int(row["start_ms"]), float(row["confidence"])
    except ValueError:
        raise ValueError("a number is missing or wrong") from None
    names = tuple(spelling(row[key]) for key in ("label", "label_code", "label_name") if row[key])
    return Sampled(row["clip"], nfc(row["label"]), names, nfc(row["recording_id"]), start_ms, confidence, stratum)


def checks_of(verdicts: Sequence[Verdict], samples: dict[Path, list[Sampled]]) -> list[Check]:
    """Return what was said of each detection; one person's later verdict replaces the earlier one.

    A verdict that names only its clip is looked up in the sample of its own folder, or in the only one.

    Raises
    ------
    RequestError
        If there is no sample with that clip.
    """
    known: dict[tuple[str, str], list[Sampled]] = defaultdict(list)
    for drawn in (drawn for rows in samples.values() for drawn in rows):
        for name in drawn.names:
            known[drawn.recording_id, name].append(drawn)
    # Without a row of a sample, a species is called as in any of them, or as it was called first.
    labels = {name: drawn.label for rows in samples.values() for drawn in rows for name in drawn.names}
    clips = {path.parent: {row.clip: row for row in rows} for path, rows in samples.items()}
    said: dict[tuple[str, str, int], dict[str, Verdict]] = defaultdict(dict)
    found: dict[tuple[str, str, int], Sampled | None] = {}
    problems: list[str] = []
    for verdict in verdicts:
        row = _drawn(verdict, known, clips)
        if row is None and (verdict.recording_id is None or verdict.label is None or verdict.start_ms is None):
            problems.append(
                f"{verdict.place}: no sample has a clip {verdict.clip}; --sample names the sample.csv that it is from"
            )
            continue
        if row is None:
            assert verdict.recording_id is not None
            assert verdict.label is not None
            assert verdict.start_ms is not None
            label = labels.setdefault(spelling(verdict.label), verdict.label)
            key = (label, verdict.recording_id, verdict.start_ms)
        else:
            key = (row.label, row.recording_id, row.start_ms)
        found[key] = row
        before = said[key].get(verdict.reviewer)
        if before is None or verdict.checked_at >= before.checked_at:
            said[key][verdict.reviewer] = verdict
    if problems:
        raise RequestError(listed(problems))
    return [_check(key, list(by.values()), found[key]) for key, by in sorted(said.items())]


def _drawn(
    verdict: Verdict, known: dict[tuple[str, str], list[Sampled]], clips: dict[Path, dict[str, Sampled]]
) -> Sampled | None:
    """Return the row of the sample that a verdict is on, if there is one."""
    if verdict.recording_id is not None and verdict.label is not None and verdict.start_ms is not None:
        start_ms = verdict.start_ms
        rows = known.get((verdict.recording_id, spelling(verdict.label)), [])
        near = [row for row in rows if abs(row.start_ms - start_ms) <= _NEAR_MS]
        return min(near, key=lambda row: abs(row.start_ms - start_ms), default=None)
    if verdict.clip is None:
        return None
    folder = Path(verdict.place.rpartition(":")[0]).parent
    there = clips.get(folder) or (next(iter(clips.values())) if len(clips) == 1 else {})
    # Spreadsheets take the zeros away from `0001`.
    return there.get(verdict.clip) or next(
        (row for clip, row in there.items() if clip.lstrip("0") == verdict.clip.lstrip("0")), None
    )


def _check(key: tuple[str, str, int], verdicts: Sequence[Verdict], row: Sampled | None) -> Check:
    label, recording_id, start_ms = key
    counts = Counter(verdict.answer for verdict in verdicts)
    answer, most = counts.most_common(1)[0]
    if 2 * most <= len(verdicts):
        answer = Answer.UNSURE
    confidence = (
        next((v.confidence for v in verdicts if v.confidence is not None), None) if row is None else row.confidence
    )
    said = tuple(sorted((v.reviewer, v.answer, v.other_label) for v in verdicts))
    return Check(label, recording_id, start_ms, confidence, answer, said, None if row is None else row.stratum)


def agreements(checks: Iterable[Check]) -> list[Agreement]:
    """Return how far each two people agree, by Cohen's kappa over the answers y, n and ?.

    Kappa is (observed - expected) / (1 - expected), where `expected` is the agreement of two people who answer at
    random as often as these did (J. Cohen 1960, "A coefficient of agreement for nominal scales", Educational and
    Psychological Measurement 20: 37-46).
    """
    pairs: dict[tuple[str, str], list[tuple[Answer, Answer]]] = defaultdict(list)
    for check in checks:
        for (first, one, _), (second, other, _) in combinations(check.verdicts, 2):
            pairs[first, second].append((one, other))
    found = []
    for (first, second), answers in sorted(pairs.items()):
        n = len(answers)
        agreed = sum(one == other for one, other in answers)
        ones, others = Counter(one for one, _ in answers), Counter(other for _, other in answers)
        expected = sum(ones[answer] * others[answer] for answer in Answer) / n**2
        kappa = None if expected == 1 else (agreed / n - expected) / (1 - expected)
        found.append(Agreement(first, second, n, agreed, kappa))
    return found
