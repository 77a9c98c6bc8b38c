"""The rows of a data file that are put to a model, and those that cannot be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from vqa.data import read
from vqa.data.example import Example
from vqa.data.rows import BadRow, BadRows
from vqa.errors import InputError


@dataclass
class AskedRows:
    """What `predict` takes: `examples` and `failed`."""

    examples: list[Example] = field(default_factory=list)
    failed: dict[str | int, str] = field(default_factory=dict)  # rows that cannot be asked, and why
    unnamed: int = 0  # those that have no id of their own besides
    ids: list[str | int] = field(default_factory=list)  # of all that get a row, in the data's order


def asked_rows(
    data: Path,
    images: Path | None = None,
    *,
    choices: bool = False,
    bad: Callable[[BadRow], None] = lambda row: None,
) -> AskedRows:
    """Read the data without its answers; `bad` is told of bad rows, at the end.

    Raises BadRows where no row is good, and InputError where there is none.
    """
    rows = AskedRows()
    told: list[BadRow] = []

    def note(row: BadRow) -> None:
        told.append(row)
        if row.id is not None:
            rows.ids.append(row.id)

    for example in read(data, images, need_answers=False, bad=note):
        rows.ids.append(example.id)
        kept = {"choices": example.extra.get("choices")} if choices else {}
        rows.examples.append(replace(example, answers=(), extra=kept))  # ten answers a row add up
    if told and not rows.examples:
        raise BadRows(data, [(row.line, row.reason) for row in told])
    if not rows.examples:
        raise InputError(f"{data}: no rows")
    rows.ids = list(dict.fromkeys(rows.ids))
    good = {example.id for example in rows.examples}
    for row in told:
        bad(row)
        if row.id is None or row.id in good or row.id in rows.failed:
            rows.unnamed += 1
        else:
            rows.failed[row.id] = f"{data}:{row.line}: {row.reason}"
    return rows
