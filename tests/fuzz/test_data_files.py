"""Data files of every format, changed: rows are read or counted as bad, or one line says why."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.limits import assert_one_line, fuzz, held
from tests.fuzz.mutation import changed_bytes, changed_json, json_bytes, values
from tests.inputs.pictures import encoded, picture
from vqa.data import read
from vqa.data.check import check
from vqa.data.convert import convert
from vqa.errors import InputError

PNG = encoded(picture(), "PNG")
URL = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
FLAT = [
    {"id": 1, "image": "a.png", "question": "What?", "answer": "cat", "task": "x"},
    {"id": "b", "images": ["a.png", "b.png"], "question": "Which?", "answers": ["a", "b"],
     "choices": ["a", "b"], "system": "Be brief.",
     "earlier": [{"question": "What?", "answer": "cat", "pictures": 1}]},
    {"id": 3, "image": URL, "question": "Is <image> it?", "answer": True, "places": [3]},
]  # fmt: skip
JSON: dict[str, Any] = {
    "flat": FLAT,
    "LLaVA": [
        {"id": "1", "image": "a.png", "conversations": [
            {"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "cat"},
            {"from": "human", "value": "Why?"}, {"from": "gpt", "value": "so"}]},
        {"id": "2", "conversations": [
            {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Oh"}]},
    ],
    "ShareGPT": [
        {"messages": [{"role": "system", "content": "Be short."},
                      {"role": "user", "content": "<image>What?"},
                      {"role": "assistant", "content": "cat"}], "images": ["a.png"]},
    ],
    "OpenAI": [
        {"messages": [
            {"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": URL}},
                {"type": "image", "image": "b.png"},
                {"type": "text", "text": "What?"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "cat"}]}]},
        {"prompt": [{"role": "user", "content": "Hi"}],
         "completion": [{"role": "assistant", "content": "Oh"}]},
    ],
    "VQA v2 questions": {
        "data_subtype": "train2014",
        "questions": [{"question_id": 7, "image_id": 1, "question": "What?"},
                      {"question_id": 8, "image_id": 1, "question": "Which?"}]},
    "VQA v2 annotations": {
        "data_subtype": "train2014",
        "annotations": [
            {"question_id": 7, "image_id": 1, "multiple_choice_answer": "cat",
             "question_type": "what", "answer_type": "other",
             "answers": [{"answer": "cat", "answer_id": n} for n in range(3)]}]},
    "COCO captions": {
        "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}],
        "annotations": [{"image_id": 1, "id": 1, "caption": "A cat."},
                        {"image_id": 2, "id": 2, "caption": "A dog."}]},
    "by id": {"x": FLAT[0], "y": FLAT[1]},
    "data": {"version": "1", "data": FLAT[:2]},
}  # fmt: skip
NAMES = (
    "id", "image", "images", "question", "answer", "answers", "choices", "earlier", "places",
    "system", "messages", "conversations", "annotations", "questions", "data", "learned", "file",
    "path", "bytes", "url", "text", "type", "role", "from", "value", "content", "tool_calls",
)  # fmt: skip
TABLES = {
    "flat": [["id", "image", "question", "answers", "task"],
             ["1", "a.png", "What?", '["cat", "a ""b"]', "x"],
             ["2", "['b.png']", "Which?", "2.0", ""], ["3", "", "Why?", "", "nan"]],
    "captions": [["image", "caption"], ["a.png", "A cat."], ["a.png", "Cats"], ["b.png", "A dog."]],
}  # fmt: skip
PARQUET: list[dict[str, Any]] = [
    {"id": n, "image": {"bytes": PNG, "path": "a.png"}, "question": "What?", "answers": ["cat"],
     "more": {"a": [1.5, None]}}
    for n in range(3)
]  # fmt: skip
DAQUAR = "what is on the table in the image3 ?\nbook, cup\nhow many are in the image12 ?\n4\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the pictures of the files lie."""
    for name in ("a.png", "b.png", "image3.png", "COCO_train2014_000000000001.jpg"):
        (tmp_path / name).write_bytes(PNG)
    return tmp_path


