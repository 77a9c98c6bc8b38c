"""Rows of Parquet and of the hub: flat ones or conversations, told by the first of them."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any

from vqa.data.columns import Columns
from vqa.data.example import Example
from vqa.data.formats import llava, openai, sharegpt
from vqa.data.rows import Raw, Wanted, examples

_CONVERSATIONS = (llava, sharegpt, openai)


def read_rows(rows: Iterable[Columns], wanted: Wanted) -> Iterator[Example]:
    """Examples of rows that are numbered from 1; a column that is null in a row is left out."""
    left = iter(rows)
    first = [_present(row) for row in islice(left, 1)]
    numbered: Iterator[Raw] = enumerate(chain(first, map(_present, left)), start=1)
    return examples(numbered, wanted, _columns(first))


def _columns(first: list[Columns]) -> Callable[[Columns], Columns] | None:
    for format in _CONVERSATIONS:
        if any(format.knows(row) for row in first):
            return format.columns
    return None


def _present(row: Columns) -> Columns:
    return {name: _plain(value) for name, value in row.items() if value is not None}


def _plain(value: Any) -> Any:
    """What JSON can hold, of what tables hold besides."""
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal | datetime.timedelta):
        return str(value)
    return value
