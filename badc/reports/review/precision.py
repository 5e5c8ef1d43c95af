"""How often a species is right, and from which confidence on: precision with its interval, and a logistic fit."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from badc.reports.review.draw import Stratum

if TYPE_CHECKING:
    import numpy as np

Z_95 = 1.959963984540054
LEAST_CHECKED = 10  # below, a curve through the verdicts means nothing
MOST_WIDTH = 0.3  # of the interval; some 40 checks of which half are right
_EDGE = 1e-4  # the last digit of a score in the tables; 0 and 1 have no logit
_STEPS = 50
_CLOSE = 1e-10


@dataclass(frozen=True, slots=True)
class Precision:
    """The part of the detections that are right, with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Scored:
    """A detection that somebody found right or wrong."""

    score: float | None
    correct: bool
    stratum: Stratum | None


@dataclass(frozen=True, slots=True)
class Fit:
    """P(correct) = 1 / (1 + exp(-(intercept + slope * logit(score)))), as fitted."""

    intercept: float
    slope: float
    covariance: tuple[float, float, float]  # of intercept; of intercept and slope; of slope

    def probability(self, score: float) -> float:
        """Return the chance that a detection of this score is right."""
        return _expit(self.intercept + self.slope * _logit(score))

    def threshold(self, probability: float) -> Precision:
        """Return the score at which a detection is right with this probability, with its 95 % interval.

        The interval is by the delta method, on the scale of logits.
        """
        at = (math.log(probability / (1 - probability)) - self.intercept) / self.slope
        by_intercept, by_slope = -1 / self.slope, -at / self.slope
        of_intercept, of_both, of_slope = self.covariance
        variance = by_intercept**2 * of_intercept + 2 * by_intercept * by_slope * of_both + by_slope**2 * of_slope
        reach = Z_95 * math.sqrt(max(variance, 0.0))
        return Precision(_expit(at), _expit(at - reach), _expit(at + reach))


def wilson(part: float, checked: float) -> Precision | None:
    """Return a proportion with Wilson's score interval of 95 %; None without a check.

    Source: E. B. Wilson 1927, "Probable inference, the law of succession, and statistical inference", Journal of the
    American Statistical Association 22: 209-212. It does not leave 0 to 1, and holds for few checks and for none wrong.
    """
    if checked <= 0:
        return None
    z = Z_95
    middle = (part + z**2 / (2 * checked)) / (1 + z**2 / checked)
    reach = z / (1 + z**2 / checked) * math.sqrt(part * (1 - part) / checked + z**2 / (4 * checked**2))
    return Precision(part, max(0.0, middle - reach), min(1.0, middle + reach))


def precision(checks: Sequence[Scored], from_score: float = 0.0) -> Precision | None:
    """Return the precision of the detections that were drawn from, not only of the checked ones; None without a check.

    Each band of the score counts as much as it has detections, whatever part of it was checked: weights are detections
    / checks of the band. `from_score` takes only what has at least that score; of a band that it cuts, the part that it
    keeps of the checks.

    The interval is Wilson's with the effective number of checks, which would give the same variance without bands (C.
    Franco et al. 2019, "Comparative study of confidence intervals for proportions in complex sample surveys", Journal
    of Survey Statistics and Methodology 7: 334-364). A band's own variance is taken at (correct + 1) / (checks + 2),
    since a few checks that are all right do not prove that all are. If some detection is from no band, all count alike.
    """
    kept = [check for check in checks if from_score <= 0 or (check.score is not None and check.score >= from_score)]
    if any(check.stratum is None for check in checks):
        return wilson(sum(check.correct for check in kept) / max(len(kept), 1), len(kept))
    checked = Counter(check.stratum for check in checks)
    bands: dict[Stratum, list[bool]] = {}
    for check in kept:
        assert check.stratum is not None
        bands.setdefault(check.stratum, []).append(check.correct)
    sizes = {band: band.detections * len(found) / checked[band] for band, found in bands.items()}
    total = sum(sizes.values())
    part = guarded = variance = 0.0
    for band, found in bands.items():
        share, guess = sizes[band] / total, (sum(found) + 1) / (len(found) + 2)
        part += share * sum(found) / len(found)
        guarded += share * guess
        variance += share**2 * guess * (1 - guess) / len(found)
    # Sums of shares are not exactly 1.
    return wilson(round(part, 12), guarded * (1 - guarded) / variance) if bands else None


def fit(checks: Sequence[Scored]) -> Fit | str:
    """Return the logistic regression of right or wrong on the logit of the score, or why there is none.

    Source: C. M. Wood and S. Kahl 2024, "Guidelines for appropriate use of BirdNET scores and other detector outputs",
    Journal of Ornithology 165: 777-782, who take scores to the logit scale and thresholds from the fitted curve. The
    checks are not weighted: they were drawn by the score alone, and the curve is of what is right given the score.
    """
    import numpy as np

    scored = [(check.score, check.correct) for check in checks if check.score is not None]
    if len(scored) < LEAST_CHECKED:
        return f"too few checked: {len(scored)} with a confidence, of {LEAST_CHECKED} at least"
    right = [score for score, correct in scored if correct]
    wrong = [score for score, correct in scored if not correct]
    if not wrong:
        return "cannot be fitted: all correct"
    if not right:
        return "cannot be fitted: all wrong"
    if max(wrong) <= min(right):
        return f"cannot be fitted: all wrong up to {max(wrong):.4g}, all correct from {min(right):.4g} on"
    if max(right) <= min(wrong):
        return "cannot be fitted: the lower confidences are correct, the higher ones wrong"
    x = np.array([_logit(score) for score, _ in scored])
    found = _newton(x, np.array([correct for _, correct in scored], dtype=float))
    if found is None:
        return "cannot be fitted: the fit does not settle"
    if found.slope <= 0:
        return "cannot be fitted: higher confidences are not more often correct"
    return found


def _newton(
    x: np.ndarray[tuple[int], np.dtype[np.float64]], y: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> Fit | None:
    """Return the fit of greatest likelihood, by iteratively reweighted least squares; None if it does not settle."""
    import numpy as np

    design = np.column_stack([np.ones_like(x), x])
    beta = np.zeros(2)
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(design @ beta, -500, 500)))
        information = design.T @ (design * (chance * (1 - chance))[:, None])
        try:
            step = np.linalg.solve(information, design.T @ (y - chance))
        except np.linalg.LinAlgError:
            return None
        # Newton's steps may overshoot from 0; halves of long ones do not.
        beta = beta + step / max(1.0, float(np.abs(step).max()) / 5)
        if float(np.abs(step).max()) < _CLOSE:
            covariance = np.linalg.inv(information)
            of = (float(covariance[0, 0]), float(covariance[0, 1]), float(covariance[1, 1]))
            return Fit(float(beta[0]), float(beta[1]), of)
    return None


def _logit(score: float) -> float:
    score = min(max(score, _EDGE), 1 - _EDGE)
    return math.log(score / (1 - score))


def _expit(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
