from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vqa.chat.history import History
from vqa.chat.turn import NotFoundError
from vqa.errors import InputError

ANNA, BEN = "anna", "ben"
PICTURE = b"\x89PNG bytes of a picture"


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    opened = History(tmp_path / "chats")
    yield opened
    opened.close()


def talk(history: History, *texts: str, owner: str = ANNA) -> tuple[str, list[str]]:
    """A conversation of questions and answers in turn: its id, and those of its turns."""
    key = history.start(owner)
    turns: list[str] = []
    for number, text in enumerate(texts):
        if number % 2:
            turns.append(history.add_answer(owner, turns[-1], "parrot"))
            history.finish(turns[-1], text, "done", {"probability": 0.5})
        else:
            parent = turns[-1] if turns else None
            turns.append(history.add_question(owner, key, parent, text))
    return key, turns


def texts(history: History, key: str, owner: str = ANNA) -> list[str]:
    return [turn.text for turn in history.branch(owner, key)]


def files(history: History) -> list[str]:
    return sorted(path.name for path in (history.directory / "pictures").iterdir())


def test_a_conversation_comes_back_as_it_was(tmp_path: Path) -> None:
    first = History(tmp_path / "chats")
    key = first.start(ANNA, system="Be brief.")
    question_id = first.add_question(ANNA, key, None, "What is it?", [("猫.png", PICTURE)])
    answer_id = first.add_answer(ANNA, question_id, "parrot")
    first.finish(answer_id, "A cat.", "done", {"probability": 0.9, "seconds": {"total": 1.5}})
    first.close()

    again = History(tmp_path / "chats")
    question, answer = again.branch(ANNA, key)
    assert (question.role, question.text, question.state) == ("user", "What is it?", "done")
    assert [(one.name, one.path.read_bytes()) for one in question.pictures] == [("猫.png", PICTURE)]
    assert (answer.role, answer.text, answer.model) == ("assistant", "A cat.", "parrot")
    assert answer.about == {"probability": 0.9, "seconds": {"total": 1.5}}
    assert again.system(ANNA, key) == "Be brief."
    assert [one.title for one in again.conversations(ANNA)] == ["What is it?"]
    again.close()


def test_an_edited_question_is_a_branch_beside_the_old_one(history: History) -> None:
    key, turns = talk(history, "One?", "1", "Two?", "2")
    edited = history.edit_question(ANNA, turns[0], "Uno?")
    assert texts(history, key) == ["Uno?"]
    answer = history.add_answer(ANNA, edited, "parrot")
    history.finish(answer, "uno", "done", {})
    (first, _) = history.branch(ANNA, key)
    assert first.siblings == (turns[0], edited)
    history.choose(ANNA, turns[0])
    assert texts(history, key) == ["One?", "1", "Two?", "2"]
    history.choose(ANNA, edited)
    assert texts(history, key) == ["Uno?", "uno"]


def test_an_edited_question_keeps_its_pictures(history: History) -> None:
    key = history.start(ANNA)
    turn = history.add_question(ANNA, key, None, "?", [("a.png", PICTURE), ("b.png", b"other")])
    history.edit_question(ANNA, turn, "!")
    (now,) = history.branch(ANNA, key)
    assert [one.name for one in now.pictures] == ["a.png", "b.png"]
    assert [one.path.read_bytes() for one in now.pictures] == [PICTURE, b"other"]
    assert len(files(history)) == 2  # the same bytes are stored once


def test_deleting_a_turn_shows_what_stood_beside_it(history: History) -> None:
    key, turns = talk(history, "One?", "1", "Two?", "2")
    other = history.add_answer(ANNA, turns[0], "parrot")
    history.finish(other, "one", "done", {})
    assert texts(history, key) == ["One?", "one"]
    history.delete_turn(ANNA, other)
    assert texts(history, key) == ["One?", "1", "Two?", "2"]
    history.delete_turn(ANNA, turns[1])
    assert texts(history, key) == ["One?"]
    history.delete_turn(ANNA, turns[0])
    with pytest.raises(NotFoundError):  # nothing is left of it
        history.branch(ANNA, key)
    assert history.conversations(ANNA) == []


