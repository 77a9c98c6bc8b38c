"""Uncertainty of scores: intervals by drawing pictures again, tests of two models on the same rows.

Questions about one picture are not independent, so pictures are drawn, not rows: the cluster
bootstrap (Field and Welsh 2007). All of it works on a metric's statistics [R, K], whose sums over
any rows give its values.
"""

from __future__ import annotations

import math
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vqa.data.example import Example
from vqa.metrics.metric import Array, Metric

POWER = 2.8  # standard errors: z(0.975) + z(0.8), what 80 % power at a level of 5 % takes

Interval = tuple[float, float]


@dataclass(frozen=True)
class PairedDifference:
    """Two models on the same rows, in units of the metric's main value."""

    value: float  # the other's minus the base's
    interval: Interval | None  # 95 %, paired bootstrap; None with fewer than two pictures
    p: float  # two-sided, of the exchange test
    detectable: float | None  # the smallest difference such rows show in four of five cases


def picture_clusters(examples: Sequence[Example]) -> NDArray[np.int64]:
    """Number each row's cluster, [R]: rows that share a picture are in the same one.

    Pictures are distinguished by their names alone. A row without pictures is a cluster of its own.
    """
    parents: list[int] = []  # of pictures, and of rows without one
    by_name: dict[str, int] = {}

    def root(node: int) -> int:
        while parents[node] != node:
            parents[node] = node = parents[parents[node]]
        return node

    def new() -> int:
        parents.append(len(parents))
        return len(parents) - 1

    nodes: list[int] = []
    for example in examples:
        names = [posixpath.normpath(str(image)) for image in example.images]
        for name in names:
            if name not in by_name:
                by_name[name] = new()
        nodes.append(by_name[names[0]] if names else new())
        for name in names[1:]:
            parents[root(by_name[name])] = root(nodes[-1])
    roots = np.array([root(node) for node in nodes], dtype=np.int64)
    return np.unique(roots, return_inverse=True)[1].reshape(-1).astype(np.int64)


def cluster_sums(statistics: Array, clusters: NDArray[np.int64]) -> Array:
    """Sum statistics [R, K] within each of C clusters, [C, K]."""
    number = int(clusters.max()) + 1
    columns = [np.bincount(clusters, column, minlength=number) for column in statistics.T]
    return np.stack(columns, axis=1)


def bootstrap_sums(
    statistics: Array, clusters: NDArray[np.int64], draws: int, seed: int
) -> Array:  # [draws, K]
    """Sum over clusters that are drawn with replacement, as many as there are.

    The draws depend on the clusters, `draws` and `seed` alone: statistics of several models side
    by side in one array are drawn together.
    """
    sums = cluster_sums(statistics, clusters)  # [C, K]
    random = np.random.default_rng(seed)
    number = len(sums)
    drawn = np.empty((draws, sums.shape[1]))
    for draw in range(draws):  # one at a time: a draw of 200,000 rows is small, 2,000 are not
        times = np.bincount(random.integers(number, size=number), minlength=number)  # [C]
        drawn[draw] = times @ sums
    return drawn


def bootstrap(
    metric: Metric, statistics: Array, clusters: NDArray[np.int64], draws: int, seed: int
) -> dict[str, Array]:
    """Compute the metric's values, each [draws], over clusters drawn with replacement."""
    return metric_values(metric, bootstrap_sums(statistics, clusters, draws, seed))


def metric_values(metric: Metric, sums: Array) -> dict[str, Array]:
    """Compute `metric.values` of sums [..., K]; a share of nothing is NaN, without a warning."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return metric.values(sums)


def percentile_interval(drawn: Array) -> Interval | None:
    """Return the middle 95 % of drawn values [draws]; None where there are none."""
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return None
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)


def paired_difference(
    metric: Metric,
    base: Array,
    other: Array,
    clusters: NDArray[np.int64],
    draws: int = 2000,
    seed: int = 0,
) -> PairedDifference:
    """Compare two models on the same rows, by the statistics of both, [R, K].

    The interval draws pictures again, both models together. The p-value is of the exchange test
    (Fisher's, by random draws): were the models equally good, each picture's answers could as well
    be the other's. It stays right with few pictures, where the bootstrap is too sure.
    """
    main = metric.main
    both = np.concatenate([base, other], axis=1)
    sums = both.sum(0)  # [2K]
    value = float(metric_values(metric, sums[base.shape[1] :])[main]) - float(
        metric_values(metric, sums[: base.shape[1]])[main]
    )
    p = _exchange_p(metric, base, other, clusters, abs(value), draws, seed)
    if clusters.max() == 0:
        return PairedDifference(value, None, p, None)
    drawn = bootstrap_sums(both, clusters, draws, seed)  # [draws, 2K]
    differences = (
        metric_values(metric, drawn[:, base.shape[1] :])[main]
        - metric_values(metric, drawn[:, : base.shape[1]])[main]
    )
    finite = differences[np.isfinite(differences)]
    error = float(finite.std()) if len(finite) else 0.0
    return PairedDifference(
        value, percentile_interval(differences), p, POWER * error if error > 0 else None
    )


def _exchange_p(
    metric: Metric,
    base: Array,
    other: Array,
    clusters: NDArray[np.int64],
    difference: float,
    draws: int,
    seed: int,
) -> float:
    """Estimate how often a difference of at least `difference` comes from exchanging at random."""
    half = cluster_sums((other - base) / 2, clusters)  # [C, K]
    half = half[np.any(half != 0, axis=1)]  # exchanging equal pictures changes nothing
    if not len(half):
        return 1.0
    middle = ((base + other) / 2).sum(0)  # [K]
    random = np.random.default_rng(seed)
    away = np.empty((draws, half.shape[1]))
    for draw in range(draws):
        unswapped = random.integers(2, size=len(half), dtype=np.int8)  # [C]
        away[draw] = 2 * (unswapped @ half) - half.sum(0)
    differences = (
        metric_values(metric, middle + away)[metric.main]
        - metric_values(metric, middle - away)[metric.main]
    )
    as_far = ~(np.abs(differences) < difference - 1e-9)
    return float((as_far.sum() + 1) / (draws + 1))


def mcnemar_p(fixed: int, broken: int) -> float:
    """Compute the exact p-value, two-sided, of McNemar's test (1947): a fair coin's binomial test.

    Of rows that are right or wrong, `fixed` became right and `broken` wrong.
    """
    number = fixed + broken
    # in logarithms, as the terms of many rows are below what a float can hold
    terms = [
        math.lgamma(number + 1)
        - math.lgamma(k + 1)
        - math.lgamma(number - k + 1)
        - number * math.log(2)
        for k in range(min(fixed, broken) + 1)
    ]
    return min(1.0, 2 * math.fsum(map(math.exp, terms)))


def holm_correction(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for being several, in their order (Holm 1979)."""
    number = len(p_values)
    corrected = [0.0] * number
    highest = 0.0
    for rank, index in enumerate(sorted(range(number), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (number - rank) * p_values[index]))
        corrected[index] = highest
    return corrected
