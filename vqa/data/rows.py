"""From rows of columns to examples: what all formats share, and how bad rows are told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqa.data.columns import Columns, example_of
from vqa.data.example import Example
from vqa.data.first_lines import FirstLines
from vqa.data.roots import under
from vqa.errors import InputError

_MOST_SHOWN = 10

# The number of a row, and its columns or what is wrong with it.
Raw = tuple[int, Columns | ValueError]


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used, and why. `id` is None where the row has none of its own."""

    line: int  # in a file that has no lines, the number of the row from 1
    reason: str
    id: str | int | None = None


class BadRows(InputError):
    """All bad rows of a file; the message names the first of them, `problems` has them all."""

    def __init__(self, path: Path, problems: list[tuple[int, str]]) -> None:
        self.problems = problems  # line number, reason
        shown = [f"{path}:{line}: {reason}" for line, reason in problems[:_MOST_SHOWN]]
        if len(problems) > _MOST_SHOWN:
            shown.append(f"and {len(problems) - _MOST_SHOWN} more bad rows")
        super().__init__("; ".join(shown))


@dataclass(frozen=True)
class Wanted:
    """What every format is asked for."""

    root: Path  # of the pictures
    need_answers: bool
    need_images: bool
    bad: Callable[[BadRow], None]  # is told of each bad row


def examples(
    raws: Iterable[Raw], wanted: Wanted, columns: Callable[[Columns], Columns] | None = None
) -> Iterator[Example]:
    """Make examples of rows, in their order; `columns` first brings a row into flat columns.

    A ValueError of `columns` makes a row bad. A row without `id` gets its number.
    """
    first = FirstLines()
    inside = under(wanted.root) if wanted.need_images else None
    for number, row in raws:
        key: str | int | None = None
        try:
            if isinstance(row, ValueError):
                raise row
            key = _key(row, number)
            before = first.line_of(key)
            if before is not None:
                again, key = key, None  # the id is the first row's
                raise ValueError(f"id {again!r} is also in line {before}")
            flat = columns(row) if columns is not None else row
            example = example_of(key, flat, inside, wanted.need_answers, number)
        except ValueError as error:
            wanted.bad(BadRow(number, str(error), key))
        else:
            first.note(example.id, number)
            yield example


def _key(row: dict[str, Any], number: int) -> str | int:
    key = row.get("id", number)
    if isinstance(key, bool) or not isinstance(key, str | int):
        raise ValueError("id is neither a text nor a whole number")
    return key