def held_to(path: Path, content: bytes) -> None:
    """Whatever a command does with a data file ends well or in one line."""
    path.write_bytes(content)
    out = path.parent / "out" / "out.jsonl"
    actions: list[Callable[[], Any]] = [
        lambda: list(read(path)),
        lambda: [assert_one_line(problem.reason) for problem in check(path).problems],
        lambda: convert(path, out, "jsonl", skip_bad=True),
        lambda: convert(path, out, "parquet", skip_bad=True),
        lambda: convert(path, out, "csv", skip_bad=True),
    ]
    for action in actions:
        with held():
            action()
    if out.exists() and out.read_bytes():  # what was written last can be read
        with held(), suppress(InputError):
            list(read(out, path.parent, need_answers=False))


@fuzz
@given(data=st.data(), kind=st.sampled_from(sorted(JSON)), lines=st.booleans())
def test_json(folder: Path, data: st.DataObject, kind: str, lines: bool) -> None:
    for pair in ("questions", "annotations"):  # the files beside the one that is changed
        (folder / f"{pair}.json").unlink(missing_ok=True)
        if kind.startswith("VQA v2") and not kind.endswith(pair):
            (folder / f"{pair}.json").write_text(json.dumps(JSON[f"VQA v2 {pair}"]))
    value = JSON[kind]
    if lines and isinstance(value, list):
        content = b"\n".join(data.draw(json_bytes(row, NAMES)) for row in value)
    else:
        content = data.draw(json_bytes(value, NAMES))
    held_to(folder / "data.json", content)


@fuzz
@given(data=st.data(), kind=st.sampled_from(sorted(TABLES)), mark=st.sampled_from(",;\t|"))
def test_tables(folder: Path, data: st.DataObject, kind: str, mark: str) -> None:
    rows = data.draw(changed_json(TABLES[kind]))
    text = io.StringIO()
    writer = csv.writer(text, delimiter=mark)
    for row in rows if isinstance(rows, list) else [rows]:
        writer.writerow(row if isinstance(row, list) else [row])
    content = text.getvalue().encode("utf-8", "surrogatepass")
    if data.draw(st.booleans()):
        content = data.draw(changed_bytes(content))
    held_to(folder / "data.csv", content)


@fuzz
@given(data=st.data(), name=st.sampled_from(["question", "id", "answer", "image", "images", "x"]))
def test_parquet_of_other_columns(folder: Path, data: st.DataObject, name: str) -> None:
    column = data.draw(st.lists(values, min_size=3, max_size=3))
    more = data.draw(changed_json(column))
    try:
        cells: Any = pa.array(more if isinstance(more, list) and len(more) == 3 else column)
    except (pa.ArrowException, ValueError, OverflowError, TypeError, UnicodeError):
        return  # not to be written as Parquet
    table = pa.Table.from_pylist(PARQUET)
    table = table.drop_columns([name]) if name in table.column_names else table
    file = io.BytesIO()
    try:
        pq.write_table(table.append_column(name, cells), file)
    except pa.ArrowException:
        return
    held_to(folder / "data.parquet", file.getvalue())


def _written(**options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(PARQUET), file, **options)
    return file.getvalue()


WRITTEN = [_written(), _written(compression="zstd"), _written(row_group_size=1, version="1.0")]


@fuzz
@given(data=st.data(), whole=st.sampled_from(WRITTEN), at_end=st.booleans())
def test_damaged_parquet(folder: Path, data: st.DataObject, whole: bytes, at_end: bool) -> None:
    """The metadata, which the reader believes, stands at the end."""
    cut = whole.rindex(b"PAR1") - int.from_bytes(whole[-8:-4], "little") if at_end else 0
    held_to(folder / "data.parquet", whole[:cut] + data.draw(changed_bytes(whole[cut:], 600)))


@fuzz
@given(changed_bytes(DAQUAR.encode()) | st.binary(max_size=200))
def test_daquar_and_any_bytes(folder: Path, content: bytes) -> None:
    held_to(folder / "data.txt", content)
