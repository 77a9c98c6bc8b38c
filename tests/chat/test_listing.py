"""The list of conversations: titles, first pictures, where words stand, and what is running."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import event

from tests.chat.test_history import ANNA, BEN, PICTURE, talk
from tests.chat.test_service import upload
from tests.chat.test_worker import Echo, wait
from vqa.chat import Worker
from vqa.chat.history import History
from vqa.chat.picture_store import PictureFolder
from vqa.chat.service import ChatService
from vqa.chat.titles import MAX_TITLE
from vqa.chat.turn import NotFoundError
from vqa.errors import InputError


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    opened = History(tmp_path / "chats")
    yield opened
    opened.close()


def test_a_title_is_changed_and_stays(history: History) -> None:
    key, turns = talk(history, "What is it?", "A cat.")
    other, _ = talk(history, "Later?")
    history.rename(ANNA, key, "  My \n cat ")
    history.add_question(ANNA, key, turns[-1], "And now?")
    assert [one.title for one in history.conversations(ANNA)] == ["My cat", "Later?"]
    assert [one.id for one in history.conversations(ANNA, "MY CAT")] == [key]
    history.rename(ANNA, other, "x" * MAX_TITLE)  # the longest, and no turn of it is newer
    assert [one.id for one in history.conversations(ANNA)] == [key, other]


@pytest.mark.parametrize("title", ["", "  \n\t ", "\u200b\u200e", "\x00\x1b", "\u202e \u2066"])
def test_an_empty_title_is_refused(history: History, title: str) -> None:
    key, _ = talk(history, "What is it?")
    with pytest.raises(InputError, match="title is empty"):
        history.rename(ANNA, key, title)
    assert history.conversations(ANNA)[0].title == "What is it?"


def test_a_title_that_is_too_long_is_refused(history: History) -> None:
    key, _ = talk(history, "What is it?")
    with pytest.raises(InputError, match=r"title has 1,000,000 characters: at most 100 are taken"):
        history.rename(ANNA, key, "猫" * 1_000_000)
    assert history.conversations(ANNA)[0].title == "What is it?"


def test_nobody_renames_or_stops_what_is_anothers(history: History) -> None:
    key, turns = talk(history, "What is it?")
    history.add_answer(ANNA, turns[0], "parrot")
    with pytest.raises(NotFoundError):
        history.rename(BEN, key, "Mine")
    with pytest.raises(NotFoundError):
        history.rename(ANNA, "no such", "Mine")
    assert history.running(BEN) == []
    assert [conversation for conversation, _ in history.running(ANNA)] == [key]
    assert history.conversations(ANNA)[0].title == "What is it?"
    assert history.conversations(BEN) == []


def test_a_title_that_is_given_at_the_start_is_none_of_the_question(history: History) -> None:
    key = history.start(ANNA, title="What \n happens?" * 100)
    history.add_question(ANNA, key, None, "Frames of a video at 0.5 s.\nWhat happens?")
    (one,) = history.conversations(ANNA)
    assert one.title.startswith("What happens?What") and len(one.title) == 60


def test_each_has_its_first_picture(history: History) -> None:
    key, turns = talk(history, "None?", "no")
    assert history.conversations(ANNA)[0].picture is None
    first = history.add_question(
        ANNA, key, turns[-1], "Two?", [("a.png", PICTURE), ("b.png", b"other")]
    )
    history.add_question(ANNA, key, first, "Another?", [("c.png", b"third")])
    history.add_question(BEN, history.start(BEN), None, "?", [("d.png", b"fourth")])
    (one,) = history.conversations(ANNA)
    assert one.picture is not None
    assert (one.picture.name, one.picture.path.read_bytes()) == ("a.png", PICTURE)
    assert [one.picture.name for one in history.conversations(BEN) if one.picture] == ["d.png"]


def test_a_search_shows_where_the_words_stand(history: History) -> None:
    before, after = "The first words of it. " * 20, " and the last words of it." * 20
    long, _ = talk(history, "What is it?", f"{before}A Grey\nsheep{after}", "Which?", "A grey one")
    key = history.start(ANNA)
    history.add_question(ANNA, key, None, "And this?", [("holiday%_1.jpg", PICTURE)])
    (match,) = history.conversations(ANNA, "a GREY")
    assert match.id == long
    assert match.place.startswith("… ") and match.place.endswith(" …")
    assert "A Grey sheep and the last" in match.place and len(match.place) < 130
    (match,) = history.conversations(ANNA, "holiday%")
    assert (match.id, match.place) == (key, "holiday%_1.jpg")
    assert history.conversations(ANNA, "holiday_") == []
    history.rename(ANNA, key, "Spain")
    (match,) = history.conversations(ANNA, "spain")
    assert (match.id, match.place) == (key, "")
    history.correct(ANNA, history.branch(ANNA, long)[1].id, "A white goat")
    assert [one.place for one in history.conversations(ANNA, "goat")] == ["A white goat"]
    assert [one.place for one in history.conversations(ANNA)] == ["", ""]


def test_another_owners_words_are_not_found(history: History) -> None:
    key = history.start(BEN)
    history.add_question(BEN, key, None, "A secret?", [("secret.jpg", PICTURE)])
    history.rename(BEN, key, "Secret")
    assert history.conversations(ANNA, "secret") == []
    assert len(history.conversations(BEN, "secret")) == 1


def test_a_thousand_conversations_are_listed_by_few_queries(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements: list[str] = []
    engine = history._database._engine
    talk(history, "What is it?")
    with sqlite3.connect(history.directory / "history.sqlite") as database:
        database.executescript(
            """
            with recursive n(i) as (select 1 union all select i + 1 from n where i < 1000)
            insert into conversations (id, owner, title, system, changed)
                select 'c' || i, 'anna', 'Number ' || i, '', '2026-01-01 00:00:00.000000' from n;
            insert into turns (id, number, conversation, role, text, state, process, model, about,
                               notice, rating, correction, created)
                select id || '-' || k, k, id, 'user', 'What is on it? ' || hex(zeroblob(500)),
                       'done', 0, '', '{}', '', 0, '', changed
                from conversations, (select 1 as k union select 2 union select 3)
                where id like 'c%' and length(id) < 6;
            insert into pictures (turn, position, name, file) select id, 0, id, id from turns
                where conversation like 'c%' and number > 0;
            """
        )
    monkeypatch.setattr(PictureFolder, "add", None)  # nor is any file touched

    @event.listens_for(engine, "before_cursor_execute")
    def count(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        statements.append(statement)

    begun = time.monotonic()
    listed = history.conversations(ANNA, limit=31)
    searched = history.conversations(ANNA, "number 99", limit=31)
    assert len(listed) == 31 and len(searched) == 11
    assert all(one.picture for one in searched)
    assert history.running(ANNA) == []
    assert len(statements) <= 7
    assert time.monotonic() - begun < 5  # on a busy machine; of this some hundredths are needed


def test_what_runs_is_listed_and_stopped_from_anywhere(tmp_path: Path) -> None:
    echo = Echo(free=False)
    history = History(tmp_path)
    with Worker(echo) as worker:
        chats = ChatService(history, lambda: worker)
        keys = [history.start(ANNA), history.start(ANNA), history.start(BEN)]
        for owner, key in zip((ANNA, ANNA, BEN), keys, strict=True):
            chats.ask(owner, key, "What is it?", [upload()])
        assert chats.running(ANNA).keys() == set(keys[:2])
        assert chats.running(BEN).keys() == {keys[2]}
        with pytest.raises(NotFoundError):
            chats.stop_all(BEN, keys[0])
        assert keys[0] in chats.running(ANNA)
        chats.stop_all(ANNA, keys[0])
        assert chats.running(ANNA).keys() == {keys[1]}
        assert chats.running(BEN).keys() == {keys[2]}
        wait(lambda: history.branch(ANNA, keys[0])[-1].state == "stopped")
        echo.go.release(20)
        wait(lambda: not chats.running(ANNA))
        wait(lambda: history.branch(ANNA, keys[1])[-1].state == "done")
        wait(lambda: not chats.running(BEN))
    history.close()
