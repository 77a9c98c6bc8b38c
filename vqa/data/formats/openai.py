"""OpenAI messages as JSONL: content as a text, or as parts of text and image_url."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from vqa.data.example import Columns, Example
from vqa.data.formats import flat_json
from vqa.data.formats.messages import conversation, weight, with_parts
from vqa.data.formats.probe import FileProbe
from vqa.data.row_reader import ReadOptions, read_examples
from vqa.inputs.placeholders import message_parts, split_at_pictures

NAME = "OpenAI messages"
flatten = with_parts


def sniff(probe: FileProbe) -> bool:
    """Recognise messages that hold their pictures, if any, in themselves."""
    return any(matches(row) for row in probe.rows)


def matches(row: Columns) -> bool:
    """Return whether the row is OpenAI's."""
    return conversation(row) is not None and not {"image", "images"} & row.keys()


def read(probe: FileProbe, options: ReadOptions) -> Iterator[Example]:
    """Read each row as a conversation."""
    return read_examples(flat_json.json_rows(probe), options, flatten)


def to_row(example: Example) -> Columns:
    """Make the row of an example; pictures are `image_url` parts with their path."""
    flat = flat_json.to_row(example)
    names = [flat["image"]] if isinstance(flat["image"], str) else list(flat["image"])
    messages: list[dict[str, Any]] = []
    if example.system:
        messages.append({"role": "system", "content": example.system})
    for turn in example.earlier:
        images, names = names[: turn.pictures], names[turn.pictures :]
        messages.append(_question(turn.question, turn.places, images))
        messages.append({"role": "assistant", "content": turn.answer} | weight(turn.in_loss))
    messages.append(_question(example.question, example.places, names))
    for answer in example.answers[:1]:
        messages.append({"role": "assistant", "content": answer} | weight(example.in_loss))
    row: Columns = {"id": example.id, "messages": messages}
    if len(example.answers) > 1:
        row["answers"] = list(example.answers)
    return row | example.extra


def _question(question: str, places: Sequence[int], images: Sequence[str]) -> dict[str, Any]:
    if not images:
        return {"role": "user", "content": question}
    urls = iter(images)
    content = [
        {"type": "image_url", "image_url": {"url": next(urls)}}
        if part is None
        else {"type": "text", "text": part}
        for part in message_parts(len(images) - len(places), split_at_pictures(question, places))
    ]
    return {"role": "user", "content": content}
