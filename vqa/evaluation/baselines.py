"""What can be reached without looking at the picture, from the answers of the data alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from vqa.data.example import Example
from vqa.data.wording import plain


def commonest_answer(answers: Sequence[Sequence[str]]) -> str:
    """The answer that most rows accept; of several, the one that comes first."""
    poll = _Poll()
    for accepted in answers:
        poll.add(0, accepted)
    return poll.winner() or ""


def question_only(examples: Sequence[Example], clusters: NDArray[np.int64]) -> list[str]:
    """For each row the answer that most rows with the same question accept, on other pictures.

    `clusters` [R] are those of `vqa.evaluation.statistics`: what the row's own picture is asked is
    left out. Where no other picture is asked the question, it is the commonest answer of all other
    pictures; with a single picture it is empty.
    """
    of_all = _Poll()
    polls: defaultdict[str, _Poll] = defaultdict(_Poll)
    for example, cluster in zip(examples, clusters.tolist(), strict=True):
        of_all.add(cluster, example.answers)
        polls[plain(example.question)].add(cluster, example.answers)
    return [
        polls[plain(example.question)].winner(cluster) or of_all.winner(cluster) or ""
        for example, cluster in zip(examples, clusters.tolist(), strict=True)
    ]


class _Poll:
    """Votes of rows for answers; those of one picture can be left out."""

    def __init__(self) -> None:
        self._all: defaultdict[str, float] = defaultdict(float)
        self._of: dict[int, defaultdict[str, float]] = {}
        self._spellings: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._ranked: list[tuple[str, float]] = []
        self._winners: dict[int | None, str | None] = {}

    def add(self, cluster: int, answers: Sequence[str]) -> None:
        """A row's votes: 1 for each answer; of ten raters' answers less for what fewer said."""
        counts = Counter(map(plain, answers))
        for answer in answers:
            self._spellings[plain(answer)][answer] += 1
        most = max(counts.values(), default=1)
        own = self._of.setdefault(cluster, defaultdict(float))
        for answer, count in counts.items():
            self._all[answer] += count / most
            own[answer] += count / most

    def winner(self, without: int | None = None) -> str | None:
        """The answer with most votes; None where nobody has voted."""
        if without not in self._winners:
            self._ranked = self._ranked or sorted(self._all.items(), key=lambda votes: -votes[1])
            own: Mapping[str, float] = {} if without is None else self._of.get(without, {})
            answer = _first_without(self._ranked, own)
            spelled = self._spellings[answer].most_common(1)[0][0] if answer is not None else None
            self._winners[without] = spelled
        return self._winners[without]


def _first_without(ranked: Sequence[tuple[str, float]], own: Mapping[str, float]) -> str | None:
    """The best of answers in falling order of votes, once `own` votes are taken away."""
    best, most = None, 1e-9  # what subtracting leaves of nothing is below
    for answer, votes in ranked:
        if votes <= most:  # no later one can have more
            break
        left = votes - own.get(answer, 0.0)
        if left > most:
            best, most = answer, left
    return best
