"""Whatever a file holds: its rows are read or reported as bad, or one error names it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from tests.fuzz.limits import fuzz
from vqa.data import read
from vqa.data.row_reader import BadRow
from vqa.errors import InputError

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["id", "image", "images", "question", "answer", "answers", "messages",
                         "conversations", "from", "value", "role", "content", "earlier", "system",
                         "annotations", "questions"]) | st.text(max_size=3),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@fuzz
@given(st.lists(json_values, max_size=4), st.booleans())
@example([[None, None, {}]], True)
def test_any_json_is_read_or_told(tmp_path: Path, rows: list[Any], in_lines: bool) -> None:
    path = tmp_path / "data.txt"
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(lines if in_lines else json.dumps(rows), encoding="utf-8")
    bad: list[BadRow] = []
    try:
        good = list(read(path, need_answers=False, bad=bad.append))
    except InputError:
        return
    alone = rows[0] if in_lines and len(rows) == 1 else None
    if isinstance(alone, list):  # one line with a list is a JSON file of its items
        rows = alone
    assert len(good) + len(bad) <= len(rows) + 1


@fuzz
@given(st.binary(max_size=80), st.sampled_from([b"", b"image,question\n", b"{", b"[", b"PAR1"]))
def test_any_bytes_are_read_or_told(tmp_path: Path, content: bytes, start: bytes) -> None:
    path = tmp_path / "data.txt"
    path.write_bytes(start + content)
    try:
        list(read(path, need_answers=False))
    except InputError as error:
        assert str(path) in str(error)
