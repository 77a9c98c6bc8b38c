"""Flat rows as JSON: `{"id", "image", "question", "answer"}`, one a line (JSONL) or in one list.

Other formats in JSON take their rows from here: each under its number, or what is wrong with it.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from vqa.data.example import PLACES, Example
from vqa.data.formats.json_stream import elements
from vqa.data.formats.probe import FileProbe
from vqa.data.key_numbers import KeyNumbers
from vqa.data.row_limits import bounded_lines, check_json
from vqa.data.row_reader import NumberedRow, ReadOptions, read_examples
from vqa.utils.disk import reading
from vqa.utils.files import write_jsonl

NAME = "JSONL or a JSON list (image, question, answer)"
_DECODE = json.JSONDecoder().decode


def sniff(probe: FileProbe) -> bool:
    """Recognise any rows of JSON; what one lacks is reported with that row."""
    return probe.kind in ("json lines", "json list")


def read(probe: FileProbe, options: ReadOptions) -> Iterator[Example]:
    """Read the rows as they are."""
    return read_examples(json_rows(probe), options)


def json_rows(probe: FileProbe) -> Iterator[NumberedRow]:
    """Read the rows of a file that `probe_file` takes for JSON lines or a JSON list."""
    return list_rows(probe.path) if probe.kind == "json list" else line_rows(probe.path)


def line_rows(path: Path) -> Iterator[NumberedRow]:
    """Read a row for each line that is not empty, under the line's number."""
    with reading(path), path.open("rb") as file:
        for number, line in enumerate(bounded_lines(file), start=1):
            try:
                row = _object(line)
            except ValueError as error:
                yield number, error
            else:
                if row is not None:
                    yield number, row


def list_rows(path: Path, key: str | None = None) -> Iterator[NumberedRow]:
    """Read a row for each element of the list that a file is or has under `key`, from 1."""
    number = 0
    try:
        for number, row in enumerate(elements(path, key), start=1):
            known = isinstance(row, dict | ValueError)
            yield number, row if known else ValueError("not a JSON object")
    except ValueError as error:
        yield number + 1, ValueError(f"{error}; nothing after it is read")


def repeated_ids(path: Path, list_name: str, id_name: str) -> Counter[int | str]:
    """Count the repeated ids of a list by which other rows are joined."""
    numbers, counts = KeyNumbers(), Counter[int | str]()
    for _, row in list_rows(path, list_name):
        key = row.get(id_name) if isinstance(row, dict) else None
        if isinstance(key, int | str) and numbers.setdefault(key, 1) is not None:
            counts[key] = max(2, counts[key] + 1)
    return counts


def _object(line: bytes | ValueError) -> dict[str, Any] | None:
    """Parse the row of a line; None of an empty line."""
    if isinstance(line, ValueError):
        raise line
    check_json(line)
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise ValueError("not UTF-8; convert the file first") from None
    try:
        row = _DECODE(text)
    except RecursionError:
        raise ValueError("not JSON: too deep") from None
    except ValueError:
        # what joining files, or cutting a list into lines, leaves around a row
        plain = text.strip("\ufeff \t\r\n").removesuffix(",")
        if not plain:
            return None
        try:
            row = _DECODE(plain) if plain != text else None
        except (ValueError, RecursionError):
            row = None
        if row is None:
            raise ValueError("not JSON") from None
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    return row


def write(path: str | os.PathLike[str], rows: Iterable[Example]) -> None:
    """Write examples as flat JSONL, atomically."""
    write_jsonl(path, map(to_row, rows))


def to_row(example: Example) -> dict[str, Any]:
    """Make the flat row of an example; one answer as `answer`, several as `answers`."""
    images = [Path(image).as_posix() for image in example.images]
    row: dict[str, Any] = {
        "id": example.id,
        "image": images[0] if len(images) == 1 else images,
        "question": example.question,
        **_places(example.places),
    }
    if len(example.answers) == 1:
        row["answer"] = example.answers[0]
    elif example.answers:
        row["answers"] = list(example.answers)
    if example.earlier:
        row["earlier"] = [
            {"question": turn.question, "answer": turn.answer, "pictures": turn.pictures}
            | ({} if turn.in_loss else {"learned": False})
            | _places(turn.places)
            for turn in example.earlier
        ]
    if example.system:
        row["system"] = example.system
    if not example.in_loss:
        row["learned"] = False
    return row | example.extra


def _places(places: tuple[int, ...]) -> dict[str, Any]:
    return {PLACES: list(places)} if places else {}


def as_json(value: Any) -> str:
    """A value as JSON text. Raises ValueError where JSON cannot hold it."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"JSON cannot hold a column: {error}") from None
