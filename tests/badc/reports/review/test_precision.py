"""Precision, its interval, and the fit, against published numbers and sums by hand."""

from __future__ import annotations

import math

import pytest

from badc.reports.review.draw import Stratum
from badc.reports.review.precision import Fit, Scored, fit, precision, wilson


@pytest.mark.parametrize(
    ("part", "of", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_as_published(part: int, of: int, low: float, high: float) -> None:
    # Table I of R. G. Newcombe 1998, "Two-sided confidence intervals for the single proportion", Stat. Med. 17.
    found = wilson(part / of, of)

    assert found is not None
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
    mirrored = wilson(1 - part / of, of)
    assert mirrored is not None
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - high, 1 - low), abs=5e-5)
    assert wilson(0, 0) is None


def of(stratum: Stratum | None, right: int, wrong: int, score: float = 0.5) -> list[Scored]:
    """Return so many checks of a band that are right and wrong."""
    return [Scored(score, True, stratum)] * right + [Scored(score, False, stratum)] * wrong


LOW, HIGH = Stratum(0.1, 0.2, 900, 10), Stratum(0.9, 1.0, 100, 10)


def test_a_band_counts_by_its_detections_and_not_by_its_checks() -> None:
    found = precision([*of(LOW, 2, 8, 0.15), *of(HIGH, 9, 1, 0.95)])

    assert found is not None
    assert found.value == pytest.approx((900 * 0.2 + 100 * 0.9) / 1000)
    # By hand: guarded proportions 3/12 and 10/12, shares 0.9 and 0.1.
    variance = 0.81 * 0.25 * 0.75 / 10 + 0.01 * (10 / 12) * (2 / 12) / 10
    guarded = 0.9 * 0.25 + 0.1 * 10 / 12
    expected = wilson(0.27, guarded * (1 - guarded) / variance)
    assert expected is not None
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert precision([*of(LOW, 2, 8), *of(HIGH, 9, 1), *of(None, 0, 0)]) is not None
    plain = precision([*of(LOW, 2, 8), *of(None, 9, 1)])
    assert plain is not None
    assert plain.value == pytest.approx(11 / 20), "one without a band: all count alike"
    assert precision([]) is None


def test_all_right_is_exactly_1_and_not_sure() -> None:
    bands = [Stratum(n / 10, (n + 1) / 10, 7 + n, 3) for n in range(10)]
    found = precision([one for band in bands for one in of(band, 3, 0)])

    assert found is not None
    assert (found.value, found.high) == (1.0, 1.0)
    assert 0.8 < found.low < 0.95


def test_what_a_threshold_keeps_of_a_band_that_it_cuts() -> None:
    # Of the low band, half of the checks are kept, so half of its 900 detections are.
    low = [Scored(0.12, False, LOW)] * 5 + [Scored(0.18, True, LOW)] * 3 + [Scored(0.18, False, LOW)] * 2
    found = precision([*low, *of(HIGH, 9, 1, 0.95)], 0.15)

    assert found is not None
    assert found.value == pytest.approx((450 * 0.6 + 100 * 0.9) / 550)
    unbanded = precision([*of(None, 1, 3, 0.4), *of(None, 4, 1, 0.8)], 0.6)
    assert unbanded == wilson(0.8, 5)


def expit(x: float) -> float:
    return 1 / (1 + math.exp(-x))


HOURS = (0.5, 0.75, 1, 1.25, 1.5, 1.75, 1.75, 2, 2.25, 2.5, 2.75, 3, 3.25, 3.5, 4, 4.25, 4.5, 4.75, 5, 5.5)
PASSED = (0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 1, 1, 1, 1, 1)


def test_the_fit_is_that_of_a_known_example() -> None:
    # Hours of study and a passed exam, as in Wikipedia's article on logistic regression: coefficients -4.0777 and
    # 1.5046 with standard errors 1.7610 and 0.6287. Scores are such that their logits are the hours.
    found = fit([Scored(expit(hours), bool(passed), None) for hours, passed in zip(HOURS, PASSED, strict=True)])

    assert isinstance(found, Fit)
    assert (found.intercept, found.slope) == pytest.approx((-4.0777, 1.5046), abs=5e-5)
    assert (found.covariance[0] ** 0.5, found.covariance[2] ** 0.5) == pytest.approx((1.7610, 0.6287), abs=5e-5)
    assert found.probability(expit(2)) == pytest.approx(0.26, abs=0.005)
    at_half = found.threshold(0.5)
    assert at_half.value == pytest.approx(expit(4.0777 / 1.5046), abs=1e-4)
    assert found.probability(found.threshold(0.95).value) == pytest.approx(0.95)
    assert at_half.low < at_half.value < at_half.high


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ([(0.5, True)] * 9, "too few checked: 9 with a confidence, of 10 at least"),
        ([(0.5, True)] * 12, "cannot be fitted: all correct"),
        ([(0.5, False)] * 12, "cannot be fitted: all wrong"),
        ([(0.3, False)] * 6 + [(0.6, True)] * 6, "cannot be fitted: all wrong up to 0.3, all correct from 0.6 on"),
        ([(0.3, False)] * 6 + [(0.3, True), *[(0.6, True)] * 6], "cannot be fitted: all wrong up to 0.3"),
        ([(0.3, True)] * 6 + [(0.6, False)] * 6, "cannot be fitted: the lower confidences are correct"),
        ([(0.5, True)] * 6 + [(0.5, False)] * 6, "cannot be fitted"),
        (
            [(0.3, True), (0.3, True), (0.3, False), (0.8, False), (0.8, False), (0.8, True)] * 3,
            "higher confidences are not",
        ),
        ([(None, True)] * 12, "too few checked: 0 with a confidence"),
    ],
)
def test_what_cannot_be_fitted_says_why(scores: list[tuple[float | None, bool]], said: str) -> None:
    found = fit([Scored(score, correct, None) for score, correct in scores])

    assert isinstance(found, str)
    assert said in found


def test_scores_of_0_and_1_and_steep_curves_are_no_trouble() -> None:
    steep = [(0.0, False)] * 20 + [(1.0, True)] * 20 + [(0.5, True), (0.52, False), (0.49, False), (0.51, True)]
    found = fit([Scored(score, correct, None) for score, correct in steep])

    assert isinstance(found, Fit)
    assert 0.4 < found.threshold(0.9).value < 1
