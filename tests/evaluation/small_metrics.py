"""Small metrics of known arithmetic, for tests of what is built on any metric."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vqa.metrics.metric import Array, Item, Metric, mean_metric


def _share(item: Item) -> float:
    """The share of the accepted answers that are the prediction."""
    predicted = item.prediction.lower()
    return sum(predicted == answer.lower() for answer in item.answers) / len(item.answers)


def _right(item: Item) -> float:
    return float(_share(item) > 0)


def _why(item: Item) -> list[str]:
    return [f"{item.prediction!r} against {', '.join(item.answers)}"]


right = mean_metric("right", _right, _why)
share = mean_metric("share", _share, _why)


def _counts(items: Sequence[Item]) -> Array:
    yes = np.array([item.prediction == "yes" for item in items])
    true = np.array([item.answers[0] == "yes" for item in items])
    columns = [yes & true, yes, yes == true, np.ones_like(yes)]
    return np.stack(columns, axis=1).astype(float)  # [R, 4]


def _of_counts(sums: Array) -> dict[str, Array]:
    return {
        "accuracy": sums[..., 2] / sums[..., 3],
        "precision": sums[..., 0] / sums[..., 1],
        "yes_rate": sums[..., 1] / sums[..., 3],
    }


yes_no = Metric("yes_no", _counts, _of_counts, right.rows, _why, main="accuracy")


def _off(items: Sequence[Item]) -> Array:
    errors = [abs(float(item.prediction or 0) - float(item.answers[0])) for item in items]
    return np.stack([np.array(errors), np.ones(len(items))], axis=1)  # [R, 2]


error = Metric(
    "error",
    _off,
    lambda sums: {"mean_absolute_error": sums[..., 0] / sums[..., 1]},
    right.rows,
    _why,
    main="mean_absolute_error",
    lower_is_better=True,
)
