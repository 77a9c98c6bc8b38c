"""Score predictions against the data's answers, beside the commonest answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

from vqa.data.example import Example
from vqa.errors import InputError
from vqa.files import read_jsonl
from vqa.metrics import Metric


@dataclass(frozen=True)
class Scores:
    """The result of a metric. All scores are from 0 to 1."""

    metric: str
    score: float
    rows: tuple[tuple[str | int, float], ...]  # id and score, in the order of the data
    commonest_answer: str
    commonest_score: float  # of an answerer that always says the commonest answer
    missing: tuple[str | int, ...] = ()  # ids without a prediction; they count as wrong
    errors: tuple[str | int, ...] = ()  # ids whose prediction failed; they count as wrong
    unknown: tuple[str | int, ...] = field(default=())  # predicted ids that the data does not have

    def to_json(self, with_rows: bool = False) -> dict[str, Any]:
        """One object for `--json`."""
        found: dict[str, Any] = {
            "metric": self.metric,
            "score": self.score,
            "count": len(self.rows),
            "missing": len(self.missing),
            "errors": len(self.errors),
            "unknown": len(self.unknown),
            "commonest_answer": {"answer": self.commonest_answer, "score": self.commonest_score},
        }
        if with_rows:
            found["rows"] = [{"id": key, "score": value} for key, value in self.rows]
        return found


def read_predictions(path: str | PathLike[str]) -> dict[str | int, str | None]:
    """Predictions by id; None for a row that tells of an error.

    Raises InputError with file and line for a row that is no prediction and for an id that comes
    twice.
    """
    found: dict[str | int, str | None] = {}
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
        if not isinstance(text, str) and "error" not in row:
            raise InputError(f"{path}:{number}: no prediction (a text) for the id {key!r}")
        found[key] = text if isinstance(text, str) else None
    return found


def score(
    rows: Sequence[Example], predictions: Mapping[str | int, str | None], metric: Metric
) -> Scores:
    """Score the predictions of these rows; what was not predicted counts as wrong.

    Raises InputError where there are no rows, or where no prediction belongs to any of them.
    """
    if not rows:
        raise InputError("the data has no rows to score")
    known = {example.id for example in rows}
    unknown = tuple(key for key in predictions if key not in known)
    if predictions and len(unknown) == len(predictions):
        raise InputError(
            f"no prediction has an id of the data ({next(iter(predictions))!r} against "
            f"{rows[0].id!r}): are these predictions of other data?"
        )
    answers = [example.answers for example in rows]
    said = [predictions.get(example.id) or "" for example in rows]
    commonest = commonest_answer(answers)
    return Scores(
        metric.name,
        metric.total(said, answers),
        tuple((e.id, metric.row(p, e.answers)) for e, p in zip(rows, said, strict=True)),
        commonest,
        metric.total([commonest] * len(rows), answers),
        missing=tuple(e.id for e in rows if e.id not in predictions),
        errors=tuple(e.id for e in rows if e.id in predictions and predictions[e.id] is None),
        unknown=unknown,
    )


def commonest_answer(answers: Sequence[Sequence[str]]) -> str:
    """The answer that most rows accept; of several, the one that comes first."""
    counts = Counter(answer for accepted in answers for answer in dict.fromkeys(accepted))
    return counts.most_common(1)[0][0] if counts else ""
