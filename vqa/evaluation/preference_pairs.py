"""Pairs of answers for `vqa train preference`, from the predictions of a model.

A wrong prediction is rejected, and an accepted answer preferred to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from vqa.data.example import REJECTED, Example
from vqa.evaluation.predictions import Prediction, RowId
from vqa.metrics.exact_match import exact_match, normalize

_OPPOSITE = {"yes": "no", "no": "yes"}


def wrong_answers(
    rows: Sequence[Example], predictions: Mapping[RowId, Prediction], opposites: bool = False
) -> Iterator[Example]:
    """Yield the rows that were answered wrong by exact match, with the prediction as `rejected`.

    With `opposites`, right answers of yes or no come too, the other word rejected: pairs of the
    wrong ones alone teach that one of the two words is too frequent, whatever is asked. Rows
    without a prediction are left out.
    """
    for row in rows:
        prediction = predictions.get(row.id)
        if prediction is None or not (prediction.text or "").strip():
            continue
        text = (prediction.text or "").strip()
        if not exact_match(text, row.answers):
            yield replace(row, extra={**row.extra, REJECTED: text})
        elif opposites and (other := _OPPOSITE.get(normalize(text))):
            # the answer as the row has it, in front
            answers = (text, *(one for one in row.answers if one != text))
            yield replace(row, answers=answers, extra={**row.extra, REJECTED: _like(other, text)})


def _like(word: str, text: str) -> str:
    """Write a word with a capital where the text has one, and with its full stop."""
    word = word.capitalize() if text[0].isupper() else word
    return word + "." * text.endswith(".")
