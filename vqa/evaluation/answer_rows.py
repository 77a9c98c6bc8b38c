"""Answer rows with their pictures at once, and make prediction rows of the answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from threading import Event
from typing import TYPE_CHECKING, Any, TypeVar, cast

from vqa.answering import Request, SupportsAnswerEach
from vqa.data.encoding import to_messages
from vqa.data.example import Example
from vqa.errors import InputError, NotFiniteError, VQAError

if TYPE_CHECKING:
    from PIL import Image

    from vqa.answering import Answer, Answerer, SamplingParams, SupportsChoices

Item = TypeVar("Item")
Result = TypeVar("Result")
PredictionRow = dict[str, Any]
Query = tuple[int, Request, list[str]]  # index of the row, request, choices (none: generate)


class Cancelled(VQAError):
    """A run was asked to end; what is done stays."""


def answer_rows(
    answerer: Answerer,
    rows: Sequence[tuple[Example, tuple[Image.Image, ...]]],
    settings: SamplingParams,
    *,
    choices: bool = False,
    cancel: Event | None = None,
) -> list[PredictionRow]:
    """Answer all rows at once; return a row for each, in their order, without fingerprint.

    With `choices` the texts of the column `choices` are scored instead (the answerer is a
    `SupportsChoices`). A row that is refused, or whose numbers are not finite, becomes `{"id",
    "error"}` and does not take others with it. Once `cancel` is set, Cancelled is raised as soon
    as the answerer returns.
    """
    results: dict[int, PredictionRow] = {}
    queries: list[Query] = []
    for index, (example, pictures) in enumerate(rows):
        try:
            texts = choices_of(example) if choices else []
            request = Request(to_messages(example, pictures, with_answer=False), settings)
        except InputError as error:
            results[index] = error_row(example.id, error)
        else:
            queries.append((index, request, texts))
    outcomes = _outcomes(answerer, queries, choices, cancel)
    for (index, *_), outcome in zip(queries, outcomes, strict=True):
        key = rows[index][0].id
        if isinstance(outcome, VQAError):
            results[index] = error_row(key, outcome)
        else:
            results[index] = {"id": key, **outcome}
    return [results[index] for index in range(len(rows))]


def _outcomes(
    answerer: Answerer, queries: Sequence[Query], choices: bool, cancel: Event | None
) -> Sequence[PredictionRow | VQAError]:
    """Return the answer to each query without its id, or why there is none."""

    def score(part: Sequence[Query]) -> list[PredictionRow]:
        texts = [texts for *_, texts in part]
        requests = [request for _, request, _ in part]
        scores = cast("SupportsChoices", answerer).score_choices(requests, texts)
        return [_choice_row(*pair) for pair in zip(texts, scores, strict=True)]

    def generate(part: Sequence[Query]) -> list[Answer]:
        return answerer.answer([request for _, request, _ in part], cancel)

    if choices:
        return answer_halving(score, queries)
    if isinstance(answerer, SupportsAnswerEach):  # an endpoint would charge for asking again
        requests = [request for _, request, _ in queries]
        answers = [*answerer.answer_each(requests)] if requests else []
    else:
        answers = answer_halving(generate, queries)
    if cancel is not None and cancel.is_set():  # some may be cut off
        raise Cancelled(f"{answerer.name} was stopped")
    return [answer if isinstance(answer, VQAError) else _answer_row(answer) for answer in answers]


def _answer_row(answer: Answer) -> PredictionRow:
    return {
        "prediction": answer.text,
        "probability": answer.probability,
        "finish": answer.finish_reason,
    }


def error_row(key: str | int, error: object) -> PredictionRow:
    """Make the row that stands for one without an answer."""
    return {"id": key, "error": " ".join(str(error).split())}


def choices_of(example: Example) -> list[str]:
    """Return the column `choices`. Raises InputError unless it lists texts that differ."""
    texts = example.extra.get("choices")
    texts = texts if isinstance(texts, list) else []
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise InputError("`choices` needs a column choices: a list of texts")
    if len(set(texts)) < len(texts):
        raise InputError("the same text comes twice in the column choices")
    return texts


def _choice_row(texts: Sequence[str], scores: Sequence[float]) -> PredictionRow:
    """Choose the likeliest text; probabilities are the softmax of log-probabilities `scores`."""
    top = max(scores)
    if top == -math.inf:
        raise InputError("none of the choices can be the model's answer: they have no probability")
    weights = [math.exp(score - top) for score in scores]
    shares = [weight / sum(weights) for weight in weights]
    best = scores.index(top)
    return {
        "prediction": texts[best],
        "probability": shares[best],
        "finish": "stop",
        "choices": [
            {"text": text, "probability": share} for text, share in zip(texts, shares, strict=True)
        ],
    }


def answer_halving(
    answer: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item]
) -> list[Result | VQAError]:
    """Answer all items, each with a result or an error; halve those that fail together."""
    if not items:
        return []
    try:
        return [*answer(items)]
    except (InputError, NotFiniteError) as error:
        if len(items) == 1:
            return [error]
    half = len(items) // 2
    return [*answer_halving(answer, items[:half]), *answer_halving(answer, items[half:])]
