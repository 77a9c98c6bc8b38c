"""The contents of a report, from the data and the predictions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vqa.data.example import Example
from vqa.errors import InputError
from vqa.evaluation.comparison import Comparison, compare
from vqa.evaluation.number_text import BASELINES
from vqa.evaluation.predictions import Prediction, RowId
from vqa.evaluation.report.causes import CAUSES, cause, too_many_yes
from vqa.evaluation.report.confusion import Confusion, confusions
from vqa.evaluation.report.gallery import Gallery, Wrong, build_gallery
from vqa.evaluation.scoring import MetricResult, prediction_texts, score
from vqa.evaluation.statistics import Interval, picture_clusters
from vqa.metrics.metric import Metric

RIGHT_SCORE = 0.5  # the score from which on an answer counts as right
_MOST_SLICES = 100
_MOST_FAILED = 200
_MOST_SETTING = 300  # characters
_MOST_ANSWER = 60


@dataclass(frozen=True)
class ModelPredictions:
    """A model's predictions and the description of their run."""

    name: str
    predictions: Mapping[RowId, Prediction]
    blind: Mapping[RowId, Prediction] | None = None  # with a blank picture
    swap: Mapping[RowId, Prediction] | None = None  # with another row's picture
    run: Mapping[str, Any] = field(default_factory=dict)  # of FILE.run.json


@dataclass(frozen=True)
class Bar:
    """A value with its interval, of a model or (index None) of a baseline."""

    label: str
    detail: str
    value: float
    interval: Interval | None
    index: int | None


@dataclass(frozen=True)
class BarRow:
    """A named row of bars, one for each model; None where a model has no value."""

    name: str
    count: int
    bars: tuple[Bar | None, ...]


@dataclass(frozen=True)
class FailedRow:
    """A row that a model gave no answer to."""

    model: str
    id: RowId
    question: str
    why: str


@dataclass(frozen=True)
class ReportData:
    """Everything on the page."""

    data: str  # the name of the data
    metric: str
    profile: str
    main: str
    lower_is_better: bool
    count: int
    pictures: int
    models: tuple[ModelPredictions, ...]
    scores: tuple[MetricResult, ...]  # of each model
    bars: tuple[Bar, ...]  # the models, then the baselines
    values: tuple[BarRow, ...]  # all values of the metric
    by: str | None
    slices: tuple[BarRow, ...]
    slices_left_out: int
    comparisons: tuple[Comparison, ...]  # of each other model with the first
    confusions: tuple[Confusion, ...]  # of each model; empty where no answers are frequent
    causes: dict[str, tuple[int, ...]]  # wrong rows of each model, by likely cause
    gallery: Gallery
    failed: tuple[FailedRow, ...]
    failed_left_out: int
    settings: tuple[tuple[str, tuple[str, ...]], ...]  # of the runs: name, each model's value
    notes: tuple[str, ...]  # what a reader must know before believing a number


def build_report(
    rows: Sequence[Example],
    models: Sequence[ModelPredictions],
    metric: Metric,
    *,
    data: str,
    images: Path,
    profile: str = "official",
    by: str | None = None,
    draws: int = 2000,
    notes: Sequence[str] = (),
) -> ReportData:
    """Score the models on the rows, and gather their errors with pictures below `images`.

    The first model is the one the others are compared with. Why a picture cannot be shown stands
    in its place. Raises InputError where `score` does, and for names that are not unique.
    """
    names = [model.name for model in models]
    if not models or len(set(names)) < len(names):
        raise InputError("give each predictions file a name of its own with `name`")
    scores = tuple(
        score(rows, m.predictions, metric, blind=m.blind, swap=m.swap, by=by, draws=draws)
        for m in models
    )
    comparisons: tuple[Comparison, ...] = ()
    if len(models) > 1:
        named = {model.name: model.predictions for model in models}
        comparisons = compare(rows, named, metric, draws=draws).others
    wrong = [_wrong(rows, *pair) for pair in zip(models, scores, strict=True)]
    failed = [line for model in models for line in _failed(rows, model)]
    slices = _slices(scores)
    return ReportData(
        data=data,
        metric=metric.name,
        profile=profile,
        main=metric.main,
        lower_is_better=metric.lower_is_better,
        count=len(rows),
        pictures=int(picture_clusters(rows).max()) + 1,
        models=tuple(models),
        scores=scores,
        bars=_bars(models, scores),
        values=tuple(
            BarRow(
                name,
                len(rows),
                _model_bars(models, scores, name),
            )
            for name in scores[0].values
        ),
        by=by,
        slices=slices[:_MOST_SLICES],
        slices_left_out=max(0, len(slices) - _MOST_SLICES),
        comparisons=comparisons,
        confusions=confusions(
            [row.answers for row in rows], [prediction_texts(rows, m.predictions) for m in models]
        ),
        causes={
            name: tuple(Counter(by_place.values())[name] for by_place in wrong)  # of each model
            for name in CAUSES
        },
        gallery=build_gallery(
            rows,
            [m.predictions for m in models],
            [[value for _, value in result.rows] for result in scores],
            wrong,
            [(set(c.fixed), set(c.broken)) for c in comparisons],
            images,
        ),
        failed=tuple(failed[:_MOST_FAILED]),
        failed_left_out=max(0, len(failed) - _MOST_FAILED),
        settings=_settings([model.run for model in models]),
        notes=tuple(notes),
    )


