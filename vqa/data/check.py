"""Check data: report all problems at once, and what can be answered without seeing.

Nothing here grows with the text of the rows, so a file of millions of them takes little memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqa.data.answer_counts import AnswerCounts
from vqa.data.example import PLACES, Example
from vqa.data.file_conventions import NumbersOfChoices, TimesAsAnswers
from vqa.data.picture_check import PictureCheck
from vqa.data.picture_files import LeftOut
from vqa.data.reading import read
from vqa.data.row_reader import BadRow, Notice
from vqa.data.unique_ids import RepeatedIds
from vqa.errors import InputError
from vqa.inputs.placeholders import PLACEHOLDER

_TOP = 10
_EVERY = 100  # rows between two notes of progress


@dataclass(frozen=True)
class TokenCount:
    """Tokens of a row with its answers: all, those of its pictures, and those in the loss."""

    total: int
    images: int
    in_loss: int


@dataclass(frozen=True)
class Problem:
    """A problem of a row, or of a picture in the first row that names it."""

    file: Path
    line: int
    id: str | int | None
    reason: str
    refused: bool  # whether training refuses the data for it


@dataclass(frozen=True)
class TokenLengths:
    """Statistics of the rows' tokens."""

    min: int
    median: int
    p95: int
    max: int
    total: int  # in all rows
    images: int  # of these, those of pictures
    in_loss: int  # of these
    pictures: int  # in all rows, as often as they come


@dataclass(frozen=True)
class Report:
    """The result of checking a file."""

    file: Path
    rows: int  # that are good
    pictures: int  # different paths
    problems: list[Problem]
    answers: list[tuple[str, int]]  # the commonest that are trained on, with their rows
    different_answers: int
    commonest_answer: float | None  # share of rows that it answers right
    question_alone: float | None  # the same by the commonest answer to the question
    tokens: TokenLengths | None
    context: int | None  # how many tokens the model takes
    notices: tuple[tuple[Path, Notice], ...] = ()  # about whole files

    @property
    def refused(self) -> bool:
        """Return whether training would refuse the data."""
        return not self.rows or any(problem.refused for problem in self.problems)

    @property
    def packed_tokens(self) -> int | None:
        """Tokens of all rows where those about a picture share its tokens, as in training."""
        tokens = self.tokens
        if tokens is None:
            return None
        images_once = tokens.images * self.pictures // max(1, tokens.pictures)
        return tokens.total - tokens.images + images_once

    def to_json(self) -> dict[str, Any]:
        """One object, as `--json` prints it."""
        tokens = self.tokens
        return {
            "file": str(self.file),
            "rows": self.rows,
            "pictures": self.pictures,
            "problems": [
                {"file": str(p.file), "line": p.line, "id": p.id, "reason": p.reason,
                 "refused": p.refused} for p in self.problems
            ],
            "refused": self.refused,
            "repeated_ids": [
                {"file": str(file), "rows": ids.rows, "line": ids.line, "id": ids.id,
                 "unique": ids.unique} for file, ids in self.notices if isinstance(ids, RepeatedIds)
            ],
            "left_out": [
                part for _, files in self.notices if isinstance(files, LeftOut)
                for part in files.parts
            ],
            "times_as_answers": [
                {"file": str(file), "number": times.number, "time": times.time}
                for file, times in self.notices if isinstance(times, TimesAsAnswers)
            ],
            "numbers_of_choices": [
                {"file": str(file), "number": first.number, "text": first.text}
                for file, first in self.notices if isinstance(first, NumbersOfChoices)
            ],
            "answers": [{"answer": answer, "rows": rows} for answer, rows in self.answers],
            "different_answers": self.different_answers,
            "commonest_answer": self.commonest_answer,
            "question_alone": self.question_alone,
            "tokens": None if tokens is None else {
                "min": tokens.min, "median": tokens.median, "p95": tokens.p95,
                "max": tokens.max, "total": tokens.total, "images": tokens.images,
                "learned": tokens.in_loss, "context": self.context,
            },
        }  # fmt: skip


