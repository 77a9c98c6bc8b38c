"""Score predictions against the data's answers, beside what is reached without seeing."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqa.data.example import Example
from vqa.errors import InputError
from vqa.evaluation.baselines import commonest_answer, question_only
from vqa.evaluation.calibration import Calibration, calibration
from vqa.evaluation.statistics import Interval, bootstrap, clusters, drawn_sums, interval, values
from vqa.evaluation.wording import BASELINES, amount, between, points
from vqa.files import read_jsonl
from vqa.metrics.metric import Array, Item, Metric

Key = str | int


@dataclass(frozen=True)
class Prediction:
    """What was said to a row, or why nothing was."""

    text: str | None
    probability: float | None = None  # of the answer, from 0 to 1
    error: str | None = None


@dataclass(frozen=True)
class SliceScore:
    """The metric's main value on the rows of one value of a column."""

    count: int
    value: float
    interval: Interval | None


@dataclass(frozen=True)
class Seeing:
    """How much better the score is than the best that is reached without the picture."""

    baseline: str
    value: float  # above 0 is better, whatever the metric
    interval: Interval | None
    sentence: str


@dataclass(frozen=True)
class Scores:
    """The result of a metric."""

    metric: str
    main: str  # the name of the value that is compared and sliced
    count: int
    values: dict[str, float]
    intervals: dict[str, Interval]  # 95 %, by picture; empty where there are too few pictures
    rows: tuple[tuple[Key, float], ...]  # id and score, in the order of the data
    commonest_answer: str
    baselines: dict[str, dict[str, float]]  # the values of commonest, question_only, blind, swap
    seeing: Seeing
    slices: dict[str, SliceScore]
    calibration: Calibration | None  # None without probabilities, or where a row can score over 1
    missing: tuple[Key, ...] = ()  # ids without a prediction; they count as an empty answer
    errors: tuple[Key, ...] = ()  # ids whose prediction failed; they count as an empty answer
    unknown: tuple[Key, ...] = ()  # predicted ids that the data does not have
    pictures: int = 0  # clusters of rows that share none

    def to_json(self, with_rows: bool = False) -> dict[str, Any]:
        """One object for `--json`; the metric's values stand in it by their names."""
        baselines: dict[str, dict[str, Any]] = {**self.baselines}
        baselines["commonest"] = {"answer": self.commonest_answer, **baselines["commonest"]}
        found: dict[str, Any] = {
            **self.values,
            "metric": self.metric,
            "count": self.count,
            "pictures": self.pictures,
            "missing": len(self.missing),
            "errors": len(self.errors),
            "unknown": len(self.unknown),
            "intervals": self.intervals,
            "baselines": baselines,
            "seeing": asdict(self.seeing),
            "calibration": asdict(self.calibration) if self.calibration else None,
        }
        if self.slices:
            found["slices"] = {name: asdict(part) for name, part in self.slices.items()}
        if with_rows:
            found["rows"] = [{"id": key, "score": value} for key, value in self.rows]
        return found


def read_predictions(path: str | PathLike[str]) -> dict[Key, Prediction]:
    """Predictions by id.

    Raises InputError with file and line for a row that is no prediction and for an id that comes
    twice.
    """
    found: dict[Key, Prediction] = {}
    for number, row in read_jsonl(path):
        key = row.get("id")
        if isinstance(key, bool) or not isinstance(key, str | int):
            raise InputError(
                f"{path}:{number}: no id, or one that is neither text nor whole number"
            )
        if key in found:
            raise InputError(
                f"{path}:{number}: the id {key!r} is there twice; keep one of the rows"
            )
        text = row.get("prediction")
        if isinstance(text, str):
            found[key] = Prediction(text, _probability(row, f"{path}:{number}"))
        elif "error" in row:
            found[key] = Prediction(None, error=str(row["error"]))
        else:
            raise InputError(f"{path}:{number}: no prediction (a text) for the id {key!r}")
    return found


def _probability(row: Mapping[str, Any], where: str) -> float | None:
    found = row.get("probability")
    if found is None:
        return None
    # a product of rounded numbers may end a little above 1
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found < 1.001:
        raise InputError(f"{where}: the probability {found!r} is not a number from 0 to 1")
    return min(float(found), 1.0)


def items(rows: Sequence[Example], predictions: Sequence[str]) -> list[Item]:
    """What the metric sees of the rows."""
    return [
        Item(said, row.answers, row.question, row.extra)
        for row, said in zip(rows, predictions, strict=True)
    ]


def texts(rows: Sequence[Example], predictions: Mapping[Key, Prediction]) -> list[str]:
    """What was said to each row; nothing to one whose prediction is missing or failed."""
    return [(p.text or "") if (p := predictions.get(row.id)) else "" for row in rows]


def check_ids(rows: Sequence[Example], predictions: Mapping[Key, Prediction]) -> tuple[Key, ...]:
    """The predicted ids that the data does not have.

    Raises InputError where there are no rows, or where no prediction belongs to any of them.
    """
    if not rows:
        raise InputError("the data has no rows to score")
    known = {row.id for row in rows}
    unknown = tuple(key for key in predictions if key not in known)
    if predictions and len(unknown) == len(predictions):
        raise InputError(
            f"no prediction has an id of the data ({next(iter(predictions))!r} against "
            f"{rows[0].id!r}): are these predictions of other data?"
        )
    return unknown