def _model_bars(
    models: Sequence[ModelPredictions], scores: Sequence[MetricResult], name: str
) -> tuple[Bar, ...]:
    """Make the bar of each model for the value of that name."""
    return tuple(
        Bar(model.name, "", result.values[name], result.intervals.get(name), index)
        for index, (model, result) in enumerate(zip(models, scores, strict=True))
    )


def _bars(models: Sequence[ModelPredictions], scores: Sequence[MetricResult]) -> tuple[Bar, ...]:
    """Make the models' bars, then the baselines'; those of the data alone once for all models."""
    main = scores[0].main
    bars = [*_model_bars(models, scores, main)]
    for name in ("commonest", "commonest_place", "question_only"):
        if name not in scores[0].baselines:
            continue
        label = BASELINES[name].removeprefix("the ").capitalize()
        answer = scores[0].commonest_answer
        answer = answer if len(answer) <= _MOST_ANSWER else f"{answer[: _MOST_ANSWER - 1]}…"
        detail = f"“{answer}”" if name == "commonest" else ""
        bars.append(Bar(label, detail, scores[0].baselines[name][main], None, None))
    for model, result in zip(models, scores, strict=True):
        for name, label in (("blind", "Blank picture"), ("swap", "Another picture")):
            if name in result.baselines:
                lacks = (
                    f"{count} answers are missing" if (count := result.incomplete.get(name)) else ""
                )
                detail = ", ".join(filter(None, [model.name if len(models) > 1 else "", lacks]))
                bars.append(Bar(label, detail, result.baselines[name][main], None, None))
    return tuple(bars)


def _slices(scores: Sequence[MetricResult]) -> tuple[BarRow, ...]:
    return tuple(
        BarRow(
            name,
            part.count,
            tuple(
                Bar("", "", result.slices[name].value, result.slices[name].interval, index)
                for index, result in enumerate(scores)
            ),
        )
        for name, part in scores[0].slices.items()
    )


def _wrong(rows: Sequence[Example], model: ModelPredictions, scores: MetricResult) -> Wrong:
    """Guess the cause of each wrong answer, by the row's index."""
    predictions = prediction_texts(rows, model.predictions)
    often_yes = too_many_yes(predictions, [row.answers for row in rows])

    def other(by_id: Mapping[RowId, Prediction] | None, key: RowId) -> str | None:
        prediction = (by_id or {}).get(key)
        return prediction.text if prediction else None

    return {
        index: cause(
            predictions[index],
            row.answers,
            other(model.blind, row.id),
            other(model.swap, row.id),
            often_yes,
        )
        for index, (row, (_, value)) in enumerate(zip(rows, scores.rows, strict=True))
        if not value >= RIGHT_SCORE
    }


def _failed(rows: Sequence[Example], model: ModelPredictions) -> list[FailedRow]:
    missing = Prediction(None, error="no prediction")
    return [
        FailedRow(model.name, row.id, row.question, prediction.error or "failed")
        for row in rows
        if (prediction := model.predictions.get(row.id, missing)).text is None
    ]


def _settings(runs: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Flatten the runs' descriptions to one row a name; nested values one level deep."""
    flat: list[dict[str, str]] = []
    for run in runs:
        values: dict[str, str] = {}
        for name, value in run.items():
            parts = value.items() if isinstance(value, dict) else [("", value)]
            for part, inner in parts:
                text = "–" if inner is None else str(inner)
                values[f"{name} {part}".strip()] = text[:_MOST_SETTING]
        flat.append(values)
    names = dict.fromkeys(name for values in flat for name in values)
    return tuple((name, tuple(values.get(name, "–") for values in flat)) for name in names)
