"""Confusion of the frequent answers: which of them was predicted for which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from vqa.evaluation.report.causes import majority, words

MOST = 9  # answers
_MOST_OTHERS = 2  # frequent predictions that are none of these
_OFTEN = 0.02  # of the rows, to be one of them


@dataclass(frozen=True)
class Confusion:
    """Counts of predictions (columns) for questions with a frequent answer (lines)."""

    answers: tuple[str, ...]  # [A], the commonest first
    columns: tuple[str, ...]  # [A + O], the same and what else was often predicted
    counts: tuple[tuple[int, ...], ...]  # [A, A + O + 2]: these, something else, nothing

    @property
    def totals(self) -> tuple[int, ...]:
        """Return the number of rows with each of the answers, [A]."""
        return tuple(map(sum, self.counts))


def confusions(
    answers: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]
) -> tuple[Confusion, ...]:
    """Count the confusion of each model, [M], from R rows' answers and its R predictions.

    All have the same lines and columns. The answer of a row is what most raters gave. A prediction
    of several words counts as the one of the columns that it holds, where it holds exactly one.
    Empty where fewer than two answers come again: there is nothing to confuse.
    """
    truths = [majority(accepted) for accepted in answers]
    counts = Counter(filter(None, truths))
    frequent = [answer for answer, count in counts.most_common(MOST) if count > 1]
    if len(frequent) < 2:
        return ()
    places = [place for place, truth in enumerate(truths) if truth in set(frequent)]
    plain = [[words(part[place]) for place in places] for part in predictions]
    texts = Counter(text for part in plain for each in part if (text := " ".join(each)))
    least = _OFTEN * len(places) * len(predictions)
    others = [text for text, n in texts.most_common() if text not in frequent and n > least]
    columns = frequent + others[:_MOST_OTHERS]
    return tuple(
        _counted(frequent, columns, [truths[place] for place in places], part) for part in plain
    )


def _counted(
    answers: Sequence[str],
    columns: Sequence[str],
    truths: Sequence[str],
    predictions: Sequence[Sequence[str]],
) -> Confusion:
    line = {answer: i for i, answer in enumerate(answers)}
    column = {text: i for i, text in enumerate(columns)}
    counts = [[0] * (len(columns) + 2) for _ in answers]
    for truth, predicted in zip(truths, predictions, strict=True):
        counts[line[truth]][_column(predicted, column)] += 1
    return Confusion(tuple(answers), tuple(columns), tuple(map(tuple, counts)))


def _column(predicted: Sequence[str], column: dict[str, int]) -> int:
    if not predicted:
        return len(column) + 1
    if (text := " ".join(predicted)) in column:
        return column[text]
    matches = {word for word in predicted if word in column}
    return column[matches.pop()] if len(matches) == 1 else len(column)
