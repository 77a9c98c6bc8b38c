"""Compare models on the same rows: is there a difference, and on which rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from vqa.data.example import Example
from vqa.errors import InputError
from vqa.evaluation.number_text import format_difference, interval_phrase
from vqa.evaluation.predictions import Prediction, RowId
from vqa.evaluation.scoring import check_ids, is_answered, metric_items, prediction_texts
from vqa.evaluation.statistics import (
    PairedDifference,
    holm_correction,
    mcnemar_p,
    metric_values,
    paired_difference,
    picture_clusters,
)
from vqa.metrics.metric import Array, Metric

LEVEL = 0.05

Verdict = Literal["better", "worse", "not distinguishable"]


@dataclass(frozen=True)
class McNemar:
    """Rows that became right and wrong, and how likely that is of equally good models.

    The test takes rows for independent; with several questions a picture it is too sure.
    """

    fixed: int
    broken: int
    p: float


@dataclass(frozen=True)
class Comparison:
    """A model beside the base."""

    name: str
    value: float
    difference: PairedDifference
    p_corrected: float  # Holm, over all comparisons
    verdict: Verdict
    sentence: str
    mcnemar: McNemar | None  # None where rows are not plainly right or wrong
    fixed: tuple[RowId, ...]  # rows with a better score than the base's, the largest change first
    broken: tuple[RowId, ...]
    unanswered: int  # rows without a prediction, or with a failed one


@dataclass(frozen=True)
class Comparisons:
    """The base, and each other model beside it."""

    metric: str
    main: str
    count: int
    pictures: int
    base: str
    value: float
    unanswered: int
    others: tuple[Comparison, ...]

    def to_json(self) -> dict[str, Any]:
        """Return one JSON object."""
        return {
            "metric": self.metric,
            "main": self.main,
            "count": self.count,
            "pictures": self.pictures,
            "base": {"name": self.base, "value": self.value, "unanswered": self.unanswered},
            "comparisons": [
                {
                    "name": other.name,
                    "value": other.value,
                    "difference": other.difference.value,
                    "interval": other.difference.interval,
                    "p": other.difference.p,
                    "p_corrected": other.p_corrected,
                    "detectable": other.difference.detectable,
                    "verdict": other.verdict,
                    "sentence": other.sentence,
                    "mcnemar": asdict(other.mcnemar) if other.mcnemar else None,
                    "fixed": other.fixed,
                    "broken": other.broken,
                    "unanswered": other.unanswered,
                }
                for other in self.others
            ],
        }


def compare(
    rows: Sequence[Example],
    predictions: Mapping[str, Mapping[RowId, Prediction]],
    metric: Metric,
    *,
    draws: int = 2000,
    seed: int = 0,
) -> Comparisons:
    """Compare models by name, the first of them the base, on the same rows.

    A row without a prediction counts as an empty answer. Raises InputError for fewer than two
    models, for no rows, and where no prediction belongs to any of them.
    """
    if len(predictions) < 2:
        raise InputError("two predictions files or models are needed to compare")
    for by_id in predictions.values():
        check_ids(rows, by_id)
    pictures = picture_clusters(rows)
    items = {
        name: metric_items(rows, prediction_texts(rows, by_id))
        for name, by_id in predictions.items()
    }
    statistics = {name: metric.statistics(part) for name, part in items.items()}  # each [R, K]
    scores = {name: metric.rows(part) for name, part in items.items()}  # each [R]
    main_values = {
        name: float(metric_values(metric, part.sum(0))[metric.main])
        for name, part in statistics.items()
    }
    unanswered = {
        name: sum(not is_answered(row, by_id) for row in rows)
        for name, by_id in predictions.items()
    }
    base, *names = predictions
    differences = {
        name: paired_difference(metric, statistics[base], statistics[name], pictures, draws, seed)
        for name in names
    }
    corrected = holm_correction([differences[name].p for name in names])
    others = []
    for name, p in zip(names, corrected, strict=True):
        verdict = _verdict(differences[name], p, metric)
        change = scores[name] - scores[base]  # [R]
        others.append(
            Comparison(
                name,
                main_values[name],
                differences[name],
                p,
                verdict,
                _sentence(name, base, metric.main, differences[name], p, verdict),
                _mcnemar(scores[base], scores[name]),
                _changed(rows, -change),
                _changed(rows, change),
                unanswered[name],
            )
        )
    return Comparisons(
        metric.name,
        metric.main,
        len(rows),
        int(pictures.max()) + 1,
        base,
        main_values[base],
        unanswered[base],
        tuple(others),
    )


def _verdict(difference: PairedDifference, p: float, metric: Metric) -> Verdict:
    if p >= LEVEL or difference.value == 0:
        return "not distinguishable"
    return "better" if (difference.value > 0) != metric.lower_is_better else "worse"


def _sentence(
    name: str, base: str, main: str, difference: PairedDifference, p: float, verdict: Verdict
) -> str:
    points = format_difference(main, difference.value, True)
    numbers = f"{points}, {interval_phrase(main, difference.interval, True)}, p = {p:.2g}"
    if verdict != "not distinguishable":
        return f"{name} is {verdict} than {base} ({numbers})."
    sentence = f"{name} and {base} are not distinguishable ({numbers})"
    if difference.detectable is not None:
        sentence += (
            f"; these rows would show {format_difference(main, difference.detectable)} or more"
        )
    return f"{sentence}."


def _mcnemar(base: Array, other: Array) -> McNemar | None:
    """Test row scores [R] of two models; None unless all are 0 or 1."""
    if not np.isin(np.concatenate([base, other]), (0.0, 1.0)).all():
        return None
    fixed, broken = int((other > base).sum()), int((other < base).sum())
    return McNemar(fixed, broken, mcnemar_p(fixed, broken))


def _changed(rows: Sequence[Example], change: Array) -> tuple[RowId, ...]:
    """List the ids of rows whose `change` [R] is below 0, the largest change first."""
    order = np.argsort(change, kind="stable")
    return tuple(rows[i].id for i in order[: int((change < 0).sum())])
