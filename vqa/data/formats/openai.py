"""OpenAI messages as JSONL: content as a text, or as parts of text and image_url."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vqa.data.columns import Columns
from vqa.data.example import Example
from vqa.data.formats import flat_json
from vqa.data.formats.conversation import with_parts
from vqa.data.formats.json_rows import json_rows
from vqa.data.formats.look import Seen
from vqa.data.rows import Wanted, examples

NAME = "OpenAI messages"
columns = with_parts


def sniff(seen: Seen) -> bool:
    """Messages that hold their pictures, if any, in themselves."""
    return any(knows(row) for row in seen.rows)


def knows(row: Columns) -> bool:
    """Whether the row is OpenAI's."""
    return isinstance(row.get("messages"), list) and not {"image", "images"} & row.keys()


def read(seen: Seen, wanted: Wanted) -> Iterator[Example]:
    """A conversation for each row."""
    return examples(json_rows(seen), wanted, columns)


def to_row(example: Example) -> Columns:
    """The row of an example; pictures are `image_url` parts with their path."""
    flat = flat_json.to_row(example)
    names = [flat["image"]] if isinstance(flat["image"], str) else list(flat["image"])
    said: list[dict[str, Any]] = []
    if example.system:
        said.append({"role": "system", "content": example.system})
    for turn in example.earlier:
        asked, names = names[: turn.pictures], names[turn.pictures :]
        said.append(_asked(turn.question, asked))
        weight = {} if turn.learned else {"weight": 0}
        said.append({"role": "assistant", "content": turn.answer} | weight)
    said.append(_asked(example.question, names))
    said += [{"role": "assistant", "content": answer} for answer in example.answers[:1]]
    row: Columns = {"id": example.id, "messages": said}
    if len(example.answers) > 1:
        row["answers"] = list(example.answers)
    return row | example.extra


def _asked(question: str, images: list[str]) -> dict[str, Any]:
    if not images:
        return {"role": "user", "content": question}
    parts = [{"type": "image_url", "image_url": {"url": name}} for name in images]
    return {"role": "user", "content": [*parts, {"type": "text", "text": question}]}
