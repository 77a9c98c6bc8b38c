"""LLaVA's JSON: `{"id", "image", "conversations": [{"from": "human", "value": "<image>..."}]}`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from vqa.data.example import Columns, Example
from vqa.data.formats import flat_json
from vqa.data.formats.messages import conversation, weight, with_placeholders
from vqa.data.formats.probe import FileProbe
from vqa.data.row_reader import ReadOptions, read_examples
from vqa.errors import VQAError
from vqa.inputs.placeholders import PLACEHOLDER, split_at_pictures
from vqa.utils.files import atomic_write

NAME = "LLaVA JSON"
flatten = with_placeholders


def sniff(probe: FileProbe) -> bool:
    """Recognise messages with `from` and `value`."""
    return any(matches(row) for row in probe.rows)


def matches(row: Columns) -> bool:
    """Return whether the row is LLaVA's."""
    return any(isinstance(m, dict) and "from" in m for m in conversation(row) or [])


def read(probe: FileProbe, options: ReadOptions) -> Iterator[Example]:
    """Read each row as a conversation."""
    return read_examples(flat_json.json_rows(probe), options, flatten)


def to_row(example: Example) -> Columns:
    """Make the row of an example. Raises ValueError where a text holds the placeholder itself."""
    pictures = len(example.images)
    messages = [_message("system", example.system)] if example.system else []
    for turn in example.earlier:
        messages.append(_message("human", _question(turn.question, turn.places, turn.pictures)))
        messages.append(_message("gpt", _plain(turn.answer)) | weight(turn.in_loss))
        pictures -= turn.pictures
    messages.append(_message("human", _question(example.question, example.places, pictures)))
    for answer in example.answers[:1]:
        messages.append(_message("gpt", _plain(answer)) | weight(example.in_loss))
    row: Columns = {"id": example.id}
    if example.images:
        row["image"] = flat_json.to_row(example)["image"]
    row["conversations"] = messages
    if len(example.answers) > 1:
        row["answers"] = list(example.answers)
    return row | example.extra


def write(path: Path, rows: Iterable[Columns]) -> None:
    """Write rows as one JSON list, a line each, atomically."""
    with atomic_write(path) as file:
        begin = "[\n"
        for row in rows:
            try:
                text = json.dumps(row, ensure_ascii=False, allow_nan=False)
                text.encode()
            except UnicodeEncodeError:  # a lone surrogate: only an escape can hold it
                text = json.dumps(row, allow_nan=False)
            except (TypeError, ValueError) as error:
                raise VQAError(f"A row cannot be written as JSON: {error}.") from error
            file.write(begin + text)
            begin = ",\n"
        file.write("[]\n" if begin == "[\n" else "\n]\n")


def _message(sender: str, text: str) -> Columns:
    return {"from": sender, "value": text}


def _question(question: str, places: Sequence[int], pictures: int) -> str:
    for text in split_at_pictures(question, places):
        _plain(text)
    return f"{PLACEHOLDER}\n" * (pictures - len(places)) + question


def _plain(text: str) -> str:
    if PLACEHOLDER in text:
        raise ValueError(f"a text holds {PLACEHOLDER}, which LLaVA takes for a picture")
    return text
