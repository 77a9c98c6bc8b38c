"""Counts over the rows of a file, whatever its size: 28 bytes a row, and exact at the end."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vqa.data.example import Example
from vqa.data.wording import plain

_TEXTS_KEPT = 50_000
_PARTS = 16  # sorting takes several copies: of one part of the rows at a time
_BLOCK = 1 << 16
_MIX = np.uint64(0x9E3779B97F4A7C15)  # odd, its bits evenly spread (2**64 by the golden ratio)

Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class Guesses:
    """What can be had from the answers of R rows alone."""

    commonest: list[tuple[str | int, int]]  # answers as text, or a line that has it; their rows
    different: int  # answers
    by_answer: float  # share of rows that the commonest answer is right for
    by_question: float  # the same of the commonest answer to the question in the other rows


@dataclass(frozen=True)
class Conflict:
    """A question that is asked several times about the same pictures, with different answers."""

    line: int  # the first of its rows
    rows: int
    answers: int


class Tally:
    """Notes the rows of a file as hashes of their question, pictures and learned answer."""

    def __init__(self) -> None:
        self._questions, self._shown, self._answers = array("q"), array("q"), array("q")
        self._lines = array("I")
        self._texts: dict[int, str] = {}  # of the first different answers

    def __len__(self) -> int:
        return len(self._lines)

    def note(self, example: Example) -> None:
        """Take a row into account. It has an answer."""
        answer = plain(example.answers[0])
        key = hash(answer)
        if len(self._texts) < _TEXTS_KEPT:
            self._texts.setdefault(key, example.answers[0])
        self._questions.append(hash(plain(example.question)))
        self._shown.append(hash((example.images, example.earlier, example.system)))
        self._answers.append(key)
        self._lines.append(example.line)

    def guesses(self, most: int) -> Guesses:
        """Count the answers, and name the `most` commonest; there must be a row.

        Of equally common answers the first comes first. Where several answers to a question are
        equally common one of them is drawn; where no other row has the question the commonest
        answer of all is taken.
        """
        answers = _view(self._answers)
        best: list[tuple[int, int]] = []  # rows, and the place of the first
        different = 0
        for rows in _parts(answers):
            order = np.argsort(answers[rows], kind="stable")
            starts = _starts(answers[rows[order]])
            first = rows[order[starts]]
            counts = np.diff(np.append(starts, len(rows)))
            different += len(starts)
            places = np.lexsort((first, -counts))[:most]
            best += zip(counts[places].tolist(), first[places].tolist(), strict=True)
        best = sorted(best, key=lambda pair: (-pair[0], pair[1]))[:most]
        named = [(self._name(place), count) for count, place in best]
        count, place = best[0]
        commonest = answers[place] if count > 1 else None
        right = self._right(commonest)
        return Guesses(named, different, count / len(self), right / len(self))

    def conflicts(self) -> Iterator[Conflict]:
        """Every question with pictures for which rows learn different answers."""
        keys = _view(self._questions) * _MIX
        keys += _view(self._shown)
        answers = _view(self._answers)
        for rows in _parts(keys):
            # rows of one group stay in their order
            rows = rows[np.argsort(keys[rows], kind="stable")]
            starts = _starts(keys[rows])
            sizes = np.diff(np.append(starts, len(rows)))
            found = answers[rows]
            other = found != np.repeat(found[starts], sizes)
            for n in np.flatnonzero(np.logical_or.reduceat(other, starts)).tolist():
                group = found[starts[n] : starts[n] + sizes[n]]
                line = self._lines[int(rows[starts[n]])]
                yield Conflict(line, len(group), len(np.unique(group)))

    def _name(self, place: int) -> str | int:
        """The answer of a row, or the row's line where its text was not kept."""
        text = self._texts.get(self._answers[place])
        return text if text is not None else self._lines[place]

    def _right(self, commonest: np.uint64 | None) -> float:
        """For how many rows the others with the same question have its answer most often."""
        questions, answers = _view(self._questions), _view(self._answers)
        # a question of very many rows would fill a part of its own: what is seen twice there has
        # at least a sixteenth of all
        seen = np.sort(questions)[:: max(1, len(questions) // _PARTS)].copy()
        often = np.unique(seen[:-1][seen[:-1] == seen[1:]])
        right = 0.0
        rest = np.ones(len(questions), dtype=np.bool_)
        for value in often:
            rows = questions == value
            right += _right_of_one(answers[rows])
            rest &= ~rows
        for places in _parts(questions):
            places = places[rest[places]]
            if len(places):
                right += _right_of_many(questions[places], answers[places], commonest)
        return right


def _parts(keys: Hashes) -> Iterator[NDArray[np.int64]]:
    """The places of the keys in up to `_PARTS` parts; equal keys are in one part."""
    part_of = np.empty(len(keys), dtype=np.uint8)
    for start in range(0, len(keys), _BLOCK):
        block = keys[start : start + _BLOCK]
        part_of[start : start + _BLOCK] = (block * _MIX) >> np.uint64(60)
    for part in range(_PARTS):
        places = np.flatnonzero(part_of == part)
        if len(places):
            yield places


def _right_of_one(answers: Hashes) -> float:
    """Of rows with one question: for how many the others have its answer most often."""
    sizes: Counter[int] = Counter()  # how many answers have so many rows
    for places in _parts(answers):
        found = np.sort(answers[places])
        counts = np.diff(np.append(_starts(found), len(found)))
        for size, number in zip(*np.unique(counts, return_counts=True), strict=True):
            sizes[int(size)] += int(number)
    (best, alone), (second, seconds) = [*sorted(sizes.items(), reverse=True), (0, 0)][:2]
    left = best - 1  # votes for the best answer without the row's own
    if alone > 1 or left < second or not left:
        return 0.0
    return float(best) if left > second else best / (seconds + 1)


def _right_of_many(questions: Hashes, answers: Hashes, commonest: np.uint64 | None) -> float:
    """The same for rows of many questions."""
    order = np.lexsort((answers, questions))
    questions, answers = questions[order], answers[order]
    pairs = _starts(questions, answers)  # [P] rows that begin a pair of question and answer
    counts = np.diff(np.append(pairs, len(answers)))  # [P]
    groups = _starts(questions[pairs])  # [Q] pairs that begin a question
    sizes = np.diff(np.append(groups, len(pairs)))  # [Q]
    best = np.maximum.reduceat(counts, groups)  # [Q]
    is_best = counts == np.repeat(best, sizes)  # [P]
    alone = np.add.reduceat(is_best.astype(np.int64), groups) == 1  # [Q] no other is as common
    second = np.maximum.reduceat(np.where(is_best, 0, counts), groups)  # [Q]
    is_second = (counts == np.repeat(second, sizes)) & ~is_best  # [P]
    seconds = np.add.reduceat(is_second.astype(np.int64), groups)  # [Q]
    left = best - 1
    certain = alone & (left > second)
    drawn = alone & (left == second) & (left > 0)
    right = best[certain].sum() + (best[drawn] / (seconds[drawn] + 1)).sum()
    if commonest is not None:
        single = np.add.reduceat(counts, groups) == 1  # [Q] asked once
        right += (answers[pairs[groups[single]]] == commonest).sum()
    return float(right)


def _view(values: array[int]) -> Hashes:
    return np.frombuffer(values, dtype=np.uint64) if values else np.empty(0, dtype=np.uint64)


def _starts(*sorted_values: Hashes) -> NDArray[np.int64]:
    """Where something else begins in sorted values."""
    new = np.zeros(len(sorted_values[0]), dtype=np.bool_)
    new[:1] = True
    for values in sorted_values:
        new[1:] |= values[1:] != values[:-1]
    return np.flatnonzero(new)
