"""A metric by statistics of each row, whose sums over any set of rows give its values.

Everything else follows from that: the score of a slice, an interval by drawing rows again, the
difference of two models on the same rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqa.errors import InputError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Item:
    """One row as a metric sees it. A row without a prediction has an empty one."""

    prediction: str
    answers: tuple[str, ...]
    question: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)  # further columns, such as `choices`


@dataclass(frozen=True)
class Metric:
    """A metric by the name that `vqa score --metric` takes.

    `values` must not depend on how the rows are divided: it sees only sums.
    """

    name: str
    statistics: Callable[[Sequence[Item]], Array]  # R rows -> [R, K], to be summed over rows
    values: Callable[[Array], dict[str, Array]]  # sums [..., K] -> each value [...]
    rows: Callable[[Sequence[Item]], Array]  # R rows -> [R], the score of each, 0 to 1
    explain: Callable[[Item], list[str]]  # how the row came to its score, one line a step
    main: str = "score"  # the value that is compared and sliced
    lower_is_better: bool = False  # of the main value

    def of(self, items: Sequence[Item]) -> dict[str, float]:
        """Compute all values of these rows. Raises InputError where there are none."""
        if not items:
            raise InputError(f"{self.name}: there are no rows to score")
        values = self.values(self.statistics(items).sum(0))
        return {name: float(value) for name, value in values.items()}


def mean_metric(
    name: str, score: Callable[[Item], float], explain: Callable[[Item], list[str]]
) -> Metric:
    """Make a metric whose only value is the mean of the rows' scores."""

    def rows(items: Sequence[Item]) -> Array:
        return np.array([score(item) for item in items], dtype=np.float64)  # [R]

    return mean_of_rows(name, rows, explain)


def mean_of_rows(
    name: str, rows: Callable[[Sequence[Item]], Array], explain: Callable[[Item], list[str]]
) -> Metric:
    """Make a metric whose only value is the mean of row scores.

    A row's score depends on the other rows.
    """

    def statistics(items: Sequence[Item]) -> Array:
        scores = rows(items)
        return np.stack([scores, np.ones_like(scores)], axis=1)  # [R, 2]

    def values(sums: Array) -> dict[str, Array]:
        return {"score": ratio(sums[..., 0], sums[..., 1])}

    return Metric(name, statistics, values, rows, explain)


def ratio(part: Array, whole: Array) -> Array:
    """Divide part by whole, and give 0 where the whole is 0; any shape."""
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    return np.divide(part, whole, out=np.zeros(np.broadcast(part, whole).shape), where=whole != 0)


# Phrases that the explanations of several metrics share.

NO_PREDICTION = "there is no prediction (missing, failed or empty): the score is 0"


def count_texts(texts: Sequence[str]) -> str:
    """List the texts, the most frequent first: `9 x 'yes', 1 x 'no'`."""
    counts = Counter(texts).most_common()
    return ", ".join(f"{count} x {text!r}" for text, count in counts) or "none"


def compared_as(name: str, text: str, form: str) -> str:
    """Say in which form a text is compared: `prediction 'Yes.' is compared as 'yes'`."""
    return f"{name} {text!r} is compared as {'it stands' if text == form else repr(form)}"
