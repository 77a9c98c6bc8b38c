"""Tables and lines for people: text from files and models is shown as it is, and harmless."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def console() -> Console:
    """Standard output. Nothing that is printed is taken for a style, a link or a symbol."""
    from rich.console import Console

    return Console(markup=False, highlight=False, emoji=False)


def table(columns: Iterable[str], numbers: Iterable[str] = ()) -> Table:
    """An empty table; the columns in `numbers` stand to the right and are never broken."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    found = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        number = column in numbers
        found.add_column(
            column, justify="right" if number else "left", overflow="fold", no_wrap=number
        )
    return found


def one_line(text: object, most: int = 200) -> str:
    """A text on one line, without control characters, shortened to `most` characters."""
    line = " ".join(str(text).split())
    line = "".join(char if char.isprintable() else "?" for char in line)
    return line if len(line) <= most else f"{line[: most - 3]}..."


def json_text(value: object) -> str:
    """JSON with letters as they are; with escapes where a file's name is no text."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, indent=2)
    return text


def counted(number: int, what: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def duration(hours: float) -> str:
    """About how long, in the unit that people would say it in."""
    seconds = hours * 3600
    if seconds < 90:
        return counted(max(1, round(seconds)), "second")
    return counted(round(seconds / 60), "minute") if seconds < 5400 else f"{hours:.1f} hours"


def some(keys: Iterable[object], most: int = 5) -> str:
    """The first few ids."""
    found = list(keys)
    shown = ", ".join(one_line(repr(key), 60) for key in found[:most])
    return shown + (", ..." if len(found) > most else "")
