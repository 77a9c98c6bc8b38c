"""Rows of tables: flat ones or conversations, as the first of them is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from vqa.data.example import Columns, Example
from vqa.data.formats import llava_json, openai, sharegpt
from vqa.data.row_limits import BAD_ROWS
from vqa.data.row_reader import NumberedRow, ReadOptions, drop_missing, read_examples

_CONVERSATIONS = (llava_json, sharegpt, openai)


def read_rows(rows: Iterable[NumberedRow], options: ReadOptions) -> Iterator[Example]:
    """Make examples of numbered rows."""
    following = iter(rows)
    bad: list[NumberedRow] = []
    for number, row in following:
        if isinstance(row, dict):
            flatten = _flattening(drop_missing(row))
            return read_examples(chain(bad, [(number, row)], following), options, flatten)
        bad.append((number, row))
        if len(bad) > BAD_ROWS:  # the file is given up at the last of them
            break
    return read_examples(bad, options)


def _flattening(first: Columns) -> Callable[[Columns], Columns] | None:
    """Return what flattens the rows of a table of conversations."""
    return next((form.flatten for form in _CONVERSATIONS if form.matches(first)), None)
