"""Tables and lines for people: text from files and models is shown as it is, and harmless."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def console() -> Console:
    """Open standard output. Nothing that is printed is taken for a style, a link or a symbol."""
    from rich.console import Console

    return Console(markup=False, highlight=False, emoji=False)


def table(columns: Iterable[str], numbers: Iterable[str] = ()) -> Table:
    """Make an empty table; the columns in `numbers` stand to the right and are never broken."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    empty = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        number = column in numbers
        empty.add_column(
            column, justify="right" if number else "left", overflow="fold", no_wrap=number
        )
    return empty


def one_line(text: object, most: int = 200) -> str:
    """Write a text on one line, without control characters, shortened to `most` characters."""
    line = " ".join(str(text).split())
    line = "".join(char if char.isprintable() else "?" for char in line)
    return line if len(line) <= most else f"{line[: most - 3]}..."


def counted(number: int, noun: str) -> str:
    """Write a count with its noun: `1 row`, `2 rows`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def duration(hours: float) -> str:
    """Write about how long it takes, in the unit that people use."""
    seconds = hours * 3600
    if seconds < 90:
        return counted(max(1, round(seconds)), "second")
    return counted(round(seconds / 60), "minute") if seconds < 5400 else f"{hours:.1f} hours"


def first_few(keys: Iterable[object]) -> str:
    """Write the first five ids, then an ellipsis where there are more."""
    first = [one_line(repr(key), 60) for key in islice(keys, 6)]
    return ", ".join([*first[:5], "..."] if len(first) > 5 else first)
