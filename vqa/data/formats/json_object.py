"""Rows in one JSON object: a list under `data`, or each row under its id.

TextVQA has the list, and pandas with orient="table"; GQA and ScienceQA have rows by id, and pandas
with orient="index".
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from vqa.data.example import Columns, Example
from vqa.data.formats.flat_json import list_rows
from vqa.data.formats.json_stream import members
from vqa.data.formats.probe import DATA, FileProbe, are_rows
from vqa.data.formats.table_rows import read_rows
from vqa.data.published_columns import commonest_first, own_id
from vqa.data.row_reader import NumberedRow, ReadOptions, drop_missing

_KEY_SHOWN = 60  # characters
NAME = "a JSON object of rows (TextVQA, GQA, ScienceQA)"


def sniff(probe: FileProbe) -> bool:
    """Recognise a list of rows under `data`, or members that are all rows."""
    if probe.kind != "json object":
        return False
    return are_rows(probe.members.get(DATA)) or are_rows(list(probe.members.values()))


def read(probe: FileProbe, options: ReadOptions) -> Iterator[Example]:
    """Read the rows in their order, numbered from 1."""
    if DATA not in probe.members:
        return read_rows(_by_id(probe, options), options)
    rows = list_rows(probe.path, DATA)
    return read_rows(
        map(_commonest_first, rows) if "dataset_name" in probe.members else rows, options
    )


def _commonest_first(numbered: NumberedRow) -> NumberedRow:
    """Put the commonest of a row's ten answers first, as TextVQA means it."""
    number, row = numbered
    if isinstance(row, dict) and isinstance(row.get("answers"), list):
        row = row | {"answers": commonest_first(row["answers"])}
    return number, row


def _by_id(probe: FileProbe, options: ReadOptions) -> Iterator[NumberedRow]:
    number = 0
    try:
        for number, (key, row) in enumerate(members(probe.path), start=1):
            if not isinstance(row, dict):
                reason = row if isinstance(row, ValueError) else "not a JSON object"
                yield (
                    number,
                    ValueError(f"{reason} (under {key[:_KEY_SHOWN]!r})" if key else str(reason)),
                )
                continue
            if own_id(drop_missing(row)) is None:
                row = row | {"id": key}
            yield number, _with_picture(row, key, options)
    except ValueError as error:
        yield number + 1, ValueError(f"{error}; nothing after it is read")


def _with_picture(row: Columns, key: str, options: ReadOptions) -> Columns:
    """Add the path of the row's picture, which ScienceQA keeps in a folder of the row's id."""
    image: Any = row.get("image")
    name = f"{row.get('split')}/{key}/{image}"
    if isinstance(image, str) and not os.path.isfile(options.root / image):
        return row | {"image": name} if os.path.isfile(options.root / name) else row
    return row
