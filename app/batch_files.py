"""The rows of a run with their answers, read once, and what they are downloaded as."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import streamlit as st

from app.state import batches
from vqa.batches import Run
from vqa.data import read
from vqa.data.example import Example
from vqa.data.stored import stored_in
from vqa.evaluation.report import page as report
from vqa.evaluation.report.build import Model, build
from vqa.evaluation.runs import read_run
from vqa.evaluation.score import Key, Prediction, Scores, read_predictions, score
from vqa.files import read_jsonl
from vqa.metrics import metric as metric_of

_FORMULA = re.compile(r"[=+\-@\t\r]")  # a spreadsheet would run a cell that begins so
_BY_ID: dict[str | type[Any], Callable[[Any], Any]] = {Run: lambda run: run.id}
_TAIL = 1 << 16  # bytes
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?%?")


@dataclass(frozen=True)
class Result:
    """A row and what was said to it."""

    row: Example
    said: Prediction


@dataclass(frozen=True)
class Results:
    """All rows of a run that can be asked, and what was answered so far."""

    rows: tuple[Example, ...]
    predictions: Mapping[Key, Prediction]

    def answered(self) -> list[Result]:
        """Rows with a prediction, in the order they were predicted."""
        rows = {row.id: row for row in self.rows}
        return [Result(rows[key], said) for key, said in self.predictions.items() if key in rows]

    def scorable(self) -> list[Example]:
        """Rows with a prediction and right answers, in the order of the data."""
        return [row for row in self.rows if row.answers and row.id in self.predictions]


def results(run: Run) -> Results:
    """What there is of a run. Raises InputError where its data cannot be read any more."""
    store = batches().store
    file = store.predictions(run)
    known = _predictions(str(file), _changed(file)) if file.exists() else {}
    found = {key: _told(run, said) for key, said in known.items()}
    return Results(_rows(run, _changed(store.data(run))), found)


def latest(run: Run, count: int) -> list[Result]:
    """What came last, the latest at the end; the file may be long, and is not read before that."""
    store = batches().store
    file = store.predictions(run)
    if not file.exists():
        return []
    with file.open("rb") as tail:
        start = max(0, tail.seek(0, 2) - _TAIL)
        tail.seek(start)
        lines = tail.read().split(b"\n")[bool(start) : -1]  # the first may be cut, the last too
    rows = {row.id: row for row in _rows(run, _changed(store.data(run)))}
    found = []
    for line in lines[-count:]:
        said = json.loads(line)
        if said["id"] in rows:
            prediction = Prediction(said.get("prediction"), said.get("probability"))
            error = said.get("error")
            found.append(Result(rows[said["id"]], _told(run, replace(prediction, error=error))))
    return found


def scores(run: Run, metric: str) -> Scores:
    """The score of what is answered. Raises InputError where the metric does not suit."""
    store = batches().store
    return _scores(run, metric, _changed(store.predictions(run)), _changed(store.data(run)))


def as_jsonl(run: Run) -> str:
    """Rows as `vqa predict` writes them, so that `vqa score` reads them."""
    rows = (row for _, row in read_jsonl(batches().store.predictions(run)))
    lines = []
    for row in rows:
        if "error" in row:
            row["error"] = batches().told(run, str(row["error"]))
        lines.append(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace").decode())
    return "\n".join(lines) + "\n"


def as_csv(results: Results, scores: Scores | None) -> bytes:
    """A table for spreadsheets, in the order of the data."""
    reached = dict(scores.rows) if scores else {}
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(
        ["id", "images", "question", "answers", "prediction", "probability", "score", "error"]
    )
    for row in results.rows:
        said = results.predictions.get(row.id, Prediction(None))
        cells = [
            str(row.id), " | ".join(Path(image).name for image in row.images), row.question,
            " | ".join(row.answers), said.text or "",
        ]  # fmt: skip
        probability = "" if said.probability is None else f"{said.probability:.4f}"
        value = f"{reached[row.id]:.4g}" if row.id in reached else ""
        writer.writerow([*map(_cell, cells), probability, value, _cell(said.error or "")])
    return file.getvalue().encode("utf-8-sig", "replace")  # the mark tells Excel that it is UTF-8


def as_report(run: Run, metric: str) -> str:
    """The page of `vqa report`."""
    store = batches().store
    found = results(run)
    model = Model(run.model, found.predictions, run=read_run(store.predictions(run)))
    data = build(
        found.scorable(),
        [model],
        metric_of(metric),
        data=run.name,
        images=Path(store.folder(run).absolute().anchor),  # paths are checked and absolute
    )
    return report.render(data)


def _changed(path: Path) -> tuple[int, int]:
    found = path.stat() if path.exists() else None
    return (found.st_mtime_ns, found.st_size) if found else (0, 0)


@st.cache_resource(max_entries=8, show_spinner=False)
def _predictions(path: str, changed: tuple[int, int]) -> Mapping[Key, Prediction]:
    return read_predictions(path)


@st.cache_resource(max_entries=8, show_spinner=False, hash_funcs=_BY_ID)
def _rows(run: Run, changed: tuple[int, int]) -> tuple[Example, ...]:
    store = batches().store
    with stored_in(store.inside(run)):
        found = read(store.data(run), store.images(run), need_answers=False, bad=lambda _: None)
        return tuple(found)


@st.cache_resource(max_entries=32, show_spinner=False, hash_funcs=_BY_ID)
def _scores(run: Run, metric: str, predicted: tuple[int, int], changed: tuple[int, int]) -> Scores:
    found = results(run)
    return score(found.scorable(), found.predictions, metric_of(metric))


def _told(run: Run, said: Prediction) -> Prediction:
    """Without the server's paths."""
    if said.error is None:
        return said
    return replace(said, error=batches().told(run, said.error))


def _cell(said: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    formula = _FORMULA.match(said) and not _NUMBER.fullmatch(said)
    return f"'{said}" if formula else said
