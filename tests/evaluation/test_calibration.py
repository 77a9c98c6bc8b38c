from __future__ import annotations

import numpy as np
import pytest

from vqa.evaluation.calibration import BINS, Calibration, CalibrationBin, compute_calibration


def of(*pairs: tuple[float, float]) -> Calibration:
    probabilities, scores = np.array(pairs, dtype=float).T
    return compute_calibration(probabilities, scores)


def test_four_answers_by_hand() -> None:
    calibration = of((0.9, 1), (0.8, 1), (0.8, 0), (0.3, 0))
    assert (calibration.count, calibration.mean_score) == (4, 0.5)
    assert calibration.mean_probability == pytest.approx(0.7)
    assert calibration.bins == (
        CalibrationBin(1, pytest.approx(0.3), 0.0),
        CalibrationBin(2, pytest.approx(0.8), 0.5),
        CalibrationBin(1, pytest.approx(0.9), 1.0),
    )
    # (1 * 0.3 + 2 * 0.3 + 1 * 0.1) / 4
    assert calibration.expected_calibration_error == pytest.approx(0.25)
    # of 1, 2, 3 and all answers; the two alike count half right each
    assert [risk for _, risk in calibration.risk_coverage] == pytest.approx(
        [0, 1 / 4, 1 / 3, 1 / 2]
    )
    assert [share for share, _ in calibration.risk_coverage] == [0.25, 0.5, 0.75, 1.0]
    assert calibration.risk_coverage_area == pytest.approx((0 + 1 / 4 + 1 / 3 + 1 / 2) / 4)
    # answering 1: +1, 3: 2 - 1 = +1, 4: 0; of equal gains the wider
    assert calibration.threshold == pytest.approx(0.55)
    assert calibration.coverage == 0.75
    assert calibration.score_above == pytest.approx(2 / 3)
    assert calibration.score_below == 0


def test_honest_probabilities_have_a_small_error_and_a_threshold_of_one_half() -> None:
    random = np.random.default_rng(0)
    probabilities = random.random(20_000)
    scores = (random.random(20_000) < probabilities).astype(float)
    calibration = compute_calibration(probabilities, scores)
    assert calibration.expected_calibration_error < 0.02
    assert calibration.threshold == pytest.approx(0.5, abs=0.05)
    assert len(calibration.bins) == BINS
    assert {round(part.count / 20_000, 2) for part in calibration.bins} == {0.07}
    assert calibration.score_above == pytest.approx(0.75, abs=0.03)
    assert calibration.risk_coverage_area == pytest.approx(
        0.25, abs=0.01
    )  # mean of c / 2 over [0, 1]
    assert len(calibration.risk_coverage) == 100
    # an answerer that always claims to be sure is off by all of its mistakes
    sure = compute_calibration(np.ones(20_000), scores)
    assert sure.expected_calibration_error == pytest.approx(1 - scores.mean())


def test_always_right_and_always_wrong() -> None:
    right, wrong = of((0.9, 1), (0.2, 1)), of((0.9, 0), (0.2, 0))
    assert (right.threshold, right.coverage, right.score_above) == (0.0, 1.0, 1.0)
    assert right.score_below is None
    assert (wrong.threshold, wrong.coverage, wrong.score_above) == (None, 0.0, None)


def test_the_threshold_keeps_what_it_says_also_of_shares() -> None:
    probabilities = np.random.default_rng(3).random(300).round(2)  # many are alike
    scores = np.sqrt(probabilities)  # one half at 0.25
    calibration = compute_calibration(probabilities, scores)
    assert calibration.threshold == pytest.approx(0.25, abs=0.02)
    above = probabilities >= calibration.threshold
    assert calibration.coverage == pytest.approx(above.mean())
    assert calibration.score_above == pytest.approx(scores[above].mean())
    assert calibration.score_below == pytest.approx(scores[~above].mean())


def test_a_threshold_is_short_and_keeps_what_it_says_as_it_is_printed() -> None:
    probabilities = np.array([0.5, 0.99962, 0.99975, 0.99981])
    threshold = compute_calibration(probabilities, np.array([0.0, 0.0, 1.0, 1.0])).threshold
    assert threshold is not None and f"{threshold:.16g}" == "0.9997"
    assert (probabilities >= float(f"{threshold:.16g}")).tolist() == [False, False, True, True]
    close = np.array([0.1, np.nextafter(0.1, 1)])
    assert compute_calibration(close, np.array([0.0, 1.0])).threshold == close[1]


def test_the_order_of_rows_changes_nothing() -> None:
    random = np.random.default_rng(1)
    probabilities = random.integers(5, size=97) / 4
    scores = random.integers(2, size=97).astype(float)
    order = random.permutation(97)
    one, other = (
        compute_calibration(probabilities, scores),
        compute_calibration(probabilities[order], scores[order]),
    )
    assert one.expected_calibration_error == pytest.approx(other.expected_calibration_error)
    assert one.risk_coverage_area == pytest.approx(other.risk_coverage_area)
    assert one.threshold == other.threshold


def test_a_single_answer() -> None:
    calibration = of((0.6, 1))
    assert calibration.bins == (CalibrationBin(1, 0.6, 1.0),)
    assert calibration.risk_coverage == ((1.0, 0.0),)
