"""Score predictions against the data's answers, beside baselines that do not see the picture."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqa.data.example import Example
from vqa.errors import InputError
from vqa.evaluation.baselines import commonest_answer, commonest_place, question_only
from vqa.evaluation.calibration import Calibration, compute_calibration
from vqa.evaluation.number_text import BASELINES, format_difference, format_value, interval_phrase
from vqa.evaluation.picture_conditions import OWN_PICTURE
from vqa.evaluation.predictions import Prediction, RowId
from vqa.evaluation.statistics import (
    Interval,
    bootstrap,
    bootstrap_sums,
    metric_values,
    percentile_interval,
    picture_clusters,
)
from vqa.metrics.metric import Array, Item, Metric

_POLL = 3  # accepted answers a row from which on they are a poll, as the ten of VQA v2
_SENTENCE = 5  # words


@dataclass(frozen=True)
class SliceScore:
    """The metric's main value on the rows of one value of a column."""

    count: int
    value: float
    interval: Interval | None


@dataclass(frozen=True)
class PictureGain:
    """The score's distance to the best baseline without the picture."""

    baseline: str
    value: float  # above 0 is better, whatever the metric
    interval: Interval | None
    sentence: str


@dataclass(frozen=True)
class MetricResult:
    """A metric's values on all rows, with baselines, intervals, slices and calibration."""

    metric: str
    main: str  # the name of the value that is compared and sliced
    count: int
    values: dict[str, float]
    intervals: dict[str, Interval]  # 95 %, by picture; empty where there are too few pictures
    rows: tuple[tuple[RowId, float], ...]  # id and score, in the order of the data
    commonest_answer: str
    baselines: dict[str, dict[str, float]]  # the values of commonest, question_only, blind, swap
    gain: PictureGain
    slices: dict[str, SliceScore]
    calibration: Calibration | None  # None without probabilities, or where a row can score over 1
    missing: tuple[RowId, ...] = ()  # ids without a prediction; they count as an empty answer
    errors: tuple[RowId, ...] = ()  # ids whose prediction failed; they count as an empty answer
    unknown: tuple[RowId, ...] = ()  # predicted ids that the data does not have
    pictures: int = 0  # clusters of rows that share none
    # of blind and swap, how many rows lack an answer that have a prediction; seeing is not measured
    # beside these
    incomplete: Mapping[str, int] = field(default_factory=dict)

    def to_json(self, with_rows: bool = False) -> dict[str, Any]:
        """Return one JSON object; the metric's values stand in it by their names."""
        baselines: dict[str, dict[str, Any]] = {**self.baselines}
        baselines["commonest"] = {"answer": self.commonest_answer, **baselines["commonest"]}
        result: dict[str, Any] = {
            **self.values,
            "metric": self.metric,
            "count": self.count,
            "pictures": self.pictures,
            "missing": len(self.missing),
            "errors": len(self.errors),
            "unknown": len(self.unknown),
            "incomplete": dict(self.incomplete),
            "intervals": self.intervals,
            "baselines": baselines,
            "seeing": asdict(self.gain),
            "calibration": asdict(self.calibration) if self.calibration else None,
        }
        if self.slices:
            result["slices"] = {name: asdict(part) for name, part in self.slices.items()}
        if with_rows:
            result["rows"] = [{"id": key, "score": value} for key, value in self.rows]
        return result


def metric_items(rows: Sequence[Example], predictions: Sequence[str]) -> list[Item]:
    """Pair each row's prediction with its references, as metrics take them."""
    return [
        Item(prediction, row.answers, row.question, row.extra)
        for row, prediction in zip(rows, predictions, strict=True)
    ]


def prediction_texts(rows: Sequence[Example], predictions: Mapping[RowId, Prediction]) -> list[str]:
    """Return each row's predicted text, empty where the prediction is missing or failed."""
    return [(p.text or "") if (p := predictions.get(row.id)) else "" for row in rows]