def score(
    rows: Sequence[Example],
    predictions: Mapping[Key, Prediction],
    metric: Metric,
    *,
    blind: Mapping[Key, Prediction] | None = None,
    swap: Mapping[Key, Prediction] | None = None,
    by: str | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> Scores:
    """Score the predictions of these rows; what was not predicted counts as an empty answer.

    `blind` and `swap` are the same model's predictions with a blank and with another picture; `by`
    is a column whose values part the rows into slices. Intervals come from `draws` draws of
    pictures. Raises InputError where there are no rows, where no prediction belongs to any of
    them, and where no row has the column.
    """
    unknown = check_ids(rows, predictions)
    pictures = clusters(rows)
    commonest = commonest_answer([row.answers for row in rows])
    answerers = {
        "seen": texts(rows, predictions),
        "commonest": [commonest] * len(rows),
        "question_only": question_only(rows, pictures),
    }
    for name, others in (("blind", blind), ("swap", swap)):
        if others is not None:
            check_ids(rows, others)
            answerers[name] = texts(rows, others)
    said = items(rows, answerers["seen"])
    statistics = {
        name: metric.statistics(said if name == "seen" else items(rows, answers))  # [R, K]
        for name, answers in answerers.items()
    }
    found = {name: _values(metric, part.sum(0)) for name, part in statistics.items()}
    row_scores = metric.rows(said)  # [R]
    drawn = _drawn(metric, statistics, pictures, draws, seed)
    near = {name: interval(part) for name, part in drawn["seen"].items()} if drawn else {}
    return Scores(
        metric.name,
        metric.main,
        len(rows),
        found["seen"],
        {name: part for name, part in near.items() if part is not None},
        tuple((row.id, float(value)) for row, value in zip(rows, row_scores, strict=True)),
        commonest,
        {name: part for name, part in found.items() if name != "seen"},
        _seeing(metric, found, drawn),
        _slices(rows, by, metric, statistics["seen"], pictures, draws, seed) if by else {},
        _calibration(rows, predictions, row_scores),
        missing=tuple(row.id for row in rows if row.id not in predictions),
        errors=tuple(r.id for r in rows if r.id in predictions and predictions[r.id].text is None),
        unknown=unknown,
        pictures=int(pictures.max()) + 1,
    )


def _values(metric: Metric, sums: Array) -> dict[str, float]:
    return {name: float(value) for name, value in values(metric, sums).items()}


def _drawn(
    metric: Metric,
    statistics: Mapping[str, Array],
    pictures: NDArray[np.int64],
    draws: int,
    seed: int,
) -> dict[str, dict[str, Array]]:
    """All values, [draws], of each answerer on the same draws; nothing for one picture."""
    if pictures.max() == 0:
        return {}
    width = statistics["seen"].shape[1]
    together = np.concatenate(list(statistics.values()), axis=1)  # [R, answerers x K]
    sums = drawn_sums(together, pictures, draws, seed)
    return {
        name: values(metric, sums[:, i * width : (i + 1) * width])
        for i, name in enumerate(statistics)
    }


def _seeing(
    metric: Metric,
    found: Mapping[str, Mapping[str, float]],
    drawn: Mapping[str, Mapping[str, Array]],
) -> Seeing:
    main, sign = metric.main, -1 if metric.lower_is_better else 1
    best = max((name for name in found if name != "seen"), key=lambda n: sign * found[n][main])
    value = sign * (found["seen"][main] - found[best][main])
    near = interval(sign * (drawn["seen"][main] - drawn[best][main])) if drawn else None
    reached = f"{BASELINES[best]} reaches {amount(main, found[best][main])}"
    if near is None:
        sentence = f"Too few pictures to tell what seeing is worth: {reached}."
    elif near[0] > 0:
        sentence = f"Seeing is worth {points(main, value)} ({between(main, near)}): {reached}."
    elif near[1] < 0:
        sentence = (
            f"Worse than without seeing: {reached}, better by {points(main, -value)}"
            f" ({between(main, (-near[1], -near[0]))})."
        )
    else:
        sentence = (
            f"No seeing is shown: {reached}, and the difference of {points(main, value, True)}"
            f" may be chance ({between(main, near, True)})."
        )
    return Seeing(best, value, near, sentence)


def _slices(
    rows: Sequence[Example],
    by: str,
    metric: Metric,
    statistics: Array,
    pictures: NDArray[np.int64],
    draws: int,
    seed: int,
) -> dict[str, SliceScore]:
    """The score of each value of a column, the value with most rows first."""
    columns = dict.fromkeys(name for row in rows for name in row.extra)
    if by not in columns:
        there = f"there are {', '.join(columns)}" if columns else "they have no further columns"
        raise InputError(f"no row has a column {by!r}; {there}")
    parts: defaultdict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        value = row.extra.get(by)
        parts[value if isinstance(value, str) else json.dumps(value, default=str)].append(index)
    found: dict[str, SliceScore] = {}
    for name, members in sorted(parts.items(), key=lambda part: -len(part[1])):
        chosen = statistics[members]  # [rows of the slice, K]
        own = np.unique(pictures[members], return_inverse=True)[1].reshape(-1)
        near = None
        if own.max() > 0:
            near = interval(bootstrap(metric, chosen, own, draws, seed)[metric.main])
        value = _values(metric, chosen.sum(0))[metric.main]
        found[name] = SliceScore(len(members), value, near)
    return found


def _calibration(
    rows: Sequence[Example], predictions: Mapping[Key, Prediction], scores: Array
) -> Calibration | None:
    pairs = [
        (said.probability, value)
        for row, value in zip(rows, scores.tolist(), strict=True)
        if (said := predictions.get(row.id)) and said.probability is not None
    ]
    if not pairs or scores.max() > 1:
        return None
    probabilities, reached = np.array(pairs, dtype=np.float64).T  # [N], [N]
    return calibration(probabilities, reached)
