"""Counts of the answers in a file, whatever its size: 28 bytes a row, and exact at the end."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from vqa.data.example import Example, fold

_TEXTS = 50_000  # answers that are held as text
_TEXTS_ROOM = 20_000_000  # characters of them together
_PARTS, _BLOCK = 16, 1 << 16
_MIX = np.uint64(0x9E3779B97F4A7C15)  # odd, its bits evenly spread (2**64 by the golden ratio)


@dataclass(frozen=True)
class BlindGuesses:
    """How far one gets with R rows without seeing a picture."""

    commonest: list[tuple[str | int, int]]  # answers as text, or a line that has it; their rows
    different: int  # answers
    by_answer: float  # share of rows that the commonest answer is right for
    by_question: float  # the same of the commonest answer to the question in the other rows


@dataclass(frozen=True)
class AnswerConflict:
    """A question that is asked several times about the same pictures, with different answers."""

    line: int  # the first of its rows
    rows: int
    answers: int


class AnswerCounts:
    """Holds the rows of a file as hashes of their question, of its context and of the answer."""

    def __init__(self) -> None:
        self._question, self._context, self._answer = array("q"), array("q"), array("q")
        self._line = array("I")
        self._texts: dict[int, str] = {}  # of the first different answers
        self._room = _TEXTS_ROOM

    def __len__(self) -> int:
        return len(self._line)

    def add(self, example: Example) -> None:
        """Count a row, which has an answer: the first is trained on."""
        text = example.answers[0]
        key = hash(fold(text))
        if len(self._texts) < _TEXTS and len(text) <= self._room and key not in self._texts:
            self._texts[key] = text
            self._room -= len(text)
        self._question.append(hash(fold(example.question)))
        self._context.append(hash((example.images, example.earlier, example.system)))
        self._answer.append(key)
        self._line.append(example.line)

    def guesses(self, most: int) -> BlindGuesses:
        """Count the answers, and name the `most` commonest; there must be a row.

        Of equally common answers the first comes first. Where several answers to a question are
        equally common one of them is drawn; where no other row has the question the commonest
        answer of all is taken.
        """
        best: list[tuple[int, int, int]] = []  # minus the rows, the first line, the answer
        different = 0
        for group in self._groups("answer"):
            different += len(group.rows)
            top = np.lexsort((group.line, -group.rows))[:most]
            columns = (-group.rows, group.line, group.answer)
            best += zip(*(column[top].tolist() for column in columns), strict=True)
        best = sorted(best)[:most]
        commonest = best[0][2] if best[0][0] < -1 else None
        right = sum(_right_by_question(g, commonest) for g in self._groups("question", "answer"))
        named = [(self._texts.get(answer, line), -rows) for rows, line, answer in best]
        return BlindGuesses(named, different, -best[0][0] / len(self), right / len(self))

    def conflicts(self) -> Iterator[AnswerConflict]:
        """Yield every question about pictures whose rows have different answers."""
        for group in self._groups("context", "question", "answer"):
            starts = _starts(group.context, group.question)
            answers = np.diff(starts, append=len(group.rows))
            rows, lines = (
                np.add.reduceat(group.rows, starts),
                np.minimum.reduceat(group.line, starts),
            )
            for n in np.flatnonzero(answers > 1):
                yield AnswerConflict(int(lines[n]), int(rows[n]), int(answers[n]))

    def _groups(self, *keys: str) -> Iterator[SimpleNamespace]:
        """Group the rows by columns: each column [G], `rows` of a group and its first `line`.

        The groups come sorted, in parts by their first key, since sorting takes several copies.
        """
        columns = {name: np.frombuffer(getattr(self, f"_{name}"), np.int64) for name in keys}
        part_of = np.empty(len(self), np.uint8)
        for start in range(0, len(self), _BLOCK):
            block = columns[keys[0]][start : start + _BLOCK].view(np.uint64)
            part_of[start : start + _BLOCK] = (block * _MIX) >> np.uint64(60)
        for part in range(_PARTS):
            places = np.flatnonzero(part_of == part).astype(np.uint32)
            if not len(places):
                continue
            # rows of one group stay in their order
            places = places[np.lexsort([columns[name][places] for name in reversed(keys)])]
            starts = _starts(*(columns[name][places] for name in keys))
            firsts = places[starts]
            yield SimpleNamespace(
                **{name: column[firsts] for name, column in columns.items()},
                rows=np.diff(starts, append=len(places)),
                line=np.frombuffer(self._line, np.uint32)[firsts].astype(np.int64),
            )


def _starts(*columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Find where another value begins in any of sorted columns."""
    changes = [column[1:] != column[:-1] for column in columns]
    return np.flatnonzero(np.concatenate([[True], np.logical_or.reduce(changes)]))


def _right_by_question(pairs: SimpleNamespace, commonest: int | None) -> float:
    """Count the rows whose answer is most often that of the others with the same question."""
    counts = pairs.rows  # [P] rows of a question with an answer
    groups = _starts(pairs.question)  # [Q] a question begins
    sizes = np.diff(groups, append=len(counts))  # [Q]
    best = np.maximum.reduceat(counts, groups)  # [Q]
    is_best = counts == np.repeat(best, sizes)  # [P]
    alone = np.add.reduceat(is_best.astype(np.int64), groups) == 1  # [Q] no other is as common
    second = np.maximum.reduceat(np.where(is_best, 0, counts), groups)  # [Q]
    is_second = (counts == np.repeat(second, sizes)) & ~is_best  # [P]
    seconds = np.add.reduceat(is_second.astype(np.int64), groups)  # [Q]
    others = best - 1  # votes for the best answer without the row's own
    certain = alone & (others > second)
    drawn = alone & (others == second) & (others > 0)
    right = best[certain].sum() + (best[drawn] / (seconds[drawn] + 1)).sum()
    if commonest is not None:
        once = np.add.reduceat(counts, groups) == 1  # [Q] asked once
        right += (pairs.answer[groups[once]] == commonest).sum()
    return float(right)