def test_pictures_go_with_the_last_that_has_them(history: History) -> None:
    first = history.start(ANNA)
    history.add_question(ANNA, first, None, "?", [("a.png", PICTURE)])
    gone = history.start(BEN)
    history.add_question(BEN, gone, None, "?", [("a.png", PICTURE), ("b.png", b"other")])
    history.delete(BEN, gone)
    assert len(files(history)) == 1
    assert history.branch(ANNA, first)[0].pictures[0].path.read_bytes() == PICTURE
    history.delete(ANNA, first)
    assert files(history) == []


def test_nobody_gets_at_what_is_anothers(history: History) -> None:
    key, turns = talk(history, "One?", "1")
    for forbidden in (
        lambda: history.branch(BEN, key),
        lambda: history.system(BEN, key),
        lambda: history.delete(BEN, key),
        lambda: history.add_question(BEN, key, turns[1], "mine"),
        lambda: history.edit_question(BEN, turns[0], "mine"),
        lambda: history.add_answer(BEN, turns[0], "parrot"),
        lambda: history.turn(BEN, turns[0]),
        lambda: history.choose(BEN, turns[0]),
        lambda: history.delete_turn(BEN, turns[0]),
        lambda: history.rate(BEN, turns[1], 1),
        lambda: history.correct(BEN, turns[1], "mine"),
    ):
        with pytest.raises(NotFoundError):
            forbidden()
    assert history.conversations(BEN) == []
    assert history.judged_answers(BEN) == []
    assert texts(history, key) == ["One?", "1"]
    other, _ = talk(history, "Mine?", owner=BEN)
    with pytest.raises(NotFoundError):
        history.add_question(BEN, other, turns[1], "after another's turn")


def test_pinned_conversations_come_first(history: History) -> None:
    keys = [talk(history, f"{word}?", "yes")[0] for word in ("one", "two", "three")]

    def titles(search: str = "") -> list[tuple[str, bool]]:
        return [(one.title, one.pinned) for one in history.conversations(ANNA, search)]

    history.pin(ANNA, keys[0], True)
    assert titles() == [("one?", True), ("three?", False), ("two?", False)]
    history.pin(ANNA, keys[1], True)
    talk(history, "four?")
    assert [title for title, _ in titles()] == ["two?", "one?", "four?", "three?"]
    assert titles("o") == [("two?", True), ("one?", True), ("four?", False)]
    assert [one.title for one in history.conversations(ANNA, limit=1)] == ["two?"]
    history.pin(ANNA, keys[0], False)
    history.pin(ANNA, keys[1], False)
    history.pin(ANNA, keys[1], False)  # again does nothing
    assert [title for title, _ in titles()] == ["four?", "three?", "two?", "one?"]
    with pytest.raises(NotFoundError):
        history.pin(BEN, keys[0], True)
    with pytest.raises(NotFoundError):
        history.pin(ANNA, "no such", True)


def test_search_takes_words_as_they_stand(history: History) -> None:
    talk(history, "What is 100% wool?", "a sheep")
    talk(history, "这是什么?", "A Cat_")
    assert [one.title for one in history.conversations(ANNA)] == ["这是什么?", "What is 100% wool?"]
    for search, title in (
        ("SHEEP", "What is 100% wool?"),
        ("0% w", "What is 100% wool?"),
        ("什么", "这是什么?"),
        ("cat_", "这是什么?"),
    ):
        assert [one.title for one in history.conversations(ANNA, search)] == [title]
    assert history.conversations(ANNA, "c%t") == []
    assert history.conversations(ANNA, "'; drop table turns; --") == []
    assert len(history.conversations(ANNA, "  ")) == 2


@pytest.mark.parametrize("words", ["x" * 100_000, "%_" * 5_000, "什" * 50_000, "x " * 8_000])
def test_a_search_of_absurd_length_is_refused_as_such(history: History, words: str) -> None:
    talk(history, "What is 100% wool?", "a sheep")
    with pytest.raises(InputError, match=r"has [\d,]+ characters: at most 8,000 are looked for"):
        history.conversations(ANNA, words)
    assert history.conversations(ANNA, "什%" * 4_000) == []  # the longest