def check_ids(
    rows: Sequence[Example], predictions: Mapping[RowId, Prediction]
) -> tuple[RowId, ...]:
    """Return the predicted ids that the data does not have.

    Raises InputError where there are no rows, or where no prediction belongs to any of them.
    """
    if not rows:
        raise InputError("the data has no rows to score")
    ids = {row.id for row in rows}
    unknown = tuple(key for key in predictions if key not in ids)
    if predictions and len(unknown) == len(predictions):
        raise InputError(
            f"no prediction has an id of the data ({next(iter(predictions))!r} against "
            f"{rows[0].id!r}): are these predictions of other data?"
        )
    return unknown


def score(
    rows: Sequence[Example],
    predictions: Mapping[RowId, Prediction],
    metric: Metric,
    *,
    blind: Mapping[RowId, Prediction] | None = None,
    swap: Mapping[RowId, Prediction] | None = None,
    by: str | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> MetricResult:
    """Score the predictions of these rows; a row without a prediction counts as an empty answer.

    `blind` and `swap` are the same model's predictions with a blank and with another picture; `by`
    is a column whose values part the rows into slices. Intervals come from `draws` draws of
    pictures. Raises InputError where there are no rows, where no prediction belongs to any of
    them, and where no row has the column.
    """
    unknown = check_ids(rows, predictions)
    pictures = picture_clusters(rows)
    commonest = commonest_answer([row.answers for row in rows])
    answerers = {
        OWN_PICTURE: prediction_texts(rows, predictions),
        "commonest": [commonest] * len(rows),
        "question_only": question_only(rows, pictures),
    }
    if (by_place := commonest_place(rows)) is not None:
        answerers["commonest_place"] = by_place
    incomplete: dict[str, int] = {}
    for name, others in (("blind", blind), ("swap", swap)):
        if others is not None:
            check_ids(rows, others)
            answerers[name] = prediction_texts(rows, others)
            answered = [row for row in rows if is_answered(row, predictions)]
            if lacks := sum(not is_answered(row, others) for row in answered):
                incomplete[name] = lacks
    items = {name: metric_items(rows, answers) for name, answers in answerers.items()}
    statistics = {name: metric.statistics(part) for name, part in items.items()}  # each [R, K]
    values = {name: _values(metric, part.sum(0)) for name, part in statistics.items()}
    row_scores = metric.rows(items[OWN_PICTURE])  # [R]
    drawn = _bootstrap_values(metric, statistics, pictures, draws, seed)
    intervals = {
        name: percentile_interval(part) for name, part in drawn.get(OWN_PICTURE, {}).items()
    }
    return MetricResult(
        metric.name,
        metric.main,
        len(rows),
        values[OWN_PICTURE],
        {name: part for name, part in intervals.items() if part is not None},
        tuple((row.id, float(value)) for row, value in zip(rows, row_scores, strict=True)),
        commonest,
        {name: part for name, part in values.items() if name != OWN_PICTURE},
        _picture_gain(metric, _without(values, incomplete), drawn),
        _slices(rows, by, metric, statistics[OWN_PICTURE], pictures, draws, seed) if by else {},
        _calibration(rows, predictions, row_scores),
        missing=tuple(row.id for row in rows if row.id not in predictions),
        errors=tuple(r.id for r in rows if r.id in predictions and predictions[r.id].text is None),
        unknown=unknown,
        pictures=int(pictures.max()) + 1,
        incomplete=incomplete,
    )


def is_answered(row: Example, predictions: Mapping[RowId, Prediction]) -> bool:
    """Return whether a row has a prediction that did not fail."""
    return row.id in predictions and predictions[row.id].text is not None


def _without(
    values: Mapping[str, dict[str, float]], names: Container[str]
) -> dict[str, dict[str, float]]:
    return {name: each for name, each in values.items() if name not in names}


def _values(metric: Metric, sums: Array) -> dict[str, float]:
    return {name: float(value) for name, value in metric_values(metric, sums).items()}


def _bootstrap_values(
    metric: Metric,
    statistics: Mapping[str, Array],
    pictures: NDArray[np.int64],
    draws: int,
    seed: int,
) -> dict[str, dict[str, Array]]:
    """Draw all values, [draws], of each answerer on the same draws; none for one picture."""
    if pictures.max() == 0:
        return {}
    width = statistics[OWN_PICTURE].shape[1]
    together = np.concatenate(list(statistics.values()), axis=1)  # [R, answerers x K]
    sums = bootstrap_sums(together, pictures, draws, seed)
    return {
        name: metric_values(metric, sums[:, i * width : (i + 1) * width])
        for i, name in enumerate(statistics)
    }


def _picture_gain(
    metric: Metric,
    values: Mapping[str, Mapping[str, float]],
    drawn: Mapping[str, Mapping[str, Array]],
) -> PictureGain:
    """Compare the predictions with the best baseline, by the metric's main value."""
    main, sign = metric.main, -1 if metric.lower_is_better else 1
    best = max(
        (name for name in values if name != OWN_PICTURE), key=lambda n: sign * values[n][main]
    )
    value = sign * (values[OWN_PICTURE][main] - values[best][main])
    gains = (
        sign * (drawn[OWN_PICTURE][main] - drawn[best][main]) if drawn else np.empty(0)
    )  # [draws]
    interval = percentile_interval(gains)
    reached = f"{BASELINES[best]} reaches {format_value(main, values[best][main])}"
    points = format_difference(main, value)
    if interval is None:
        sentence = f"Too few pictures to tell what seeing is worth: {reached}."
    elif interval[0] > 0:
        sentence = f"Seeing is worth {points} ({interval_phrase(main, interval)}): {reached}."
    elif interval[1] < 0:
        sentence = (
            f"Worse than without seeing: {reached}, better by {format_difference(main, -value)}"
            f" ({interval_phrase(main, (-interval[1], -interval[0]))})."
        )
    else:
        points = format_difference(main, value, True)
        sentence = (
            f"No seeing is shown: {reached}, and the difference of {points}"
            f" may be chance ({interval_phrase(main, interval, True)})."
        )
    return PictureGain(best, value, interval, sentence)


def _slices(
    rows: Sequence[Example],
    by: str,
    metric: Metric,
    statistics: Array,
    pictures: NDArray[np.int64],
    draws: int,
    seed: int,
) -> dict[str, SliceScore]:
    """Score the rows of each value of a column, the value with most rows first."""
    columns = dict.fromkeys(name for row in rows for name in row.extra)
    if by not in columns:
        names = f"there are {', '.join(columns)}" if columns else "they have no further columns"
        raise InputError(f"no row has a column {by!r}; {names}")
    parts: defaultdict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        value = row.extra.get(by)
        parts[value if isinstance(value, str) else json.dumps(value, default=str)].append(index)
    slices: dict[str, SliceScore] = {}
    for name, members in sorted(parts.items(), key=lambda part: -len(part[1])):
        chosen = statistics[members]  # [rows of the slice, K]
        clusters = np.unique(pictures[members], return_inverse=True)[1].reshape(-1)
        interval = None
        if clusters.max() > 0:
            drawn = bootstrap(metric, chosen, clusters, draws, seed)
            interval = percentile_interval(drawn[metric.main])
        value = _values(metric, chosen.sum(0))[metric.main]
        slices[name] = SliceScore(len(members), value, interval)
    return slices


def _calibration(
    rows: Sequence[Example], predictions: Mapping[RowId, Prediction], scores: Array
) -> Calibration | None:
    pairs = [
        (prediction.probability, value)
        for row, value in zip(rows, scores.tolist(), strict=True)
        if (prediction := predictions.get(row.id)) and prediction.probability is not None
    ]
    if not pairs or scores.max() > 1:
        return None
    return compute_calibration(*np.array(pairs, dtype=np.float64).T)  # [N], [N]


def guess_metric(rows: Sequence[Example]) -> str:
    """Name the metric that suits these rows, which have answers.

    Rows with `choices` are multiple choice. Sentences are compared by their words: as captions
    where there are several for a picture. Short answers of several people are a poll; a single one
    is compared exactly. `vqa.metrics` has others, which only a person can choose.
    """
    if rows and all(isinstance(row.extra.get("choices"), list) for row in rows):
        return "multiple_choice"
    if not rows:
        return "exact_match"
    accepted = median(len(row.answers) for row in rows)
    words = median(len(row.answers[0].split()) if row.answers else 0 for row in rows)
    if words >= _SENTENCE:
        return "cider_d" if accepted > 1 else "rouge_l"
    return "vqa_accuracy" if accepted >= _POLL else "exact_match"
