"""Which metric suits a file of questions, where nobody says."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from vqa.data.example import Example

_SEVERAL = 3  # accepted answers a row from which on they are a poll, as the ten of VQA v2
_SENTENCE = 5  # words


def guessed_metric(rows: Sequence[Example]) -> str:
    """The name of the metric for these rows, which have answers.

    Rows with `choices` are multiple choice. Sentences are compared by their words: as captions
    where there are several for a picture. Short answers of several people are a poll; a single one
    has to be said exactly. `vqa.metrics` has others, which only a person can choose.
    """
    if rows and all(isinstance(row.extra.get("choices"), list) for row in rows):
        return "multiple_choice"
    if not rows:
        return "exact_match"
    accepted = median(len(row.answers) for row in rows)
    words = median(len(row.answers[0].split()) if row.answers else 0 for row in rows)
    if words >= _SENTENCE:
        return "cider_d" if accepted > 1 else "rouge_l"
    return "vqa_accuracy" if accepted >= _SEVERAL else "exact_match"
