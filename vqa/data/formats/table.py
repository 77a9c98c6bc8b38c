"""Flat CSV, also with tabs, semicolons or bars: a line of names, then one row each.

A cell that is a JSON list or object is read as that, but for questions and answers; an `id` that is
a whole number is one, and a text in JSON's quotes is that text. All other cells are texts. Empty
cells are left out.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from vqa.data.columns import KNOWN, Columns
from vqa.data.example import Example
from vqa.data.formats import flat_json
from vqa.data.formats.look import Seen
from vqa.data.rows import Raw, Wanted, examples
from vqa.errors import InputError
from vqa.files import atomic_write

NAME = "CSV (image, question, answer)"
_DELIMITERS = ",;\t|"
_NUMBER = re.compile(r"0|-?[1-9][0-9]*")
_TEXTS = frozenset({"question", "answer", "system"})


def sniff(seen: Seen) -> bool:
    """The first line names a question among other columns."""
    return bool(seen.lines) and delimiter(seen.lines[0], {"question"}) is not None


def read(seen: Seen, wanted: Wanted) -> Iterator[Example]:
    """A row for each line (or several, where a cell has line ends)."""
    return examples(_columns(seen), wanted)


def delimiter(header: str, wanted: set[str]) -> str | None:
    """What parts the names of the first line, so that all of `wanted` are among them."""
    for mark in _DELIMITERS:
        names = next(csv.reader([header], delimiter=mark), [])
        if len(names) > 1 and wanted <= {name.strip().lower() for name in names}:
            return mark
    return None


def cells(path: Path, mark: str) -> Iterator[tuple[int, list[str] | ValueError]]:
    """Each row of a table under the number of its first line.

    Raises InputError with the line where the file is not UTF-8.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=mark, strict=True)
            while True:
                number = reader.line_num + 1
                try:
                    row = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    yield number, ValueError(f"not CSV ({error}): is a quote not closed?")
                else:
                    if row:
                        yield number, row
    except UnicodeDecodeError:
        raise InputError(
            f"{path}:{_not_utf8(path)}: not UTF-8; convert the file first (iconv -f latin1 -t utf8)"
        ) from None
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from error


def first_row(path: Path, rows: Iterator[tuple[int, list[str] | ValueError]]) -> list[str]:
    """The names of the columns. Raises InputError where they cannot be read."""
    number, names = next(rows)
    if isinstance(names, ValueError):
        raise InputError(f"{path}:{number}: {names}")
    return names


def _not_utf8(path: Path) -> int:
    """The first line that is not UTF-8."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 1


def _columns(seen: Seen) -> Iterator[Raw]:
    mark = delimiter(seen.lines[0], {"question"})
    assert mark is not None
    rows = cells(seen.path, mark)
    names = [_name(name) for name in first_row(seen.path, rows)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{seen.path}:1: the column {twice!r} comes twice")
    for number, row in rows:
        if isinstance(row, ValueError):
            yield number, row
        elif len(row) != len(names):
            yield number, ValueError(f"{len(row)} cells, but {len(names)} columns")
        else:
            yield number, {name: _value(name, cell) for name, cell in zip(names, row, strict=True)
                           if cell}  # fmt: skip


def _name(name: str) -> str:
    plain = name.strip().lower()
    return plain if plain in KNOWN else name


def _value(name: str, cell: str) -> Any:
    if name == "id":
        return _id(cell)
    if name not in _TEXTS and cell[0] in "[{":
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            return cell
    return cell


def _id(cell: str) -> str | int:
    if _NUMBER.fullmatch(cell) and len(cell) < 40:
        return int(cell)
    if cell[0] == '"':
        try:
            found = json.loads(cell)
        except (ValueError, RecursionError):
            return cell
        return found if isinstance(found, str) else cell
    return cell


def write(path: Path, rows: Iterable[Columns], names: list[str]) -> None:
    """Write the cells of `to_cells` under a line of `names`, atomically."""
    with atomic_write(path) as file:
        writer = csv.writer(file)  # its line end makes it quote a lone \r, too
        writer.writerow(names)
        for row in rows:
            writer.writerow([row.get(name, "") for name in names])


def to_cells(example: Example) -> dict[str, str]:
    """The cells of an example. Raises ValueError where CSV cannot hold it."""
    found = {name: _cell(name, value) for name, value in flat_json.to_row(example).items()}
    for name, cell in found.items():
        try:
            (name + cell).encode()
        except UnicodeEncodeError:
            raise ValueError(f"{name} has a lone surrogate, which CSV cannot hold") from None
    return found


def _cell(name: str, value: Any) -> str:
    if name == "id":
        text = str(value)
        return text if _id(text or " ") == value else flat_json.as_json(value)
    if value is None:
        return ""
    return value if isinstance(value, str) else flat_json.as_json(value)
