"""ShareGPT's JSON(L): `{"messages": [{"role": "user", "content": "<image>..."}], "images": []}`."""

from __future__ import annotations

from collections.abc import Iterator

from vqa.data.columns import Columns
from vqa.data.example import Example
from vqa.data.formats.conversation import conversation, with_placeholders
from vqa.data.formats.json_rows import json_rows
from vqa.data.formats.look import Seen
from vqa.data.rows import Wanted, examples

NAME = "ShareGPT"
columns = with_placeholders


def sniff(seen: Seen) -> bool:
    """Messages of texts with the pictures in a list beside them."""
    return any(knows(row) for row in seen.rows)


def knows(row: Columns) -> bool:
    """Whether the row is ShareGPT's."""
    said = conversation(row)
    return said is not None and ("images" in row or "image" in row or "conversations" in row)


def read(seen: Seen, wanted: Wanted) -> Iterator[Example]:
    """A conversation for each row."""
    return examples(json_rows(seen), wanted, columns)
