"""ShareGPT's JSON(L): `{"messages": [{"role": "user", "content": "<image>..."}], "images": []}`."""

from __future__ import annotations

from collections.abc import Iterator

from vqa.data.example import Columns, Example
from vqa.data.formats.flat_json import json_rows
from vqa.data.formats.messages import conversation, with_placeholders
from vqa.data.formats.probe import FileProbe
from vqa.data.row_reader import ReadOptions, read_examples

NAME = "ShareGPT"
flatten = with_placeholders


def sniff(probe: FileProbe) -> bool:
    """Recognise messages of texts with the pictures in a list beside them."""
    return any(matches(row) for row in probe.rows)


def matches(row: Columns) -> bool:
    """Return whether the row is ShareGPT's."""
    messages = conversation(row)
    return messages is not None and ("images" in row or "image" in row or "conversations" in row)


def read(probe: FileProbe, options: ReadOptions) -> Iterator[Example]:
    """Read each row as a conversation."""
    return read_examples(json_rows(probe), options, flatten)
