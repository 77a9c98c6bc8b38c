"""What strangers and clumsy people give to the page: answered in a line, and nothing is lost."""

from __future__ import annotations

import gc
import io
import json
import os
import shutil
import sqlite3
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from PIL import Image
from pillow_heif import register_heif_opener
from streamlit.testing.v1 import AppTest

import vqa.chat.database
import vqa.cli.page
import vqa.loading
from app.texts import plain
from tests import tiny
from tests.app.fake import Parrot
from tests.app.test_page import texts
from tests.app.waiting import finish, waiting
from vqa.chat.history import History
from vqa.engine import LocalEngine
from vqa.errors import VQAError
from vqa.models.checkpoints import load

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "app" / "streamlit_page.py"
register_heif_opener()


def picture(file_format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 48), "teal").save(file, file_format, **options)
    return file.getvalue()


def huge_png() -> bytes:
    """The header of 30,000 x 30,000 pixels."""
    data = bytearray(picture())
    data[16:24] = struct.pack(">II", 30_000, 30_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


@pytest.fixture
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the page keeps conversations, answered by the parrot."""
    monkeypatch.setenv("VQA_APP", json.dumps({"history": str(tmp_path)}))
    monkeypatch.setattr(vqa.loading, "load_choice", lambda choice: Parrot())
    st.cache_resource.clear()
    yield tmp_path
    st.cache_resource.clear()


def opened() -> AppTest:
    page = AppTest.from_file(PAGE, default_timeout=20).run()
    while page.chat_input and page.chat_input[0].disabled and not page.error:  # it is being loaded
        page.run()
    assert not page.exception
    return page


def ask(page: AppTest, question: str, *pictures: tuple[str, bytes]) -> AppTest:
    for name, data in pictures:
        page.chat_input[0].upload(name, data)
    page.chat_input[0].set_value(question)
    finish(page.run())
    assert not page.exception
    return page


def errors(page: AppTest) -> str:
    return " ".join(error.value for error in page.error).replace("\\", "")


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("huge.png", huge_png(), "huge.png has too many pixels (30,000 x 30,000"),
        ("form.png", b"%PDF-1.7\n1 0 obj\n", "form.png is a PDF, not a picture"),
        ("half.png", picture()[:60], "half.png ends too early"),
        ("empty.png", b"", "empty.png is empty"),
        ("movie.heic", b"\0\0\0\x18ftypqt  ", "A video is asked about alone"),
    ],
)
def test_a_bad_picture_is_named_and_what_was_typed_is_kept(
    history: Path, name: str, content: bytes, why: str
) -> None:
    page = ask(opened(), "What is it?", (name, content), ("good.png", picture()))
    assert why in errors(page)
    assert len(page.error) == 1
    assert waiting(page) == ["good.png"]
    assert not page.chat_message
    assert History(history).conversations("local") == []
    ask(page, "What is it?")
    assert "With 1 pictures you asked: What is it?" in texts(page)
    assert not page.error


def test_all_bad_pictures_are_named(history: Path) -> None:
    page = ask(opened(), "What?", ("a.png", b"%PDF-1.7"), ("b.png", b""), ("c.png", picture()))
    assert "a.png is a PDF" in errors(page)
    assert "b.png is empty" in errors(page)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("phone.heic", picture("HEIF")),
        ("moves.gif", picture("GIF", save_all=True, append_images=[Image.new("RGB", (64, 48))])),
    ],
)
def test_unusual_pictures_are_used(history: Path, name: str, content: bytes) -> None:
    page = ask(opened(), "What is it?", (name, content))
    assert "With 1 pictures you asked: What is it?" in texts(page)


def test_a_photo_of_40_mb(history: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3700, 3700, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "BMP")
    assert file.tell() > 40_000_000
    page = ask(opened(), "What is it?", ("large.bmp", file.getvalue()))
    assert "With 1 pictures you asked: What is it?" in texts(page)


def test_too_many_pictures_and_none_and_nothing_said(history: Path) -> None:
    page = ask(opened(), "All?", *((f"{number}.png", picture()) for number in range(10)))
    assert "10 pictures in one message: at most 8" in errors(page)
    assert len(waiting(page)) == 8
    page = ask(opened(), "What?")
    assert "Add a picture first" in errors(page)
    page = ask(opened(), "", ("a.png", picture()))
    assert "question is empty" in errors(page)
    assert len(waiting(page)) == 1


def test_a_conversation_longer_than_the_model_holds(
    history: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model = tiny.llava_1_5(tmp_path_factory.mktemp("tiny"))
    engine = LocalEngine(load(str(model), device="cpu", dtype="float32"))
    monkeypatch.setattr(vqa.loading, "load_choice", lambda choice: engine)
    page = ask(opened(), "? " * 2500, ("a.png", picture()))
    assert "the model holds 4096" in errors(page)
    assert "begin a new conversation" in errors(page)
    assert ("? " * 2500).strip() in [text.value for text in page.text]  # to be edited


def test_pictures_that_were_deleted_from_the_disk(history: Path) -> None:
    page = ask(opened(), "What is it?", ("tea.png", picture()))
    shutil.rmtree(history / "pictures")
    page.run()
    assert not page.exception
    assert page.warning[0].value.replace("\\", "") == "The picture tea.png cannot be read any more."
    ask(page, "And now?")
    assert "The picture tea.png of this conversation cannot be read any more" in errors(page)
    assert str(history) not in errors(page)
    page = ask(opened(), "What is it?", ("tea.png", picture()))
    assert "With 1 pictures you asked: What is it?" in texts(page)


def test_a_search_of_100_000_characters_is_refused_and_the_rest_of_the_page_stays(
    history: Path,
) -> None:
    page = ask(opened(), "What is it?", ("tea.png", picture()))
    page.text_input(key="search").set_value("x" * 100_000).run()
    assert not page.exception
    assert "has 100,000 characters: at most 8,000" in errors(page)
    assert len(page.error) == 1 and len(errors(page)) < 200
    assert page.chat_message and page.chat_input


def test_what_another_tab_has_deleted(history: Path) -> None:
    page = ask(opened(), "What is it?", ("tea.png", picture()))
    [conversation] = History(history).conversations("local")
    page.session_state["none"] = None
    next(one for one in page.button if (one.key or "").startswith("delete-")).click().run()
    History(history).delete("local", conversation.id)
    page.button(key="delete-yes").click().run()
    assert not page.exception
    assert "no such turn" in errors(page)
    assert not page.chat_message


def test_a_history_that_breaks_is_told_and_comes_back(history: Path) -> None:
    page = ask(opened(), "What is it?", ("tea.png", picture()))
    file = history / "history.sqlite"
    st.cache_resource.clear()  # as if the server had been started again
    gc.collect()
    sqlite3.connect(file).execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
    for rest in history.glob("history.sqlite-*"):
        rest.unlink()
    whole = file.read_bytes()
    file.write_bytes(b"no database " * 1000)
    page.run()
    assert not page.exception
    assert "history.sqlite is not a readable history" in errors(page)
    file.write_bytes(whole)
    page.button[0].click().run()
    assert not page.exception
    assert errors(page) == ""


def test_a_locked_history_is_told_and_what_was_typed_is_kept(
    history: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vqa.chat.database, "_PATIENCE", 0.2)
    page = opened()
    other = sqlite3.connect(history / "history.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    ask(page, "What is it?", ("tea.png", picture()))
    assert "another program has held the history locked" in errors(page)
    assert len(waiting(page)) == 1
    other.close()
    ask(page, "What is it?")
    assert "With 1 pictures you asked: What is it?" in texts(page)


def test_the_command_says_what_is_wrong_with_the_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "execve", lambda *_: pytest.fail("the page was started"))
    monkeypatch.setattr(vqa.chat.database, "_PATIENCE", 0.2)
    monkeypatch.setattr(vqa.chat.history, "history_directory", lambda: tmp_path / "own")
    for kind, line in (
        ("broken", "is not a readable history, or damaged"),
        ("locked", "another program has held the history locked"),
    ):
        (tmp_path / "own").mkdir(exist_ok=True)
        file = tmp_path / "own" / "history.sqlite"
        file.write_bytes(b"no database " * 1000 if kind == "broken" else b"")
        other = sqlite3.connect(file, isolation_level=None)
        if kind == "locked":
            other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(VQAError, match=rf"history\.sqlite.*{line}") as why:
            vqa.cli.page.app_command(port=18_999)
        assert "\n" not in str(why.value)
        other.close()


READ_ONLY = """
import os, sys
from pathlib import Path
from vqa.chat.history import History
from vqa.errors import VQAError
History(Path(sys.argv[1])).close()
for file in Path(sys.argv[1]).rglob("*"):
    file.chmod(0o555)
os.chmod(sys.argv[1], 0o555)
if os.geteuid() == 0:  # root may write everything
    os.setuid(65534)
try:
    History(Path(sys.argv[1]))
except VQAError as error:
    print(error)
"""


def test_a_history_that_may_only_be_read() -> None:
    with tempfile.TemporaryDirectory() as directory:  # which others than root may enter, too
        os.chmod(directory, 0o755)
        ran = subprocess.run(
            [sys.executable, "-c", READ_ONLY, directory],
            capture_output=True, text=True, check=True, cwd=ROOT,
        )  # fmt: skip
        os.chmod(directory, 0o755)
    assert "the history cannot be used: attempt to write a readonly database" in ran.stdout


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("*a* [b](c) `d` $e$ :f: <g>", r"\*a\* \[b\]\(c\) \`d\` \$e\$ \:f\: \<g\>"),
        ("http://a.b", "http\\:\u2060\\/\\/a\\.b"),
        ("    code\n\n- x", "\u00a0\u00a0\u00a0\u00a0code  \n  \n\\- x"),
    ],
)
def test_plain_text(words: str, shown: str) -> None:
    assert plain(words) == shown
