"""The rows of a run with their answers, read once, and what they are downloaded as."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import streamlit as st

from app.state import batches
from vqa.batches import Run
from vqa.data import read
from vqa.data.embedded_pictures import store_pictures_in
from vqa.data.example import Example
from vqa.evaluation.predictions import Prediction, RowId, read_begun
from vqa.evaluation.report import html_page as report
from vqa.evaluation.report.report_data import ModelPredictions, build_report
from vqa.evaluation.run_description import read_description
from vqa.evaluation.scoring import MetricResult, score
from vqa.metrics import get_metric
from vqa.utils.files import json_text, read_jsonl, without_nan
from vqa.utils.inert import sheet_cell

_BY_ID: dict[str | type[Any], Callable[[Any], Any]] = {Run: lambda run: run.id}
_TAIL = 1 << 16  # bytes


@dataclass(frozen=True)
class AnsweredRow:
    """A row and the prediction for it."""

    example: Example
    prediction: Prediction


@dataclass(frozen=True)
class Results:
    """All rows of a run that can be asked, and the predictions so far."""

    rows: tuple[Example, ...]
    predictions: Mapping[RowId, Prediction]

    def answered(self) -> list[AnsweredRow]:
        """List rows with a prediction, in the order they were predicted."""
        rows = {row.id: row for row in self.rows}
        return [
            AnsweredRow(rows[key], prediction)
            for key, prediction in self.predictions.items()
            if key in rows
        ]

    def scorable(self) -> list[Example]:
        """List rows with a prediction and right answers, in the order of the data."""
        return [row for row in self.rows if row.answers and row.id in self.predictions]


def results(run: Run) -> Results:
    """Read the rows and predictions of a run. Raises InputError where its data is gone."""
    store = batches().store
    file = store.predictions(run)
    stored = _predictions(str(file), _changed(file)) if file.exists() else {}
    predictions = {key: _without_paths(run, value) for key, value in stored.items()}
    return Results(_rows(run, _changed(store.data(run))), predictions)


def latest(run: Run, count: int) -> list[AnsweredRow]:
    """Read the last answers, the latest at the end; of a long file only the end is read."""
    store = batches().store
    file = store.predictions(run)
    if not file.exists():
        return []
    with file.open("rb") as tail:
        start = max(0, tail.seek(0, 2) - _TAIL)
        tail.seek(start)
        lines = tail.read().split(b"\n")[bool(start) : -1]  # the first may be cut, the last too
    rows = {row.id: row for row in _rows(run, _changed(store.data(run)))}
    answered = []
    for line in lines[-count:]:
        values = json.loads(line)
        if values["id"] in rows:
            prediction = Prediction(values.get("prediction"), values.get("probability"))
            prediction = _without_paths(run, replace(prediction, error=values.get("error")))
            answered.append(AnsweredRow(rows[values["id"]], prediction))
    return answered


def scores(run: Run, metric: str) -> MetricResult:
    """Score what is answered. Raises InputError where the metric does not suit."""
    store = batches().store
    return _scores(run, metric, _changed(store.predictions(run)), _changed(store.data(run)))


def as_jsonl(run: Run) -> str:
    """Write rows as `vqa predict` writes them, so that `vqa score` reads them."""
    rows = (row for _, row in read_jsonl(batches().store.predictions(run)))
    lines = []
    for row in rows:
        if "error" in row:
            row["error"] = batches().without_paths(run, str(row["error"]))
        lines.append(json_text(without_nan(row)))
    return "\n".join(lines) + "\n"


def as_csv(results: Results, scores: MetricResult | None) -> bytes:
    """Write a table for spreadsheets, in the order of the data."""
    row_scores = dict(scores.rows) if scores else {}
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(
        ["id", "images", "question", "answers", "prediction", "probability", "score", "error"]
    )
    for row in results.rows:
        answer = results.predictions.get(row.id, Prediction(None))
        cells = [
            str(row.id), " | ".join(Path(image).name for image in row.images), row.question,
            " | ".join(row.answers), answer.text or "",
        ]  # fmt: skip
        probability = "" if answer.probability is None else f"{answer.probability:.4f}"
        value = f"{row_scores[row.id]:.4g}" if row.id in row_scores else ""
        writer.writerow(
            [*map(sheet_cell, cells), probability, value, sheet_cell(answer.error or "")]
        )
    return file.getvalue().encode("utf-8-sig", "replace")  # the mark tells Excel that it is UTF-8


def as_report(run: Run, metric: str) -> str:
    """Write the page of `vqa report`."""
    store = batches().store
    answers = results(run)
    model = ModelPredictions(
        run.model, answers.predictions, run=read_description(store.predictions(run))
    )
    data = build_report(
        answers.scorable(),
        [model],
        get_metric(metric),
        data=run.name,
        images=Path(store.folder(run).absolute().anchor),  # paths are checked and absolute
    )
    return report.render_report(data)


def _changed(path: Path) -> tuple[int, int]:
    status = path.stat() if path.exists() else None
    return (status.st_mtime_ns, status.st_size) if status else (0, 0)


@st.cache_resource(max_entries=8, show_spinner=False)
def _predictions(path: str, changed: tuple[int, int]) -> Mapping[RowId, Prediction]:
    return read_begun(path)


@st.cache_resource(max_entries=8, show_spinner=False, hash_funcs=_BY_ID)
def _rows(run: Run, changed: tuple[int, int]) -> tuple[Example, ...]:
    store = batches().store
    with store_pictures_in(store.inside(run)):
        rows = read(store.data(run), store.images(run), need_answers=False, bad=lambda _: None)
        return tuple(rows)


@st.cache_resource(max_entries=32, show_spinner=False, hash_funcs=_BY_ID)
def _scores(
    run: Run, metric: str, predicted: tuple[int, int], changed: tuple[int, int]
) -> MetricResult:
    answers = results(run)
    return score(answers.scorable(), answers.predictions, get_metric(metric))


def _without_paths(run: Run, prediction: Prediction) -> Prediction:
    """Take the server's paths out of an error."""
    if prediction.error is None:
        return prediction
    return replace(prediction, error=batches().without_paths(run, prediction.error))
