"""Rows of JSON, in lines or in one list: each under its number, or what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vqa.data.formats.json_stream import elements
from vqa.data.formats.look import Seen
from vqa.data.rows import Raw
from vqa.errors import InputError


def json_rows(seen: Seen) -> Iterator[Raw]:
    """The rows of a file that `look` has seen as JSON lines or a JSON list."""
    return list_rows(seen.path) if seen.kind == "json list" else line_rows(seen.path)


def line_rows(path: Path) -> Iterator[Raw]:
    """A row for each line that is not empty, under the line's number."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                try:
                    row = _object(line)
                except ValueError as error:
                    yield number, error
                else:
                    if row is not None:
                        yield number, row
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from error


def list_rows(path: Path, key: str | None = None) -> Iterator[Raw]:
    """A row for each element of the list that a file is, or has under `key`, counted from 1."""
    number = 0
    try:
        for number, row in enumerate(elements(path, key), start=1):
            yield number, row if isinstance(row, dict) else ValueError("not a JSON object")
    except ValueError as error:
        yield number + 1, ValueError(f"{error}; nothing after it is read")


def _object(line: bytes) -> dict[str, Any] | None:
    """The row of a line; None of an empty line."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise ValueError("not UTF-8; convert the file first") from None
    if not text.strip():
        return None
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    return row
