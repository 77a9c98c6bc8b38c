"""Is the data right: everything that is wrong with it at once, and what can be had without seeing.

Nothing here grows with the text of the rows, so a file of millions of them takes little memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqa.data.example import Example
from vqa.data.picture_check import PictureCheck
from vqa.data.reading import read
from vqa.data.rows import BadRow
from vqa.data.tally import Tally
from vqa.errors import InputError

_TOP = 10
_EVERY = 100  # rows between two notes of progress


@dataclass(frozen=True)
class TokenCount:
    """Tokens of a row with its answers: all, those of its pictures, and those that are learned."""

    total: int
    images: int
    learned: int


@dataclass(frozen=True)
class Problem:
    """What is wrong with a row, or with a picture from the first row that names it."""

    file: Path
    line: int
    id: str | int | None
    reason: str
    refused: bool  # whether training refuses the data for it


@dataclass(frozen=True)
class Lengths:
    """Tokens of the rows."""

    least: int
    median: int
    most_of_95_percent: int
    most: int
    total: int  # in all rows
    images: int  # of these, those of pictures
    learned: int  # of these
    shown: int  # pictures in all rows, as often as they come


@dataclass(frozen=True)
class Report:
    """What was found in a file."""

    file: Path
    rows: int  # that are good
    pictures: int  # different paths
    problems: list[Problem]
    answers: list[tuple[str, int]]  # the commonest that are learned, with their rows
    different_answers: int
    commonest_answer: float | None  # share of rows that it answers right
    question_alone: float | None  # the same by the commonest answer to the question
    tokens: Lengths | None
    context: int | None  # how many tokens the model takes

    @property
    def refused(self) -> bool:
        """Whether training would refuse the data."""
        return not self.rows or any(problem.refused for problem in self.problems)

    @property
    def packed_tokens(self) -> int | None:
        """Tokens of all rows where those about a picture share its tokens, as in training."""
        tokens = self.tokens
        if tokens is None:
            return None
        seen_once = tokens.images * self.pictures // max(1, tokens.shown)
        return tokens.total - tokens.images + seen_once

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
            "answers": [{"answer": answer, "rows": rows} for answer, rows in self.answers],
            "different_answers": self.different_answers,
            "commonest_answer": self.commonest_answer,
            "question_alone": self.question_alone,
            "tokens": None if tokens is None else {
                "min": tokens.least, "median": tokens.median, "p95": tokens.most_of_95_percent,
                "max": tokens.most, "total": tokens.total, "images": tokens.images,
                "learned": tokens.learned, "context": self.context,
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
    which takes `context` tokens. `tell` hears how many rows are read. Answers are compared without
    regard to case and marks at the end; of several accepted ones the first counts, which is
    learned. Raises InputError where a file cannot be read at all.
    """
    problems: list[Problem] = []
    lengths: Counter[int] = Counter()
    sums = {"total": 0, "images": 0, "learned": 0, "shown": 0}
    tally = Tally()

    def bad(example: Example, reason: str, refused: bool = True) -> None:
        problems.append(Problem(path, example.line, example.id, reason, refused))

    def measure(example: Example) -> None:
        tally.note(example)
        if count is None:
            return
        try:
            found = count(example)
        except InputError as error:
            bad(example, str(error))
            return
        lengths[found.total] += 1
        sums["total"] += found.total
        sums["images"] += found.images
        sums["learned"] += found.learned
        sums["shown"] += len(example.images)
        if context is not None and found.total > context:
            bad(example, f"{found.total} tokens, but the model takes {context}")
        if not found.learned:
            bad(example, "nothing of it is learned", refused=False)

    pictures = _read(path, images, validation is not None, problems, measure, tell)
    if validation is not None:
        checked = _read(validation, images, True, problems, lambda _: None, tell)
        for line, other in checked.also_in(pictures):
            reason = f"its picture is the same as in line {other} of {path}, which is trained on"
            problems.append(Problem(validation, line, None, reason, refused=True))
    conflicts = list(tally.conflicts())
    guesses = tally.guesses(_TOP) if len(tally) else None
    commonest = guesses.commonest if guesses is not None else []
    lines = {conflict.line for conflict in conflicts}
    lines |= {answer for answer, _ in commonest if isinstance(answer, int)}
    again = _again(path, images, lines)
    for conflict in conflicts:
        reason = (
            f"{conflict.rows} rows ask this about the same picture and have "
            f"{conflict.answers} different answers"
        )
        key = again[conflict.line].id if conflict.line in again else None
        problems.append(Problem(path, conflict.line, key, reason, refused=False))
    return Report(
        path,
        len(tally),
        len(pictures),
        problems,
        [
            (answer if isinstance(answer, str) else again[answer].answers[0], rows)
            for answer, rows in commonest
        ],
        guesses.different if guesses is not None else 0,
        guesses.by_answer if guesses is not None else None,
        guesses.by_question if guesses is not None else None,
        _lengths(lengths, **sums) if lengths else None,
        context,
    )


def _read(
    path: Path,
    images: Path | None,
    prints: bool,
    problems: list[Problem],
    use: Callable[[Example], None],
    tell: Callable[[int, int | None], None],
) -> PictureCheck:
    """Put all good rows of a file to `use`, and note what is wrong with the others."""

    def bad(row: BadRow) -> None:
        problems.append(Problem(path, row.line, row.id, row.reason, refused=True))

    pictures = PictureCheck(prints)
    rows = 0
    try:
        for rows, example in enumerate(read(path, images, bad=bad), start=1):
            use(example)
            pictures.see(example)
            if rows % _EVERY == 0:
                tell(rows, None)
    except BaseException:
        pictures.stop()
        raise
    pictures.finish()
    tell(rows, rows)
    for broken in pictures.broken():
        others = f" ({broken.rows} rows name it)" if broken.rows > 1 else ""
        reason = f"{broken.reason}{others}"
        problems.append(Problem(path, broken.line, broken.id, reason, refused=True))
    return pictures


def _again(path: Path, images: Path | None, lines: set[int]) -> dict[int, Example]:
    """The examples of some lines, which are read once more."""
    found: dict[int, Example] = {}
    if not lines:
        return found
    for example in read(path, images, need_images=False, bad=lambda _: None):
        if example.line in lines:
            found[example.line] = example
            if len(found) == len(lines):
                break
    return found


def _lengths(lengths: Counter[int], **sums: int) -> Lengths:
    rows = lengths.total()
    ordered = sorted(lengths.items())

    def at(share: float) -> int:
        """The length that this share of the rows does not exceed."""
        below = 0
        for length, count in ordered:
            below += count
            if below >= share * rows:
                return length
        return ordered[-1][0]

    return Lengths(ordered[0][0], at(0.5), at(0.95), ordered[-1][0], **sums)
