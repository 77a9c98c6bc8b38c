"""Data files as the tests of formats write them, and what is read of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vqa.data import read
from vqa.data.example import Example
from vqa.data.row_reader import BadRow

FLAT = {"id": 1, "image": "a.png", "question": "What?", "answer": "cat"}
CAT = Example(1, (Path("a.png"),), "What?", ("cat",))


def put(folder: Path, content: object, name: str = "data.txt") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return path


def lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def bad_of(path: Path, **wanted: Any) -> tuple[list[Example], list[BadRow]]:
    bad: list[BadRow] = []
    return list(read(path, bad=bad.append, **wanted)), bad
