from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.evaluation.small_metrics import error, right, yes_no
from vqa.data.example import Example
from vqa.evaluation.statistics import (
    POWER,
    bootstrap,
    bootstrap_sums,
    holm_correction,
    mcnemar_p,
    paired_difference,
    percentile_interval,
    picture_clusters,
)


def example(*images: str) -> Example:
    return Example("x", images, "What?", ("cat",))


def of_scores(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """The statistics of a mean: [R, 2]."""
    return np.stack([scores, np.ones_like(scores)], axis=1)


def test_rows_that_share_a_picture_are_one_cluster() -> None:
    rows = [
        example("a.png"),
        example("b.png"),
        example("./a.png"),
        example(),
        example("c.png", "d.png"),
        example(),
        example("d.png", "e.png"),
        example("e.png"),
    ]
    clusters = picture_clusters(rows).tolist()
    assert clusters[0] == clusters[2]
    assert clusters[4] == clusters[6] == clusters[7]
    assert sorted(set(clusters)) == [0, 1, 2, 3, 4]
    assert len({clusters[i] for i in (0, 1, 3, 4, 5)}) == 5


def test_two_pictures_are_drawn_as_coins_fall() -> None:
    statistics = of_scores(np.array([1.0, 1.0, 0.0, 0.0]))
    drawn = bootstrap(right, statistics, np.array([0, 0, 1, 1]), 4000, seed=1)["score"]
    shares = [float((drawn == value).mean()) for value in (0.0, 0.5, 1.0)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.03)


def test_the_same_seed_draws_the_same_and_columns_are_drawn_together() -> None:
    random = np.random.default_rng(0)
    statistics = random.random((50, 2))
    of_picture = random.integers(10, size=50)
    first = bootstrap_sums(statistics, of_picture, 20, seed=3)
    assert np.array_equal(first, bootstrap_sums(statistics, of_picture, 20, seed=3))
    assert not np.array_equal(first, bootstrap_sums(statistics, of_picture, 20, seed=4))
    both = bootstrap_sums(np.concatenate([statistics, statistics], axis=1), of_picture, 20, seed=3)
    assert np.allclose(both[:, :2], first) and np.allclose(both[:, 2:], first)


def test_the_interval_covers_the_truth_where_rows_of_a_picture_are_alike() -> None:
    """40 pictures of 8 questions each; a picture is easy or hard, so its rows go together."""
    random = np.random.default_rng(5)
    of_picture = np.repeat(np.arange(40), 8)
    trials, by_picture, by_row = 200, 0, 0
    for trial in range(trials):
        ease = random.beta(1, 1, 40)  # mean 0.5: the truth
        statistics = of_scores((random.random(320) < ease[of_picture]).astype(float))
        for groups in (of_picture, np.arange(320)):
            drawn = bootstrap(right, statistics, groups, 200, seed=trial)["score"]
            low, high = np.quantile(drawn, (0.025, 0.975))
            if groups is of_picture:
                by_picture += low <= 0.5 <= high
            else:
                by_row += low <= 0.5 <= high
    assert 0.89 <= by_picture / trials <= 0.99
    assert by_row / trials < 0.85  # rows taken for independent claim too much


@pytest.mark.parametrize("pictures", [8, 40])
def test_equally_good_models_differ_in_one_of_twenty_comparisons(pictures: int) -> None:
    random = np.random.default_rng(7)
    of_picture = np.repeat(np.arange(pictures), 5)
    alarms, trials = 0, 400
    for trial in range(trials):
        ease = random.beta(1, 1, (2, pictures))  # each model finds other pictures easy
        scores = [(random.random(len(of_picture)) < e[of_picture]).astype(float) for e in ease]
        base, other = map(of_scores, scores)
        alarms += paired_difference(right, base, other, of_picture, draws=100, seed=trial).p < 0.05
    assert 0.02 <= alarms / trials <= 0.08


def test_a_difference_its_interval_and_what_could_be_shown() -> None:
    random = np.random.default_rng(2)
    base = (random.random(1000) < 0.5).astype(float)
    other = np.where(random.random(1000) < 0.2, 1.0, base)
    difference = paired_difference(right, of_scores(base), of_scores(other), np.arange(1000))
    gain = other - base
    assert difference.value == pytest.approx(gain.mean())
    assert difference.interval is not None and difference.interval[0] > 0
    error_of_mean = gain.std() / np.sqrt(1000)
    assert difference.detectable == pytest.approx(POWER * error_of_mean, rel=0.1)
    assert difference.interval == pytest.approx(
        (gain.mean() - 1.96 * error_of_mean, gain.mean() + 1.96 * error_of_mean), abs=0.004
    )
    assert difference.p == pytest.approx(1 / 2001)  # none of the draws came as far


def test_three_pictures_cannot_show_a_difference() -> None:
    base, other = of_scores(np.zeros(3)), of_scores(np.ones(3))
    difference = paired_difference(right, base, other, np.arange(3), draws=4000)
    assert difference.p == pytest.approx(2 / 8, abs=0.03)  # all three one way, or all the other


def test_equal_models_and_a_single_picture() -> None:
    statistics = of_scores(np.array([1.0, 0.0, 1.0]))
    same = paired_difference(right, statistics, statistics, np.arange(3))
    assert (same.value, same.p, same.detectable) == (0.0, 1.0, None)
    one = paired_difference(right, statistics, of_scores(np.ones(3)), np.zeros(3, dtype=np.int64))
    assert one.interval is None and one.detectable is None and one.p == 1.0


def test_where_less_is_better_the_difference_keeps_its_sign() -> None:
    base, other = of_scores(np.full(20, 2.0)), of_scores(np.full(20, 1.5))
    assert paired_difference(error, base, other, np.arange(20)).value == -0.5


def test_a_share_of_nothing_is_left_out_of_the_interval() -> None:
    never = np.array([[0.0, 0.0, 1.0, 1.0]] * 5)  # no yes at all: precision is 0 / 0
    drawn = bootstrap(yes_no, never, np.arange(5), 100, seed=0)
    assert np.isnan(drawn["precision"]).all() and percentile_interval(drawn["precision"]) is None
    assert percentile_interval(drawn["accuracy"]) == (1.0, 1.0)


# 2 * sum over k <= min of C(n, k) / 2^n, by hand
@pytest.mark.parametrize(
    ("fixed", "broken", "p"),
    [
        (8, 2, 2 * (1 + 10 + 45) / 1024),
        (1, 9, 2 * (1 + 10) / 1024),
        (0, 6, 2 / 64),
        (5, 5, 1.0),
        (0, 0, 1.0),
        (1, 0, 1.0),
    ],
)
def test_mcnemar_is_the_exact_binomial_test(fixed: int, broken: int, p: float) -> None:
    assert mcnemar_p(fixed, broken) == pytest.approx(p)


def test_mcnemar_of_many_rows_is_near_the_normal_distribution() -> None:
    # z = (100 - 1) / sqrt(6100) = 1.2676, with the continuity correction; two-sided 0.2049
    assert mcnemar_p(3000, 3100) == pytest.approx(0.2049, abs=0.0005)
    assert 0 <= mcnemar_p(60_000, 40_000) < 1e-12


def test_holm() -> None:
    # 4 x 0.005, 3 x 0.01, 2 x 0.03 and 1 x 0.04, which may not fall below the one before
    assert holm_correction([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm_correction([0.6, 0.9]) == [1.0, 1.0]
    assert holm_correction([0.04]) == [0.04]
    assert holm_correction([]) == []
