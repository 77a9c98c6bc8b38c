"""CSV, also with tabs, semicolons or bars: a line of names, then one row each.

A cell has the type that a program would have written so: a whole number, a number as Python and
pandas write it (`2.0`, `0.5`; not `2.50`), `True` or `False`, a list or object in JSON's, Python's
or numpy's writing, or else a text. An empty cell, `nan`, `NaN`, `None`, `<NA>` and `NaT` are
missing. So an answer `2.0` is 2, as it is in a Parquet file of numbers, and `None` is no answer;
`none` is one. What is a text all the same stands in JSON's quotes: `"None"`, `"[5, 7]"`, `"2.0"`
(in the file `\"\"\"None\"\"\"`), and so it is written; as is a text, or the name of a column, that
a spreadsheet would run as a formula (`"=1+1"`).

Questions, system texts and names of pictures are texts whatever they look like.
"""

from __future__ import annotations

import csv
import json
import re
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from vqa.data.cell_values import trim
from vqa.data.example import KNOWN, Columns, Example
from vqa.data.formats import flat_json
from vqa.data.formats.probe import FileProbe
from vqa.data.formats.table_rows import read_rows
from vqa.data.literals import literal
from vqa.data.row_limits import ROW, bounded_lines, too_long
from vqa.data.row_reader import NumberedRow, ReadOptions
from vqa.errors import InputError
from vqa.utils.disk import reading
from vqa.utils.files import atomic_write
from vqa.utils.inert import is_formula

NAME = "CSV (image, question, answer)"
_DELIMITERS = ",;\t|"
_HEADERS = ({"question"}, {"conversations"}, {"messages"}, {"prompt", "completion"})
_WHOLE = re.compile(r"0|-?[1-9][0-9]*")
_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?(e[-+][0-9]+)?|-?inf")
_LONGEST_NUMBER = 40
_CELLS = 100_000  # of a row
_LINES = 1 << 20  # characters of a row besides its longest line, which may hold a picture
_REREAD = 16 << 20  # characters of a file that are parsed a second time, behind what is damaged
_MISSING = frozenset({"", "nan", "NaN", "None", "<NA>", "NaT"})  # as programs write them
_PICTURES = frozenset({"image", "images"})
_TEXTS = frozenset({"question", "system"}) | _PICTURES
_CHOICE = re.compile(r"([A-Z])|(?:choice|option)[_ ]?([a-z])")  # as benchmarks name them


def sniff(probe: FileProbe) -> bool:
    """Recognise a first line that names a question, or a conversation, among other columns."""
    return bool(probe.lines) and _delimiter(probe) is not None


def read(probe: FileProbe, options: ReadOptions) -> Iterator[Example]:
    """Read a row for each line (or several, where a cell has line ends)."""
    return read_rows(_columns(probe), options)


def _delimiter(probe: FileProbe) -> str | None:
    delimiters = (delimiter(probe.lines[0], names) for names in _HEADERS)
    return next(filter(None, delimiters), None)


def delimiter(header: str, needed: set[str]) -> str | None:
    """Find what separates the names of the first line, so that all `needed` are among them."""
    for mark in _DELIMITERS:
        names = next(csv.reader([header], delimiter=mark), [])
        if len(names) > 1 and needed <= {trim(name).lower() for name in names}:
            return mark
    return None


def cells(path: Path, mark: str) -> Iterator[tuple[int, list[str] | ValueError]]:
    """Each row of a table under the number of its first line, or what is wrong with it."""
    with (
        reading(path),
        path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file,
    ):
        yield from _Rows(file, mark)


class _Rows:
    """Parses a table row by row; what is wrong with one leaves the others as they are.

    After a row that cannot be parsed, reading goes on with its second line: where a quote is not
    closed, all that follows would belong to one cell. A cell may be as large as a row, for pictures
    stand in cells, but only one line of a row is as long as that.
    """

    def __init__(self, file: IO[str], mark: str) -> None:
        self._lines = enumerate(bounded_lines(file), start=1)
        self._mark = mark
        self._reread: deque[tuple[int, str]] = deque()
        self._room = _REREAD
        self._row_lines: list[tuple[int, str]] = []  # the lines of the row at hand
        self._length = self._longest = self._cells = 0  # characters and cells of them
        self._damage = ""  # what is wrong with one of them

    def __iter__(self) -> Iterator[tuple[int, list[str] | ValueError]]:
        reader = self._reader()
        while True:
            self._row_lines, self._damage = [], ""
            self._length = self._longest = self._cells = 0
            try:
                row = next(reader)
            except StopIteration:
                return
            except (csv.Error, ValueError) as error:
                if isinstance(error, csv.Error):
                    error = ValueError(f"not CSV ({error}): is a quote not closed?")
                (number, _), *others = self._row_lines
                self._room -= sum(len(line) for _, line in others)
                if others and self._room < 0:
                    error = ValueError(f"{error}; {len(others)} lines after it are lost, too")
                else:
                    self._reread.extendleft(reversed(others))
                yield number, error
                reader = self._reader()
                continue
            number = self._row_lines[0][0]
            if self._damage:
                yield number, ValueError(self._damage)
            elif len(row) > 1 or "".join(row).strip():
                yield number, row

    def _reader(self) -> Iterator[list[str]]:
        csv.field_size_limit(max(ROW, csv.field_size_limit()))  # of the whole process
        return csv.reader(self._feed(), delimiter=self._mark, strict=True)

    def _feed(self) -> Iterator[str]:
        while following := self._reread.popleft() if self._reread else next(self._lines, None):
            number, line = following
            if isinstance(line, ValueError):
                self._row_lines.append((number, ""))
                raise line
            line = line.removeprefix("\ufeff")  # of a file that was put behind another
            self._row_lines.append((number, line))
            self._length += len(line)
            self._longest = max(self._longest, len(line))
            if self._length > ROW:
                raise too_long()
            if self._length - self._longest > _LINES:  # a cell that goes on to the file's end
                raise csv.Error(f"{self._length:,} characters in {len(self._row_lines):,} lines")
            self._cells += line.count(self._mark)
            if self._cells > _CELLS:
                raise ValueError(f"a row of more than {_CELLS:,} cells, which is not read")
            self._damage = self._damage or _damage(line)
            yield line