def test_what_people_say_of_answers(history: History) -> None:
    key, turns = talk(history, "One?", "1", "Two?", "2")
    talk(history, "Not judged?", "no")
    history.rate(ANNA, turns[1], 1)
    history.correct(ANNA, turns[3], " two ")
    up, corrected = (
        history.branch(owner, answer.conversation, answer.id)
        for owner, answer in history.judged_answers()
    )
    assert [turn.text for turn in up] == ["One?", "1"]
    assert up[-1].rating == 1
    assert [turn.text for turn in corrected] == ["One?", "1", "Two?", "2"]
    assert corrected[-1].correction == "two"
    assert history.conversations(ANNA, "two")[0].id == key
    history.rate(ANNA, turns[1], 0)
    history.correct(ANNA, turns[3], "")
    assert history.judged_answers(ANNA) == []


def test_an_answer_whose_process_is_gone_is_stopped_with_what_was_written(tmp_path: Path) -> None:
    script = f"""
from pathlib import Path
from vqa.chat.history import History
history = History(Path({str(tmp_path)!r}))
key = history.start("anna")
answer = history.add_answer("anna", history.add_question("anna", key, None, "?"), "parrot")
history.write(answer, "so far")
print(key, flush=True)
import os; os.kill(os.getpid(), 9)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    key = ended.stdout.strip()
    history = History(tmp_path)
    answer = history.branch(ANNA, key)[-1]
    assert (answer.text, answer.state) == ("so far", "stopped")


def test_an_answer_of_a_process_that_lives_goes_on(tmp_path: Path) -> None:
    history = History(tmp_path)
    key, turns = talk(history, "?")
    history.add_answer(ANNA, turns[0], "parrot")
    with sqlite3.connect(tmp_path / "history.sqlite") as database:
        database.execute("update turns set process = ? where role = 'assistant'", (os.getppid(),))
    assert History(tmp_path).branch(ANNA, key)[-1].state == "running"


def test_a_later_process_of_the_same_number_writes_no_answer_of_before(tmp_path: Path) -> None:
    history = History(tmp_path)
    key, turns = talk(history, "?")
    history.add_answer(ANNA, turns[0], "parrot")
    with sqlite3.connect(tmp_path / "history.sqlite") as database:
        database.execute(
            "update turns set process = ?, created = '2020-01-01 00:00:00.000000' "
            "where role = 'assistant'",
            (os.getppid(),),
        )
    assert History(tmp_path).branch(ANNA, key)[-1].state == "stopped"


def test_many_threads_lose_nothing(history: History) -> None:
    key, turns = talk(history, "start")

    def add(number: int) -> str:
        return history.add_question(ANNA, key, turns[0], str(number), [("p", b"%d" % (number % 3))])

    with ThreadPoolExecutor(8) as pool:
        added = list(pool.map(add, range(40)))
    assert len(set(added)) == 40
    last = history.branch(ANNA, key)[-1]
    assert sorted(last.siblings) == sorted(added)
    assert len(files(history)) == 3


def test_a_file_that_is_no_history(tmp_path: Path) -> None:
    (tmp_path / "history.sqlite").write_text("something else entirely, and long enough to tell")
    with pytest.raises(InputError, match="not a readable history"):
        History(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        History(tmp_path / "file")


def test_a_history_of_another_version(tmp_path: Path) -> None:
    History(tmp_path).close()
    with sqlite3.connect(tmp_path / "history.sqlite") as database:
        database.execute("pragma user_version = 99")
    with pytest.raises(InputError, match="another version"):
        History(tmp_path)


def test_a_turn_that_was_deleted_while_it_was_answered(history: History) -> None:
    key, turns = talk(history, "?")
    answer = history.add_answer(ANNA, turns[0], "parrot")
    history.delete(ANNA, key)
    history.write(answer, "too late")
    history.finish(answer, "too late", "done", {})
    with pytest.raises(NotFoundError):
        history.branch(ANNA, key)
