"""How much one row may hold, whatever file it stands in: checked before a row is built.

A row that is larger is bad, and reported by its number; the rows after it are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import IO, AnyStr, TypeVar

T = TypeVar("T")

ROW = 64 << 20  # bytes, or characters, as it stands in its file; pictures may be written into it
VALUES = 2_000_000  # of one row: cells, list items and names; each takes up to 250 bytes
TEXT = 1_000_000  # characters of a question or an answer
ID = 1_000  # characters
REASON = 500  # characters about a bad row
GUEST_TEXT = 20_000_000  # characters of all rows of a guest's file: 10,000 in each of 2,000
BAD_ROWS = 300_000  # of a file: a file with more of them is another kind of file
SKIPPED = 1 << 30  # bytes or characters that are gone through for the end of a row that is too long
_BEGINNING = 32 << 20  # characters or bytes of the first rows, held together
_VALUE = 64  # bytes that a value takes by itself
_SKIP_PIECE = 1 << 20  # characters or bytes of a line that is too long
_SHORT = 1 << 20  # below, the values of a row need no count


def too_long() -> ValueError:
    """Make the error of a row that is larger than is read."""
    return ValueError(f"a row of more than {ROW >> 20} MiB, which is not read")


def check_values(marks: int) -> None:
    """Raise ValueError for a row with so many marks that part its values."""
    if marks > VALUES:
        raise ValueError(f"a row of more than {VALUES:,} values, which is not read")


def check_json(text: str | bytes) -> None:
    """Raise ValueError where JSON text has more values than one row may have.

    Marks inside texts count as well: a text is never that full of them.
    """
    if len(text) <= _SHORT:
        return
    if isinstance(text, str):
        check_values(text.count(",") + text.count("[") + text.count("{"))
    else:
        check_values(text.count(b",") + text.count(b"[") + text.count(b"{"))


def beginning(rows: Iterator[T], most: int) -> list[T]:
    """Take the first rows, up to `most` of them: fewer where they are large."""
    first: list[T] = []
    room = _BEGINNING
    for row in islice(rows, most):
        first.append(row)
        room = remaining(row, room)
        if room < 0:
            break
    return first


def remaining(value: object, room: int) -> int:
    """Return what of `room` characters or bytes a value leaves; below 0 where it is too large."""
    if isinstance(value, str | bytes):
        return room - len(value)
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list | tuple):
        room -= _VALUE * len(value)
        for item in value:
            if room < 0:
                break
            room = remaining(item, room)
    return room


def bounded_lines(file: IO[AnyStr]) -> Iterator[AnyStr | ValueError]:
    """Yield each line with its end; in place of one that is too long, what is wrong with it.

    Where its end does not come for long, nothing after it is read.
    """
    while line := file.readline(ROW + 1):
        if len(line) <= ROW:
            yield line
            continue
        skipped = 0
        while line and not _ends(line) and skipped < SKIPPED:
            skipped += len(line)
            line = file.readline(_SKIP_PIECE)
        if skipped >= SKIPPED:
            yield ValueError(f"{too_long()}; nothing after it is read")
            return
        yield too_long()


def _ends(line: str | bytes) -> bool:
    return line[-1:] in ("\n", "\r", b"\n")