def _damage(line: str) -> str:
    if "\0" in line:
        return "it holds a NUL character"
    if line.isascii():
        return ""
    try:
        line.encode()
    except UnicodeEncodeError:
        return "not UTF-8; convert the file first (iconv -f latin1 -t utf8)"
    return ""


def first_row(path: Path, rows: Iterator[tuple[int, list[str] | ValueError]]) -> list[str]:
    """Return the names of the columns. Raises InputError where they cannot be read."""
    number, names = next(rows)
    if isinstance(names, ValueError):
        raise InputError(f"{path}:{number}: {names}")
    return names


def without_empty_end(row: list[str], columns: int) -> list[str]:
    """Drop the empty cells that commas at the end of a row's line have made."""
    while len(row) > columns and not row[-1]:
        row = row[:-1]
    return row


def _columns(probe: FileProbe) -> Iterator[NumberedRow]:
    mark = _delimiter(probe)
    assert mark is not None
    rows = cells(probe.path, mark)
    names = [_column(name) if trim(name) else "" for name in first_row(probe.path, rows)]
    known = [plain if (plain := trim(name).lower()) in KNOWN else name for name in names]
    twice = next((name for name in filter(None, known) if known.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{probe.path}:1: the column {twice!r} comes twice")
    choices = _choice_columns(names)
    for number, row in rows:
        if isinstance(row, ValueError):
            yield number, row
        elif len(row := without_empty_end(row, len(names))) != len(names):
            yield number, ValueError(f"{len(row)} cells, but {len(names)} columns")
        else:
            yield number, {
                name: _choice_of(name, cell) if name in choices else value_of(name, cell)
                for name, cell in zip(names, row, strict=True) if name
            }  # fmt: skip


def _choice_columns(names: list[str]) -> set[str]:
    """Return the columns that hold a choice each, where there are an A and a B among them."""
    letters = {name: match[1] or match[2] for name in names if (match := _CHOICE.fullmatch(name))}
    several = [pair for pair in ("AB", "ab") if set(pair) <= set(letters.values())]
    return set(letters) if several else set()


def _choice_of(name: str, cell: str) -> str | None:
    """Return the text of a choice: `None`, `1.50` and `[3]` are choices as any others."""
    text = trim(cell)
    if text in ("", "nan"):
        return None
    return _unquoted(name, text) if text[0] == '"' else text


def value_of(name: str, cell: str) -> Any:
    """Return the value of a cell of the column `name`; None where it is missing."""
    known = name.strip().lower()
    text = trim(cell)
    if text in _MISSING:
        return None
    if text[0] == '"':
        return _unquoted(name, text)
    if text[0] in "[({" and known not in _TEXTS - _PICTURES:
        value = literal(text)
        if value is not None and known != "id":
            return value
    if known in _TEXTS:
        return cell
    if (truth := _truth(known, text)) is not None and known != "id":
        return truth
    number = _number(text)
    return text if number is None else number


def _unquoted(name: str, text: str) -> str:
    """Return the text in JSON's quotes, where it would not be itself without them."""
    try:
        quoted = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return quoted if isinstance(quoted, str) and not _is_itself(name, quoted) else text


def _is_itself(name: str, text: str) -> bool:
    """Return whether a text can stand in a cell without quotes."""
    return not is_formula(text) and value_of(name, text) == text


def _column(cell: str) -> str:
    """Return the name of a column, of the cell above it."""
    return _unquoted("question", cell) if cell.startswith('"') else cell


def _truth(name: str, text: str) -> bool | None:
    if text in ("True", "False"):
        return text == "True"
    if text in ("true", "false") and name not in ("answer", "answers"):
        return text == "true"
    return None


def _number(text: str) -> int | float | None:
    if _WHOLE.fullmatch(text):
        return int(text) if len(text) < _LONGEST_NUMBER else None
    if _DECIMAL.fullmatch(text) and repr(float(text)) == text:
        return float(text)
    return None


def write(path: Path, rows: Iterable[Columns], names: list[str]) -> None:
    """Write the cells of `to_cells` under a line of `names`, atomically."""
    with atomic_write(path) as file:
        writer = csv.writer(file)  # its line end makes it quote a lone \r, too
        writer.writerow([_cell("question", name) for name in names])
        for row in rows:
            writer.writerow([row.get(name, "") for name in names])


def to_cells(example: Example) -> dict[str, str]:
    """Make the cells of an example. Raises ValueError where CSV cannot hold it."""
    cells_of_row = {name: _cell(name, value) for name, value in flat_json.to_row(example).items()}
    for name, cell in cells_of_row.items():
        try:
            (name + cell).encode()
        except UnicodeEncodeError:
            raise ValueError(f"{name} has a lone surrogate, which CSV cannot hold") from None
    return cells_of_row


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str) and _is_itself(name, value):
        return value
    return flat_json.as_json(value)
