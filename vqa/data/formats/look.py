"""A first look into a file or folder: what it is, and its first rows. Names do not count."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from vqa.data.formats.json_stream import elements, members
from vqa.errors import InputError

Kind = Literal[
    "folder", "json lines", "json list", "json object", "parquet", "text", "hub", "other"
]
_HEAD = 1 << 16  # bytes
_ROWS = 20
_LINES_AT_MOST = 1 << 26  # bytes; pictures may be written into a line
_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(:[\w.-]+)?")
_ENDINGS = frozenset({".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".txt", ".parquet"})
_ROW_KEYS = frozenset({"question", "image", "messages", "conversations"})
_LISTS = frozenset({"questions", "annotations"})
_CONTROL = re.compile(rb"[\0-\x08\x0e-\x1f]")
_OTHER = (
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x89PNG", "a PNG picture"),
    (b"GIF8", "a GIF picture"),
    (b"RIFF", "a WebP picture or a recording"),
    (b"BM", "a BMP picture"),
    (b"%PDF", "a PDF"),
    (b"PK\3\4", "a zip file (a spreadsheet is one: save it as CSV)"),
    (b"\x1f\x8b", "a gzip file (unpack it)"),
    (b"\xff\xfe", "UTF-16 text (save it as UTF-8)"),
    (b"\xfe\xff", "UTF-16 text (save it as UTF-8)"),
)


@dataclass(frozen=True)
class Seen:
    """What the first look has shown."""

    path: Path
    kind: Kind
    what: str  # in words, for the message where no format knows it
    rows: tuple[dict[str, Any], ...] = ()  # the first ones of JSON lines or a JSON list
    members: dict[str, Any] = field(default_factory=dict)  # of an object; of a list one element
    lines: tuple[str, ...] = ()  # the first ones of a text


def look(path: Path) -> Seen:
    """Look into a file or folder. Raises InputError where there is none or it is empty."""
    if path.is_dir():
        return Seen(path, "folder", "a folder")
    if not path.exists():
        named = path.parent.exists() or path.suffix.lower() in _ENDINGS  # a file, mistyped
        if _HUB.fullmatch(str(path)) and not named:
            return Seen(path, "hub", "the name of a data set of the hub")
        raise InputError(f"Cannot read {path}: no such file or directory.")
    if not path.is_file():
        raise InputError(f"{path} is not a file: rows are read twice, so write them to one first.")
    head = _head(path)
    if not head.strip():
        raise InputError(f"{path} is empty: no rows.")
    if head.startswith(b"PAR1"):
        return Seen(path, "parquet", "Parquet")
    binary = _CONTROL.search(head) is not None
    what = next((what for start, what in _OTHER if head.startswith(start)), None)
    if what is not None and (binary or head.startswith(b"%PDF")):
        return Seen(path, "other", what)
    start = head.lstrip()[:1]
    seen = None
    if start == b"[":
        seen = _json_list(path)
    elif start == b"{":
        seen = _json_object(path)
    return seen or _lines(path, head)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD).removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from error


def _json_list(path: Path) -> Seen | None:
    rows: list[dict[str, Any]] = []
    try:
        for element in islice(elements(path), _ROWS):
            if isinstance(element, dict):
                rows.append(element)
    except ValueError:  # told with its row when it is read
        pass
    return Seen(path, "json list", "a JSON list", tuple(rows)) if rows else None


def _json_object(path: Path) -> Seen | None:
    """An object that is the whole file: with lists of rows, or over several lines."""
    found: dict[str, Any] = {}
    whole = True
    try:
        for key, value in members(path):
            found[key] = value
            rows = key in _LISTS and isinstance(value, list) and isinstance((value or [0])[0], dict)
            if rows and not _ROW_KEYS & found.keys():
                return Seen(path, "json object", _object(found), members=found)
    except ValueError:
        whole = False
    if whole and _first_rows(path, 1) == []:
        return Seen(path, "json object", _object(found), members=found)
    return None


def _object(members: dict[str, Any]) -> str:
    return f"a JSON object with {', '.join(list(members)[:10])}"


def _lines(path: Path, head: bytes) -> Seen:
    rows = _first_rows(path, _ROWS)
    if rows or path.suffix.lower() in (".jsonl", ".ndjson"):
        return Seen(path, "json lines", "JSON lines", tuple(rows))
    if b"\0" in head:
        return Seen(path, "other", "no text")
    text = head.decode("utf-8", "replace").lstrip("\r\n")
    lines = tuple(re.split(r"\r\n?|\n", text)[:_ROWS])  # what else splitlines() parts is in a line
    first = next((line for line in lines if line.strip()), "")
    shown = " ".join(first.split())
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return Seen(path, "text", f"text that begins with {shown!r}", lines=lines)


def _first_rows(path: Path, most: int) -> list[dict[str, Any]]:
    """Those of the first lines that are JSON objects."""
    rows = []
    left = _LINES_AT_MOST
    with path.open("rb") as file:
        for number in range(most):
            line = file.readline(left)
            left -= len(line)
            if not line or left <= 0:
                break
            text = line.removeprefix(b"\xef\xbb\xbf" if number == 0 else b"")
            try:
                row = json.loads(text.decode("utf-8", "replace"))
            except (ValueError, RecursionError):
                continue
            if isinstance(row, dict):
                rows.append(row)
    return rows
