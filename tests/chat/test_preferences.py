"""Of two answers to a question the better one is chosen: shown, stored, and given out as a pair."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.chat.test_worker import Echo
from tests.judging import ME, judge, png
from vqa.chat import Worker
from vqa.chat.feedback_export import export
from vqa.chat.history import History
from vqa.chat.service import ChatService, Upload
from vqa.chat.turn import NotFoundError
from vqa.errors import InputError


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    history = History(tmp_path / "chats")
    yield history
    history.close()


def answers(history: History, *texts: str, colour: str = "red", state: str = "done") -> list[str]:
    """Answer one question several times; the answers' ids."""
    _, first = judge(history, "What is it?", texts[0], png(colour), model="one", state=state)
    ids = [first]
    question = history.turn(ME, first).parent
    assert question is not None
    for text in texts[1:]:
        ids.append(history.add_answer(ME, question, "two"))
        history.finish(ids[-1], text, "done", {"finish": "stop"})
    return ids


def pairs(history: History, out: Path) -> list[tuple[str, str]]:
    """What `--pairs` writes: the better and the rejected answers."""
    export(history, out, pairs=True, test_share=0)
    rows: list[dict[str, Any]] = [
        json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()
    ]
    return [(row["answer"], row["rejected"]) for row in rows]


def test_another_model_answers_the_same_question(tmp_path: Path, history: History) -> None:
    class Other(Echo):
        name = "other"

    with Worker(Echo()) as worker, Worker(Other()) as second:
        service = ChatService(history, lambda: worker)
        key = history.start(ME, "Be brief.")
        first = service.ask(ME, key, "What is it?", [Upload("a.png", png("red"))])
        service.wait(first)
        other = service.compare(ME, first, second)
        service.wait(other)
        with pytest.raises(NotFoundError):
            service.compare("ben", first, second)
    turns = [history.turn(ME, one) for one in (first, other)]
    assert [turn.model for turn in turns] == ["echo", "other"]
    assert turns[0].parent == turns[1].parent and turns[0].text == turns[1].text
    assert history.branch(ME, key)[-1].siblings == (first, other)


def test_the_better_answer_is_shown_and_makes_a_pair(tmp_path: Path, history: History) -> None:
    worse, better = answers(history, "a dog", "a cat")
    key = history.turn(ME, better).conversation
    history.prefer(ME, worse, better)
    assert history.branch(ME, key)[-1].id == worse
    history.prefer(ME, better, worse)  # the other way round after all
    assert history.branch(ME, key)[-1].id == better
    assert [history.turn(ME, one).better_than for one in (worse, better)] == [None, worse]
    assert [turn.id for _, turn in history.judged_answers(ME)] == [better]
    assert pairs(history, tmp_path / "fb") == [("a cat", "a dog")]


def test_corrections_and_preferences_are_pairs_together(tmp_path: Path, history: History) -> None:
    first, second = answers(history, "a dog", "a cat", colour="green")
    history.prefer(ME, second, first)
    judge(history, "What is it?", "a hat", png("white"), correction="a shoe")
    third, fourth = answers(history, "red", "blue", colour="blue")
    history.correct(ME, third, "violet")
    history.prefer(ME, third, fourth)  # the corrected one is better than both
    assert sorted(pairs(history, tmp_path / "fb")) == [
        ("a cat", "a dog"), ("a shoe", "a hat"), ("violet", "blue"), ("violet", "red"),
    ]  # fmt: skip


def test_what_is_only_better_is_no_right_answer(tmp_path: Path, history: History) -> None:
    first, second = answers(history, "a dog", "a cat")
    history.prefer(ME, second, first)
    with pytest.raises(InputError, match="1 preferred to another, which makes pairs alone"):
        export(history, tmp_path / "fb")
    history.rate(ME, second, 1)
    assert export(history, tmp_path / "fb", test_share=0).train == (1, 1)
    assert pairs(history, tmp_path / "pairs") == [("a cat", "a dog")]


def test_the_latest_choice_between_the_same_answers_counts(
    tmp_path: Path, history: History
) -> None:
    for texts in (("a dog", "a cat"), ("A cat", "A dog")):
        first, second = answers(history, *texts)
        history.prefer(ME, second, first)
    assert pairs(history, tmp_path / "fb") == [("A dog", "A cat")]


@pytest.mark.parametrize(
    ("texts", "state"),
    [(("same", "Same "), "done"), (("", "a cat"), "done"), (("a cat", "a dog"), "stopped")],
)
def test_what_makes_no_pair(
    tmp_path: Path, history: History, texts: tuple[str, str], state: str
) -> None:
    first, second = answers(history, *texts, state=state)
    history.prefer(ME, first, second)
    with pytest.raises(InputError, match="there is no pair"):
        export(history, tmp_path / "fb", pairs=True)


def test_an_answer_whose_other_is_deleted_makes_no_pair(tmp_path: Path, history: History) -> None:
    first, second, third = answers(history, "a dog", "a cat", "a cow")
    history.prefer(ME, second, first)
    history.delete_turn(ME, first)
    with pytest.raises(InputError, match="there is no pair"):
        export(history, tmp_path / "fb", pairs=True)
    history.take_back(ME, second)
    assert history.judged_answers(ME) == []
    history.prefer(ME, second, third)
    assert pairs(history, tmp_path / "fb") == [("a cat", "a cow")]


def test_only_two_answers_to_one_question_of_ones_own_are_compared(history: History) -> None:
    first, second = answers(history, "a dog", "a cat")
    (other,) = answers(history, "a cat")
    question = history.turn(ME, first).parent
    assert question is not None
    edited = history.edit_question(ME, question, "And?")
    for one, two in (
        (first, first), (first, other), (first, question), (question, edited),
    ):  # fmt: skip
        with pytest.raises(InputError, match="Two answers to the same question"):
            history.prefer(ME, one, two)
    with pytest.raises(NotFoundError):
        history.prefer("ben", first, second)
    assert history.judged_answers() == []


def test_a_choice_outlives_the_program(tmp_path: Path, history: History) -> None:
    first, second = answers(history, "a dog", "a cat")
    history.prefer(ME, second, first)
    history.close()
    again = History(tmp_path / "chats")
    assert again.turn(ME, second).better_than == first
    again.close()
    with closing(sqlite3.connect(tmp_path / "chats" / "history.sqlite")) as database:
        assert database.execute("SELECT count(better_than) FROM turns").fetchone() == (1,)
