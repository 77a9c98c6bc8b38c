"""The history on a full disk, locked by another program, or damaged: one line, and nothing lost."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

import vqa.chat.database
import vqa.chat.service
from tests.chat.test_history import ANNA, talk, texts
from tests.chat.test_service import upload
from tests.chat.test_worker import Echo, wait
from tests.disk import full_beyond
from vqa.chat import Worker
from vqa.chat.history import History
from vqa.chat.service import ChatService
from vqa.errors import DiskError, InputError, VQAError


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    opened = History(tmp_path / "chats")
    yield opened
    opened.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vqa.chat.database, "_PATIENCE", 0.2)
    monkeypatch.setattr(vqa.chat.service, "_AGAIN", 0.1)


def locked(directory: Path) -> sqlite3.Connection:
    """Another program that writes, and does not end."""
    other = sqlite3.connect(directory / "history.sqlite")
    other.execute("begin immediate")
    return other


def test_a_full_disk_keeps_what_was_there(history: History) -> None:
    key, turns = talk(history, "What?", "A cat.")
    size = (history.directory / "history.sqlite-wal").stat().st_size
    with full_beyond(size):
        for write in (
            lambda: history.start(ANNA),
            lambda: history.add_question(ANNA, key, turns[-1], "And " * 100),
            lambda: history.rate(ANNA, turns[1], 1),
            lambda: history.correct(ANNA, turns[1], "A dog."),
            lambda: history.delete(ANNA, key),
        ):
            with pytest.raises(DiskError, match=r"Cannot write .*history\.sqlite: .*make room"):
                write()
        assert texts(history, key) == ["What?", "A cat."]
    assert texts(history, key) == ["What?", "A cat."]
    history.correct(ANNA, turns[1], "A dog.")
    assert history.branch(ANNA, key)[1].correction == "A dog."


def test_a_full_disk_from_the_beginning(tmp_path: Path) -> None:
    with full_beyond(0), pytest.raises(DiskError, match=r"history\.sqlite: .*make room"):
        History(tmp_path)
    History(tmp_path).close()


def test_no_room_for_a_picture(history: History) -> None:
    key, _ = talk(history, "What?", "A cat.")
    size = (history.directory / "history.sqlite-wal").stat().st_size + 100_000
    with full_beyond(size), pytest.raises(DiskError, match="pictures"):
        history.add_question(ANNA, key, None, "Which?", [("a.png", b"p" * 2 * size)])
    assert texts(history, key) == ["What?", "A cat."]


def test_locked_for_long(impatient: None, tmp_path: Path) -> None:
    history = History(tmp_path)
    key, turns = talk(history, "What?", "A cat.")
    other = locked(tmp_path)
    with pytest.raises(VQAError, match="another program has held the history locked") as ended:
        history.rate(ANNA, turns[1], 1)
    assert ended.value.exit_code == 1
    assert texts(history, key) == ["What?", "A cat."]
    again = History(tmp_path)  # to read it, nobody has to wait
    assert texts(again, key) == ["What?", "A cat."]
    other.rollback()
    history.rate(ANNA, turns[1], 1)
    assert again.branch(ANNA, key)[1].rating == 1


@pytest.mark.parametrize("fault", ["locked", "full"])
def test_an_answer_that_cannot_be_written_is_shown_and_kept_later(
    impatient: None, tmp_path: Path, fault: str
) -> None:
    echo = Echo(free=False)
    history = History(tmp_path)
    with Worker(echo) as worker:
        chats = ChatService(history, lambda: worker)
        key = history.start(ANNA)
        answer = chats.ask(ANNA, key, "What is it?", [upload()])
        if fault == "locked":
            other = locked(tmp_path)
            echo.go.release(9)
            wait(lambda: chats.job(answer) is None)
            answer_turn = history.branch(ANNA, key)[-1]
            other.rollback()
        else:
            with full_beyond((tmp_path / "history.sqlite-wal").stat().st_size):
                echo.go.release(9)
                wait(lambda: chats.job(answer) is None)
                answer_turn = history.branch(ANNA, key)[-1]
        assert (answer_turn.text, answer_turn.state) == ("What is it?", "done")
        assert answer_turn.notice.startswith("This answer is not kept yet: ")
        wait(lambda: history.branch(ANNA, key)[-1].notice == "")
    history.close()
    later = History(tmp_path)
    assert [(t.text, t.state) for t in later.branch(ANNA, key)] == [("What is it?", "done")] * 2


VALUES = {
    "about": "no JSON",
    "created": "yesterday",
    "judged": "x",
    "text": b"\xff\xfe",
    "parent": "gone",
}


@pytest.mark.parametrize("column", VALUES)
def test_a_damaged_value(history: History, column: str) -> None:
    key, turns = talk(history, "What?", "A cat.")
    with sqlite3.connect(history.directory / "history.sqlite") as other:
        statement = f"update turns set {column} = cast(? as text) where id = ?"
        other.execute(statement, (VALUES[column], turns[1]))
    with pytest.raises(VQAError, match=r"history\.sqlite"):
        history.branch(ANNA, key)


def test_turns_in_a_circle(history: History) -> None:
    key, turns = talk(history, "What?", "A cat.")
    with sqlite3.connect(history.directory / "history.sqlite") as other:
        other.execute("update turns set parent = ? where id = ?", (turns[1], turns[0]))
    with pytest.raises(InputError, match="not a readable history, or damaged"):
        history.branch(ANNA, key)


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_file_ends_in_one_line(tmp_path: Path, seed: int) -> None:
    history = History(tmp_path)
    for number in range(30):
        key, turns = talk(history, f"What is {number}?", "A cat. " * 50)
    history.close()
    file = tmp_path / "history.sqlite"
    content, chance = bytearray(file.read_bytes()), random.Random(seed)
    if seed % 4 == 0:
        del content[chance.randrange(len(content)) :]
    for _ in range(1 + seed % 5):
        at = chance.randrange(len(content) + 1)
        content[at : at + 512] = chance.randbytes(len(content[at : at + 512]))
    file.write_bytes(content)
    try:
        damaged = History(tmp_path)
    except VQAError as error:
        assert "\n" not in str(error) and "history.sqlite" in str(error)
        return
    for use in (
        lambda: damaged.conversations(ANNA, "cat"),
        lambda: damaged.branch(ANNA, key),
        lambda: damaged.rate(ANNA, turns[1], 1),
        lambda: talk(damaged, "More?", "Yes."),
        lambda: damaged.judged_answers(),
        lambda: damaged.delete(ANNA, key),
    ):
        try:
            use()
        except VQAError as error:
            assert "\n" not in str(error)
    damaged.close()
