"""LLaVA's JSON: `{"id", "image", "conversations": [{"from": "human", "value": "<image>..."}]}`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from vqa.data.columns import Columns
from vqa.data.example import Example
from vqa.data.formats import flat_json
from vqa.data.formats.conversation import PLACEHOLDER, conversation, with_placeholders
from vqa.data.formats.json_rows import json_rows
from vqa.data.formats.look import Seen
from vqa.data.rows import Wanted, examples
from vqa.errors import VQAError
from vqa.files import atomic_write

NAME = "LLaVA JSON"
columns = with_placeholders


def sniff(seen: Seen) -> bool:
    """Messages with `from` and `value`."""
    return any(knows(row) for row in seen.rows)


def knows(row: Columns) -> bool:
    """Whether the row is LLaVA's."""
    return any(isinstance(said, dict) and "from" in said for said in conversation(row) or [])


def read(seen: Seen, wanted: Wanted) -> Iterator[Example]:
    """A conversation for each row."""
    return examples(json_rows(seen), wanted, columns)


def to_row(example: Example) -> Columns:
    """The row of an example. Raises ValueError where a text holds the placeholder itself."""
    flat = flat_json.to_row(example)
    left = len(example.images)
    said = [_said("system", example.system)] if example.system else []
    for turn in example.earlier:
        weight = {} if turn.learned else {"weight": 0}
        said.append(_said("human", _asked(turn.question, turn.pictures)))
        said.append(_said("gpt", _plain(turn.answer)) | weight)
        left -= turn.pictures
    said.append(_said("human", _asked(example.question, left)))
    said += [_said("gpt", _plain(answer)) for answer in example.answers[:1]]
    row: Columns = {"id": example.id}
    if example.images:
        row["image"] = flat["image"]
    row["conversations"] = said
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


def _said(who: str, text: str) -> Columns:
    return {"from": who, "value": text}


def _asked(question: str, pictures: int) -> str:
    return f"{PLACEHOLDER}\n" * pictures + _plain(question)


def _plain(text: str) -> str:
    if PLACEHOLDER in text:
        raise ValueError(f"a text holds {PLACEHOLDER}, which LLaVA takes for a picture")
    return text
