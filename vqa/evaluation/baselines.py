"""Baselines that do not see the picture, from the answers of the data alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from string import ascii_uppercase

import numpy as np
from numpy.typing import NDArray

from vqa.data.example import Example, fold


def commonest_answer(answers: Sequence[Sequence[str]]) -> str:
    """Return the answer that most rows accept; of several, the one that comes first."""
    poll = _Poll()
    for accepted in answers:
        poll.add(0, accepted)
    return poll.winner() or ""


def commonest_place(examples: Sequence[Example]) -> list[str] | None:
    """Answer each row with the choice that stands where most rows have the right one.

    None where a row has no choices, or none of them is right in any.
    """
    choices = [example.extra.get("choices") for example in examples]
    if not all(isinstance(texts, list) and texts for texts in choices):
        return None
    lists = [[str(text) for text in texts] for texts in choices if isinstance(texts, list)]
    right = [_place(texts, row.answers) for texts, row in zip(lists, examples, strict=True)]
    places = Counter(place for place in right if place is not None)
    if not places:
        return None
    (place, _), *_ = places.most_common(1)
    return [texts[place] if place < len(texts) else "" for texts in lists]


def _place(choices: Sequence[str], answers: Sequence[str]) -> int | None:
    """Return where the right choice stands, given by its text or its letter."""
    accepted = {fold(answer) for answer in answers}
    named = zip(choices, ascii_uppercase, strict=False)
    places = [at for at, (text, _) in enumerate(named) if fold(text) in accepted]
    letters = [at for at, letter in enumerate(ascii_uppercase[: len(choices)]) if letter in answers]
    return next(iter(places or letters), None)


def question_only(examples: Sequence[Example], clusters: NDArray[np.int64]) -> list[str]:
    """Answer each row with what most rows with the same question accept, on other pictures.

    `clusters` [R] are those of `vqa.evaluation.statistics`: rows about the same picture are left
    out. Where no other picture is asked the question, it is the commonest answer of all other
    pictures; with a single picture it is empty.
    """
    of_all = _Poll()
    polls: defaultdict[str, _Poll] = defaultdict(_Poll)
    for example, cluster in zip(examples, clusters.tolist(), strict=True):
        of_all.add(cluster, example.answers)
        polls[fold(example.question)].add(cluster, example.answers)
    return [
        polls[fold(example.question)].winner(cluster) or of_all.winner(cluster) or ""
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
        """Add a row's votes: 1 for each answer; of ten raters' answers less for rarer ones."""
        counts = Counter(map(fold, answers))
        for answer in answers:
            self._spellings[fold(answer)][answer] += 1
        most = max(counts.values(), default=1)
        of_cluster = self._of.setdefault(cluster, defaultdict(float))
        for answer, count in counts.items():
            self._all[answer] += count / most
            of_cluster[answer] += count / most

    def winner(self, without: int | None = None) -> str | None:
        """Return the answer with most votes; None where nobody has voted."""
        if without not in self._winners:
            self._ranked = self._ranked or sorted(self._all.items(), key=lambda pair: -pair[1])
            votes: Mapping[str, float] = {} if without is None else self._of.get(without, {})
            answer = _first_without(self._ranked, votes)
            spelled = self._spellings[answer].most_common(1)[0][0] if answer is not None else None
            self._winners[without] = spelled
        return self._winners[without]


def _first_without(ranked: Sequence[tuple[str, float]], without: Mapping[str, float]) -> str | None:
    """Return the best of answers in falling order of votes, once votes `without` are subtracted."""
    best, most = None, 1e-9  # what subtracting leaves of nothing is below
    for answer, votes in ranked:
        if votes <= most:  # no later one can have more
            break
        left = votes - without.get(answer, 0.0)
        if left > most:
            best, most = answer, left
    return best
