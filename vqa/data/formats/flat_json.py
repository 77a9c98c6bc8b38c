"""Flat rows as JSON: `{"id", "image", "question", "answer"}`, one a line (JSONL) or in one list."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from vqa.data.example import Example
from vqa.data.formats.json_rows import json_rows
from vqa.data.formats.look import Seen
from vqa.data.rows import Wanted, examples
from vqa.files import write_jsonl

NAME = "JSONL or a JSON list (image, question, answer)"


def sniff(seen: Seen) -> bool:
    """Any rows of JSON that hold no conversation: what a row lacks is told of that row."""
    return seen.kind in ("json lines", "json list")


def read(seen: Seen, wanted: Wanted) -> Iterator[Example]:
    """The rows as they stand."""
    return examples(json_rows(seen), wanted)


def write(path: str | os.PathLike[str], rows: Iterable[Example]) -> None:
    """Write examples as flat JSONL, atomically."""
    write_jsonl(path, map(to_row, rows))


def to_row(example: Example) -> dict[str, Any]:
    """The flat row of an example; one answer as `answer`, several as `answers`."""
    images = [Path(image).as_posix() for image in example.images]
    row: dict[str, Any] = {
        "id": example.id,
        "image": images[0] if len(images) == 1 else images,
        "question": example.question,
    }
    if len(example.answers) == 1:
        row["answer"] = example.answers[0]
    elif example.answers:
        row["answers"] = list(example.answers)
    if example.earlier:
        row["earlier"] = [
            {"question": turn.question, "answer": turn.answer, "pictures": turn.pictures}
            | ({} if turn.learned else {"learned": False})
            for turn in example.earlier
        ]
    if example.system:
        row["system"] = example.system
    return row | example.extra


def as_json(value: Any) -> str:
    """A value as JSON text. Raises ValueError where JSON cannot hold it."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"JSON cannot hold a column: {error}") from None
