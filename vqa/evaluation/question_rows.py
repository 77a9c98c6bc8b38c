"""The questions of a data file: rows to answer, and those that cannot be asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from vqa.data import read
from vqa.data.example import Example
from vqa.data.row_reader import BadRow, BadRows, Notice
from vqa.errors import InputError


@dataclass
class QuestionRows:
    """The rows that `predict` takes: `examples` and `failed`."""

    examples: list[Example] = field(default_factory=list)
    failed: dict[str | int, str] = field(default_factory=dict)  # rows that cannot be asked, and why
    without_id: int = 0  # further rows that cannot be asked, without an id of their own
    ids: list[str | int] = field(default_factory=list)  # of all that get a row, in the data's order


def read_questions(
    data: Path,
    images: Path | None = None,
    *,
    choices: bool = False,
    bad: Callable[[BadRow], None] = lambda row: None,
    notice: Callable[[Notice], None] = lambda notice: None,
) -> QuestionRows:
    """Read the data without its answers; `bad` takes the bad rows, at the end.

    `notice` takes that rows have one id; those of `QuestionRows` are unique.

    Raises BadRows where no row is good, and InputError where there is none.
    """
    questions = QuestionRows()
    bad_rows: list[BadRow] = []

    def collect(row: BadRow) -> None:
        bad_rows.append(row)
        if row.id is not None:
            questions.ids.append(row.id)

    for example in read(data, images, need_answers=False, bad=collect, notice=notice):
        questions.ids.append(example.id)
        extra = {"choices": example.extra.get("choices")} if choices else {}
        # ten answers a row add up
        questions.examples.append(replace(example, answers=(), extra=extra))
    if bad_rows and not questions.examples:
        raise BadRows(data, [(row.line, row.reason) for row in bad_rows])
    if not questions.examples:
        raise InputError(f"{data}: no rows")
    for row in bad_rows:
        bad(row)
        if row.id is None:
            questions.without_id += 1
        else:
            questions.failed[row.id] = f"{data}:{row.line}: {row.reason}"
    return questions
