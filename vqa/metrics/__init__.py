"""Metrics by the names that `vqa score --metric` takes; each is a pure function in its own file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vqa.errors import InputError
from vqa.metrics.bleu import corpus_bleu, sentence_bleu
from vqa.metrics.exact_match import exact_match

RowScore = Callable[[str, Sequence[str]], float]
CorpusScore = Callable[[Sequence[str], Sequence[Sequence[str]]], float]


@dataclass(frozen=True)
class Metric:
    """A metric. `row` scores one prediction against its answers, from 0 to 1.

    `corpus` gives the score of all rows together where that is not the mean over the rows.
    """

    name: str
    row: RowScore
    corpus: CorpusScore | None = None

    def total(self, predictions: Sequence[str], answers: Sequence[Sequence[str]]) -> float:
        """The score of all rows, from 0 to 1; 0 for no rows."""
        if not predictions:
            return 0.0
        if self.corpus is not None:
            return self.corpus(predictions, answers)
        scores = [self.row(p, a) for p, a in zip(predictions, answers, strict=True)]
        return sum(scores) / len(scores)


METRICS = {
    metric.name: metric
    for metric in (
        Metric("exact_match", exact_match),
        Metric("bleu", sentence_bleu, corpus_bleu),
    )
}


def metric(name: str) -> Metric:
    """The metric of that name. Raises InputError with the names that there are."""
    if name not in METRICS:
        raise InputError(f"no metric {name!r}; there are {', '.join(sorted(METRICS))}")
    return METRICS[name]
