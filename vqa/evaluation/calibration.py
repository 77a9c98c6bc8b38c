"""Calibration of answers' probabilities, and the one below which to answer "not sure"."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vqa.metrics.metric import Array

BINS = 15
_POINTS = 100  # of the curve


@dataclass(frozen=True)
class CalibrationBin:
    """Answers of similar probability."""

    count: int
    probability: float  # their mean
    score: float  # their mean


@dataclass(frozen=True)
class Calibration:
    """Agreement of probabilities with scores. All are fractions, from 0 to 1."""

    count: int  # answers that have a probability
    mean_probability: float
    mean_score: float
    expected_calibration_error: float  # over `bins` of equal count (Naeini et al. 2015)
    bins: tuple[CalibrationBin, ...]
    risk_coverage_area: float  # mean risk over all coverages; less is better (Geifman et al. 2019)
    risk_coverage: tuple[tuple[float, float], ...]  # share answered, 1 - mean score of these
    threshold: float | None  # of "not sure"; None: no answer is worth giving, 0: every one is
    coverage: float  # share of answers with at least the threshold
    score_above: float | None  # their mean score
    score_below: float | None  # of the others


def compute_calibration(probabilities: Array, scores: Array) -> Calibration:
    """Compute the calibration of N answers: probabilities [N] and scores [N], N at least 1.

    Answers of equal probability always stay together, so that the order of rows changes nothing.
    The threshold is the one that gains most where a right answer counts +1, a wrong one -1 and "not
    sure" 0: the probability from which on an answer is rather right than wrong.
    """
    number = len(probabilities)
    levels, index = np.unique(probabilities, return_inverse=True)  # [L], rising
    counts = np.bincount(index)[::-1]  # [L], of falling probability
    totals = np.bincount(index, scores)[::-1]  # [L]
    levels = levels[::-1]
    answered = counts.cumsum()  # [L]
    right = totals.cumsum()  # [L]

    each = np.repeat(totals / counts, counts)  # [N]
    risks = 1 - each.cumsum() / np.arange(1, number + 1)  # [N]
    points = np.unique(np.linspace(0, number - 1, min(number, _POINTS)).round().astype(int))

    bins = _bins(probabilities, scores)
    gain = 2 * right - answered  # [L]
    best = len(gain) - 1 - int(gain[::-1].argmax())  # of equal ones the widest
    some = gain[best] > 0
    above = int(answered[best]) if some else 0
    good = float(right[best]) if some else 0.0
    return Calibration(
        number,
        float(probabilities.mean()),
        float(scores.mean()),
        sum(b.count * abs(b.probability - b.score) for b in bins) / number,
        bins,
        float(risks.mean()),
        tuple((float((i + 1) / number), float(risks[i])) for i in points),
        _between(levels, best) if some else None,
        above / number,
        good / above if above else None,
        (float(right[-1]) - good) / (number - above) if above < number else None,
    )


def _bins(probabilities: Array, scores: Array) -> tuple[CalibrationBin, ...]:
    number = len(probabilities)
    starts = np.sort(probabilities)[np.arange(1, BINS) * number // BINS]
    index = np.searchsorted(np.unique(starts), probabilities, side="right")  # [N]
    counts = np.bincount(index)
    means = [np.bincount(index, x) / np.maximum(counts, 1) for x in (probabilities, scores)]
    return tuple(
        CalibrationBin(int(count), float(p), float(s))
        for count, p, s in zip(counts, *means, strict=True)
        if count
    )


def _between(levels: Array, last: int) -> float:
    """Return a probability between the last level above the threshold and the next, else 0.

    It has as few digits as keep it there: people read it and type it in.
    """
    if last + 1 == len(levels):
        return 0.0
    low, high = float(levels[last + 1]), float(levels[last])
    rounded = (round((low + high) / 2, digits) for digits in range(2, 16))
    return next((value for value in rounded if low < value <= high), high)
