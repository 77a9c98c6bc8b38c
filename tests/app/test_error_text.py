"""Errors on the page in the language of the page: every message that can get there has a text."""

from __future__ import annotations

import ast
import io
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import error_text
from app.error_text import message_text
from vqa.data.row_reader import BadRows
from vqa.errors import VQAError
from vqa.inputs.images import load_image
from vqa.inputs.signatures import describe_other

ROOT = Path(__file__).parents[2]
SHOWN = (  # what people meet who ask about pictures, videos and files of questions
    "vqa/inputs/images.py",
    "vqa/inputs/boxes.py",
    "vqa/inputs/video.py",
    "vqa/chat/conversation.py",
    "vqa/chat/database.py",
    "vqa/chat/history.py",
    "vqa/chat/listing.py",
    "vqa/chat/migrations.py",
    "vqa/chat/model_host.py",
    "vqa/chat/service.py",
    "vqa/chat/titles.py",
    "vqa/batches/background.py",
    "vqa/batches/quotas.py",
    "vqa/batches/run_store.py",
    "vqa/batches/unpack.py",
    "vqa/engine/completion.py",
    "vqa/reading/reader.py",
)
HEADS = [
    b"<!doctype html>", b"<?xml", b"version https://git-lfs", b"\xff\n", b"....jP2 ", b"%!PS",
    b"8BPS", b"\0\0\1\0", b"P6 1", b"fLaC\0", b"....ftypisom", b"%PDF", b"PK\3\4", b"words",
    b"\1\2\3",
]  # fmt: skip


@pytest.fixture(autouse=True)
def chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(error_text, "language", lambda: "zh")


def is_chinese(words: str) -> bool:
    return any("\u4e00" <= char <= "\u9fff" for char in words)


def messages(file: str) -> Iterator[str]:
    """List what the errors of a module say, with a 7 for all that differs."""
    for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Raise | ast.Return):
            continue
        call = node.exc if isinstance(node, ast.Raise) else node.value
        if isinstance(call, ast.Call) and getattr(call.func, "id", "").endswith("Error"):
            yield from (words for one in call.args[:1] if (words := written(one)))


def written(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(one.value) if isinstance(one, ast.Constant) else "7" for one in node.values
        )
    return ""


@pytest.mark.parametrize("file", SHOWN)
def test_every_message_has_a_text(file: str) -> None:
    given = [one for one in messages(file) if one not in ("7 is 7.", "7")]  # tested below
    assert given
    assert [one for one in given if not is_chinese(message_text(one))] == []


@pytest.mark.parametrize("head", HEADS)
def test_what_a_file_is_instead_of_a_picture(head: bytes) -> None:
    assert describe_other(head) not in {describe_other(other) for other in HEADS if other != head}
    words = message_text(f"this is me or b.png is {describe_other(head)}.")
    assert words.startswith(("this is me or b.png 是", "this is me or b.png 不是"))
    assert "convert" not in words and "picture" not in words


def test_a_real_error() -> None:
    with pytest.raises(VQAError) as caught:
        load_image(io.BytesIO(b"words"))
    assert message_text(str(caught.value)) == "图片 是文本，不是图片：请检查文件。"


def test_names_stay_as_they_are() -> None:
    words = message_text("{0} {name}.png is empty (0 bytes).")
    assert words == "{0} {name}.png 是空文件（0 字节）。"
    assert message_text("no question is empty (0 bytes).").startswith("no question 是")


def test_bad_rows_of_a_file_are_told_one_by_one() -> None:
    rows = BadRows(Path("a.csv"), [(number, "answer is missing or empty") for number in range(90)])
    words = message_text(str(rows))
    assert words.startswith("a.csv 第 0 行：缺少回答，或回答为空；a.csv 第 1 行：")
    assert words.endswith("行有误")


def test_what_guests_write_costs_no_time() -> None:
    began = time.process_time()
    for words in (" has too many pixels (", " is ", ": ", "; ", "a.csv:1: ", "message 1: "):
        message_text((words * 500)[:490])
    assert time.process_time() - began < 2


def test_guests_are_not_told_the_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(error_text, "is_local", lambda: False)
    monkeypatch.setattr(error_text, "directory", lambda: Path("/srv/anna"))
    assert message_text("/srv/anna: cannot be made (x): name another with `history`").startswith(
        "无法建立 ...（x）"
    )
    assert "srv" not in message_text(f"[Errno 2] {Path('/srv/anna/pictures/a')}")


def test_what_nobody_has_translated_stays_english(monkeypatch: pytest.MonkeyPatch) -> None:
    for words in ("It rains.", "The cat is black.", "a or b", ""):
        assert message_text(words) == words
    monkeypatch.setattr(error_text, "language", lambda: "en")
    assert message_text("There is no question to answer.") == "There is no question to answer."


@given(st.text(max_size=300))
def test_any_message_is_taken(words: str) -> None:
    shown = message_text(words)
    assert shown == words or is_chinese(shown)
