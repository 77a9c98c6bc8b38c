"""Put rows with their pictures to an answerer, and make rows of what comes back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from threading import Event
from typing import TYPE_CHECKING, Any, TypeVar, cast

from vqa.answering import AnsweringEach, Request
from vqa.data.example import Example
from vqa.errors import InputError, VQAError
from vqa.turns import messages

if TYPE_CHECKING:
    from PIL import Image

    from vqa.answering import Answer, Answerer, Choosing, Settings

Result = TypeVar("Result")
Row = dict[str, Any]


class Cancelled(VQAError):
    """A run was asked to end; what is done is kept."""


def ask(
    answerer: Answerer,
    rows: Sequence[tuple[Example, tuple[Image.Image, ...]]],
    settings: Settings,
    *,
    choices: bool = False,
    cancel: Event | None = None,
) -> list[Row]:
    """Ask all rows at once; returns a row for each, in their order, without fingerprint.

    With `choices` the texts of the column `choices` are scored instead (the answerer is a
    `Choosing`). A row that is refused becomes `{"id", "error"}` and does not take others with it.
    Once `cancel` is set, Cancelled is raised as soon as the answerer returns.
    """
    made: dict[int, Row] = {}
    asked: list[tuple[int, Request]] = []
    texts: dict[int, list[str]] | None = {} if choices else None
    for index, (example, pictures) in enumerate(rows):
        try:
            if texts is not None:
                texts[index] = choices_of(example)
            request = Request(messages(example, pictures, answered=False), settings)
        except InputError as error:
            made[index] = error_row(example.id, error)
        else:
            asked.append((index, request))
    for (index, _), found in zip(asked, _outcomes(answerer, asked, texts, cancel), strict=True):
        key = rows[index][0].id
        if isinstance(found, InputError):
            made[index] = error_row(key, found)
        else:
            made[index] = {"id": key, **found}
    return [made[index] for index in range(len(rows))]


def _outcomes(
    answerer: Answerer,
    asked: Sequence[tuple[int, Request]],
    texts: Mapping[int, list[str]] | None,
    cancel: Event | None,
) -> list[Row | InputError]:
    """What came back for each request, or why nothing did. `texts` are choices by the number."""

    def choose(part: Sequence[tuple[int, Request]]) -> list[Row]:
        assert texts is not None
        given = [texts[index] for index, _ in part]
        scores = cast("Choosing", answerer).choose([request for _, request in part], given)
        return [_chosen(*pair) for pair in zip(given, scores, strict=True)]

    if texts is not None:
        return _in_parts(choose, asked)
    if isinstance(answerer, AnsweringEach):  # an endpoint would charge for asking again
        answers = answerer.answer_each([request for _, request in asked]) if asked else []
    else:
        answers = _in_parts(
            lambda part: answerer.answer([request for _, request in part], cancel), asked
        )
    if cancel is not None and cancel.is_set():  # some may be cut off
        raise Cancelled(f"{answerer.name} was stopped")
    return [answer if isinstance(answer, InputError) else _row(answer) for answer in answers]


def _row(answer: Answer) -> Row:
    return {
        "prediction": answer.text,
        "probability": answer.probability,
        "finish": answer.finish,
    }


def error_row(key: str | int, error: object) -> Row:
    """The row that stands for one without an answer."""
    return {"id": key, "error": " ".join(str(error).split())}


def choices_of(example: Example) -> list[str]:
    """The texts in the column `choices`. Raises InputError where they are none or not different."""
    found = example.extra.get("choices")
    texts = found if isinstance(found, list) else []
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise InputError("--choices needs a column choices: a list of texts")
    if len(set(texts)) < len(texts):
        raise InputError("the same text comes twice in the column choices")
    return texts


def _chosen(texts: Sequence[str], scores: Sequence[float]) -> Row:
    """The likeliest text, with probabilities among the texts: the softmax of log-probabilities."""
    top = max(scores)
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


def _in_parts(
    answer: Callable[[Sequence[tuple[int, Request]]], list[Result]],
    asked: Sequence[tuple[int, Request]],
) -> list[Result | InputError]:
    """Answers, or why there is none: what is refused together is asked again in halves."""
    if not asked:
        return []
    try:
        return [*answer(asked)]
    except InputError as error:
        if len(asked) == 1:
            return [error]
    half = len(asked) // 2
    return [*_in_parts(answer, asked[:half]), *_in_parts(answer, asked[half:])]
