"""The page on a history that is full, locked or damaged says so in one line, and loses nothing."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import vqa.chat.database
from app.state import chats
from tests.app.fake import Parrot
from tests.app.test_page import ask, opened, png, texts
from tests.disk import full_beyond


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(vqa.chat.database, "_PATIENCE", 0.2)
    return tmp_path / "data" / "vqa" / "chats" / "history.sqlite"


def line(page: AppTest) -> str:
    """The first error on the page, without the marks that keep it from being Markdown."""
    text: str = page.error[0].value
    return text.replace("\\", "")


def test_locked_by_another_program(parrot: Parrot, file: Path) -> None:
    page = ask(opened(), "What is it?", ("a.png", png()))
    before = texts(page)
    other = sqlite3.connect(file)
    other.execute("begin immediate")
    page.chat_input[0].set_value("And now?").run()
    assert not page.exception
    assert "held the history locked" in line(page)
    other.rollback()
    assert texts(page) == before
    page = ask(page, "And now?")
    assert texts(page)[: len(before)] == before


def test_a_full_disk(parrot: Parrot, file: Path) -> None:
    page = ask(opened(), "What is it?", ("a.png", png()))
    before = texts(page)
    with full_beyond(file.with_name("history.sqlite-wal").stat().st_size):
        page.chat_input[0].set_value("And now? " * 50).run()
        assert not page.exception
        assert f"Cannot write {file}" in line(page)
        assert "make room" in line(page)
        assert texts(page) == before
    assert texts(ask(page, "And now?"))[: len(before)] == before


def test_a_damaged_file(parrot: Parrot, file: Path) -> None:
    page = ask(opened(), "What is it?", ("a.png", png()))
    with sqlite3.connect(file) as other:
        other.execute("update turns set about = 'x'")
    chats.clear()
    page.run()
    assert not page.exception
    assert "history.sqlite is not a readable history, or damaged" in line(page)