def check(
    path: Path,
    images: Path | None = None,
    *,
    validation: Path | None = None,
    count: Callable[[Example], TokenCount] | None = None,
    context: int | None = None,
    tell: Callable[[int, int | None], None] = lambda done, total: None,
) -> Report:
    """Read every row and open every picture, of the validation data too.

    `count` gives the tokens of a row, and raises InputError where it cannot be put to the model,
    which takes `context` tokens. `tell` is called with the number of rows that are read. Answers
    are compared without regard to case and marks at the end; of several accepted ones the first
    counts, which is trained on. Raises InputError where a file cannot be read at all.
    """
    problems: list[Problem] = []
    lengths: Counter[int] = Counter()
    sums = {"total": 0, "images": 0, "in_loss": 0, "pictures": 0}
    answers = AnswerCounts()
    notices: list[tuple[Path, Notice]] = []
    typed: Example | None = None  # the first in whose questions `<image>` is text
    typed_rows = 0

    def bad(example: Example, reason: str, refused: bool = True) -> None:
        problems.append(Problem(path, example.line, example.id, reason, refused))

    def measure(example: Example) -> None:
        nonlocal typed, typed_rows
        answers.add(example)
        if example.images and _has_typed_placeholder(example):
            typed = typed or example
            typed_rows += 1
        if count is None:
            return
        try:
            tokens = count(example)
        except InputError as error:
            bad(example, str(error))
            return
        lengths[tokens.total] += 1
        sums["total"] += tokens.total
        sums["images"] += tokens.images
        sums["in_loss"] += tokens.in_loss
        sums["pictures"] += len(example.images)
        if context is not None and tokens.total > context:
            bad(example, f"{tokens.total} tokens, but the model takes {context}")
        if not tokens.in_loss:
            bad(example, "nothing of it is learned", refused=False)

    pictures = _read(path, images, validation is not None, problems, measure, tell, notices)
    if validation is not None:
        checked = _read(validation, images, True, problems, lambda _: None, tell, notices)
        for line, other in checked.also_in(pictures):
            reason = f"its picture is the same as in line {other} of {path}, which is trained on"
            problems.append(Problem(validation, line, None, reason, refused=True))
    if typed is not None:
        bad(
            typed,
            f"in {typed_rows} rows {PLACEHOLDER} is text of a question, with pictures before it: "
            f"say where they stand in {PLACES}, or write conversations as LLaVA has them",
            refused=False,
        )
    conflicts = list(answers.conflicts())
    guesses = answers.guesses(_TOP) if len(answers) else None
    commonest = guesses.commonest if guesses is not None else []
    lines = {conflict.line for conflict in conflicts}
    lines |= {answer for answer, _ in commonest if isinstance(answer, int)}
    examples = _examples_at(path, images, lines)
    for conflict in conflicts:
        reason = (
            f"{conflict.rows} rows ask this about the same picture and have "
            f"{conflict.answers} different answers"
        )
        key = examples[conflict.line].id if conflict.line in examples else None
        problems.append(Problem(path, conflict.line, key, reason, refused=False))
    return Report(
        path,
        len(answers),
        len(pictures),
        problems,
        [
            (answer if isinstance(answer, str) else examples[answer].answers[0], rows)
            for answer, rows in commonest
        ],
        guesses.different if guesses is not None else 0,
        guesses.by_answer if guesses is not None else None,
        guesses.by_question if guesses is not None else None,
        _lengths(lengths, **sums) if lengths else None,
        context,
        tuple(notices),
    )


def _has_typed_placeholder(example: Example) -> bool:
    """Return whether a question has `<image>` where no picture stands."""
    questions = [(turn.question, turn.places) for turn in example.earlier]
    questions.append((example.question, example.places))
    return any(text.count(PLACEHOLDER) > len(places) for text, places in questions)


def _read(
    path: Path,
    images: Path | None,
    prints: bool,
    problems: list[Problem],
    use: Callable[[Example], None],
    tell: Callable[[int, int | None], None],
    notices: list[tuple[Path, Notice]],
) -> PictureCheck:
    """Call `use` with all good rows of a file, and add the problems of the others."""

    def bad(row: BadRow) -> None:
        problems.append(Problem(path, row.line, row.id, row.reason, refused=True))

    rows = 0
    with PictureCheck(prints) as pictures:
        examples = read(path, images, bad=bad, notice=lambda note: notices.append((path, note)))
        for rows, example in enumerate(examples, start=1):
            use(example)
            pictures.add(example)
            if rows % _EVERY == 0:
                tell(rows, None)
    tell(rows, rows)
    for broken in pictures.broken():
        bad(broken.row)
    return pictures


def _examples_at(path: Path, images: Path | None, lines: set[int]) -> dict[int, Example]:
    """Read the examples of some lines once more."""
    examples: dict[int, Example] = {}
    if not lines:
        return examples
    for example in read(path, images, need_images=False, bad=lambda _: None):
        if example.line in lines:
            examples[example.line] = example
            if len(examples) == len(lines):
                break
    return examples


def _lengths(lengths: Counter[int], **sums: int) -> TokenLengths:
    rows = lengths.total()
    ordered = sorted(lengths.items())

    def at(share: float) -> int:
        """Return the length that this share of the rows does not exceed."""
        below = 0
        for length, count in ordered:
            below += count
            if below >= share * rows:
                return length
        return ordered[-1][0]

    return TokenLengths(ordered[0][0], at(0.5), at(0.95), ordered[-1][0], **sums)
