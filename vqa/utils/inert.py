"""Escape text of others for Markdown and tables: nothing in it is fetched, run or followed.

Questions, answers and names of files come from strangers and from models. What is written with
them is opened by programs that we do not know: each may take tags, load pictures and make links.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_MARKS = re.compile(r"[\\`*_\[\]<>~|#$]|&(?=[#\w])")  # what means something anywhere in a line
_START = re.compile(r"^(\d{0,9})(?=[-+=.)])")  # and what does where it begins
# What renderers make a link of where it stands alone: an address, a name after www., of a mailbox
# or of a person. As code it is none, and can still be copied.
_ADDRESS = re.compile(
    r"://|\bwww\.|@|\b(?:javascript|vbscript|data|mailto|xmpp|tel):(?=\S)", re.IGNORECASE
)
# controls but line feed and tab, what turns the order of letters around, and halves of characters
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

# What spreadsheets may take for a formula: how it begins, also in the wide forms of these signs.
_FORMULA = re.compile(r"[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?[0-9]+([.,][0-9]+)?(e[+-]?[0-9]+)?%?", re.IGNORECASE)


def visible(text: str) -> str:
    """Put a sign in place of characters that hide or reorder what stands around them."""
    return _UNSEEN.sub("\ufffd", text)


def markdown(text: str) -> str:
    """Write the lines of a text as Markdown that shows them as they are."""
    return "\n".join(map(_line, text.splitlines()))


def markdown_line(text: str) -> str:
    """Write a text as one line of Markdown: a title, a name."""
    return _line(" ".join(text.split()))


def cell(text: str) -> str:
    """Write a text as a cell of a table."""
    return markdown_line(text.replace("|", " | "))  # in code it could not be escaped


def is_formula(text: str) -> bool:
    """Return whether a spreadsheet would run a cell with this text; a number is none."""
    return bool(_FORMULA.match(text)) and not _NUMBER.fullmatch(text)


def sheet_cell(text: str) -> str:
    """Write a text as a cell of a spreadsheet, with a sign before a formula that makes it none."""
    return f"'{text}" if is_formula(text) else text


def code(text: str) -> str:
    """Write a text as code within a line."""
    line = visible(" ".join(text.split()))
    marks = "`" * (_longest_run(line) + 1)
    space = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{marks}{space}{line}{space}{marks}"


def fenced(lines: Iterable[str], language: str = "") -> list[str]:
    """Write lines as a block of code, which nothing in them ends."""
    escaped = [visible(" ".join(line.splitlines())) for line in lines]
    marks = "`" * max([3, *(_longest_run(line) + 1 for line in escaped)])
    return [marks + language, *escaped, marks]


def _line(line: str) -> str:
    words = line.strip()
    if not words:
        return ""
    indent = "\u00a0" * (len(line) - len(line.lstrip()))  # four spaces would make it code
    parts = [code(w) if _ADDRESS.search(w) else _escaped(w) for w in words.split(" ")]
    return indent + _START.sub(r"\1\\", " ".join(parts))


def _escaped(text: str) -> str:
    return _MARKS.sub(lambda mark: f"\\{mark[0]}", visible(text))


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
