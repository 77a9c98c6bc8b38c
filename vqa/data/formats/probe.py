"""Probe a file or folder: what it is, and its first rows. Names do not count."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from vqa.data.formats.json_stream import elements, members
from vqa.data.row_limits import beginning, check_json
from vqa.errors import InputError
from vqa.inputs import signatures
from vqa.utils.disk import reading

Kind = Literal[
    "folder", "json lines", "json list", "json object", "parquet", "text", "hub", "other"
]
_HEAD = 1 << 16  # bytes
_ROWS = 20
_LINES_AT_MOST = 1 << 26  # bytes; pictures may be written into a line
_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(:[\w.-]+){0,2}")
_ENDINGS = frozenset({".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".txt", ".parquet"})
_ROW_KEYS = frozenset({"question", "image", "messages", "conversations"})
_ASKED = frozenset({"question", "messages", "conversations"})
_MEMBERS = 10_000  # of an object; the first show whether they are rows
_ENOUGH = 2  # members that are rows: all are
_SPLIT = {"columns", "index", "data"}  # what pandas writes with orient="split"
DATA = "data"
_LISTS = frozenset({"questions", "annotations"})
_CONTROL = re.compile(rb"[\0-\x08\x0e-\x1f]")
_OTHER = (
    (b"RIFF", "a recording"),
    (b"\x1a\x45\xdf\xa3", "a video"),
    (b"%PDF", "a PDF"),
    (b"PK\3\4", "a zip file (a spreadsheet is one: save it as CSV)"),
    (b"\x1f\x8b", "a gzip file (unpack it)"),
    (b"\xff\xfe", "UTF-16 text (save it as UTF-8)"),
    (b"\xfe\xff", "UTF-16 text (save it as UTF-8)"),
)


@dataclass(frozen=True)
class FileProbe:
    """The kind of a file or folder, and its beginning."""

    path: Path
    kind: Kind
    what: str  # in words, for the message where no format knows it
    rows: tuple[dict[str, Any], ...] = ()  # the first ones of JSON lines or a JSON list
    members: dict[str, Any] = field(default_factory=dict)  # of an object; of a list one element
    lines: tuple[str, ...] = ()  # the first ones of a text

    def first_of(self, name: str) -> Any:
        """Return the first item of a member that is a list; None where there is none."""
        value = self.members.get(name)
        return value[0] if isinstance(value, list) and value else None


def probe_file(path: Path) -> FileProbe:
    """Find out what a file or folder is. Raises InputError where there is none or it is empty."""
    if path.is_dir():
        return FileProbe(path, "folder", "a folder")
    if not path.exists():
        named = path.parent.exists() or path.suffix.lower() in _ENDINGS  # a file, mistyped
        if _HUB.fullmatch(str(path)) and not named:
            return FileProbe(path, "hub", "the name of a data set of the hub")
        raise InputError(f"Cannot read {path}: no such file or directory.")
    if not path.is_file():
        raise InputError(f"{path} is not a file: rows are read twice, so write them to one first.")
    head = _head(path)
    if not head.strip():
        raise InputError(f"{path} is empty: no rows.")
    if head.startswith(b"PAR1"):
        return FileProbe(path, "parquet", "Parquet")
    binary = _CONTROL.search(head) is not None
    what = next((what for start, what in _OTHER if head.startswith(start)), None)
    picture = signatures.detect_format(head)
    if picture is not None:
        what = f"a picture ({picture.name})"
    elif head[4:8] == b"ftyp":
        what = "a video"
    if what is not None and (binary or head.startswith(b"%PDF")):
        return FileProbe(path, "other", what)
    start = head.lstrip()[:1]
    probe = None
    if start == b"[":
        probe = _json_list(path)
    elif start == b"{":
        probe = _json_object(path)
    return probe or _lines(path, head)


def _head(path: Path) -> bytes:
    with reading(path), path.open("rb") as file:
        return file.read(_HEAD).removeprefix(b"\xef\xbb\xbf")


def _json_list(path: Path) -> FileProbe | None:
    rows = [row for row in beginning(_readable(path), _ROWS) if isinstance(row, dict)]
    return FileProbe(path, "json list", "a JSON list", tuple(rows)) if rows else None


def _readable(path: Path) -> Iterator[Any]:
    try:
        yield from elements(path)
    except ValueError:  # reported with its row when it is read
        return


def _json_object(path: Path) -> FileProbe | None:
    """Probe an object that is the whole file: with lists of rows, or over several lines."""
    values: dict[str, Any] = {}
    whole, broken = True, False
    try:
        for key, value in islice(members(path), _MEMBERS + 1):
            if isinstance(value, ValueError):  # reported with its row when it is read
                broken = True
                continue
            values[key] = value
            rows = key in _LISTS and isinstance(value, list) and isinstance((value or [0])[0], dict)
            if rows and not _ROW_KEYS & values.keys():
                return FileProbe(path, "json object", _object(values), members=values)
            if (key == DATA and are_rows(value)) or (
                len(values) == _ENOUGH and are_rows(list(values.values()))
            ):
                return FileProbe(path, "json object", _object(values), members=values)
    except ValueError:
        whole = False
    whole = whole and len(values) <= _MEMBERS
    if (
        whole
        and not broken
        and (isinstance(values.get("question"), dict) or values.keys() == _SPLIT)
    ):
        return FileProbe(path, "other", "JSON column by column (in pandas: write orient='records')")
    rows = are_rows(list(values.values()))
    if whole and (rows or (not broken and _first_rows(path, 1) == [])):
        return FileProbe(path, "json object", _object(values), members=values)
    return None


def are_rows(values: object) -> bool:
    """Return whether values are all rows with a question or a conversation."""
    return (
        isinstance(values, list)
        and bool(values)
        and all(isinstance(row, dict) and bool(_ASKED & row.keys()) for row in values)
    )


def _object(members: dict[str, Any]) -> str:
    return f"a JSON object with {', '.join(list(members)[:10])}"


def _lines(path: Path, head: bytes) -> FileProbe:
    rows = _first_rows(path, _ROWS)
    if rows or path.suffix.lower() in (".jsonl", ".ndjson"):
        return FileProbe(path, "json lines", "JSON lines", tuple(rows))
    if b"\0" in head.lstrip().split(b"\n")[0]:  # in a row, it makes that row bad
        return FileProbe(path, "other", "no text")
    text = head.decode("utf-8", "replace").lstrip("\r\n")
    lines = tuple(re.split(r"\r\n?|\n", text)[:_ROWS])  # what else splitlines() parts is in a line
    first = next((line for line in lines if line.strip()), "")
    start = " ".join(first.split())
    start = start if len(start) <= 60 else f"{start[:57]}..."
    return FileProbe(path, "text", f"text that begins with {start!r}", lines=lines)


def _first_rows(path: Path, most: int) -> list[dict[str, Any]]:
    """Parse those of the first lines that are JSON objects."""
    rows = []
    left = _LINES_AT_MOST
    with path.open("rb") as file:
        while most and (line := file.readline(left)):
            left -= len(line)
            if left <= 0:
                break
            text = line.decode("utf-8", "replace").strip("\ufeff \t\r\n").removesuffix(",")
            most -= bool(text)  # empty lines are none
            try:
                check_json(text)
                row = json.loads(text)
            except (ValueError, RecursionError):
                continue
            if isinstance(row, dict):
                rows.append(row)
    return rows
