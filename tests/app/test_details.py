"""What is behind an answer, as its Details tell it."""

from __future__ import annotations

import dataclasses

import pytest
from streamlit.testing.v1 import AppTest

from app.state import chats
from tests.app.fake import Parrot
from tests.app.test_page import ask, opened, png


def details(page: AppTest, question: str) -> list[str]:
    """Ask, open what is behind the answer, and list its names and values."""
    ask(page, question, ("a.png", png()))
    answer = chats().history.branch("local", page.query_params["c"])[-1]
    page.menu_button(key=f"more-{answer.id}").click("details").run()
    assert not page.exception
    (window,) = page.get("dialog")
    return [one.value for one in (*window.caption, *window.text)]


def test_what_is_behind_an_answer_tells_the_names_and_the_text_that_stood_before(
    parrot: Parrot,
) -> None:
    names, read = "The encoder's classifier names", "Text read in the picture"
    lines = details(opened(), "Which sign?")
    assert "likely tabby" in lines and names in lines
    assert '"STOP" / "Town"\n"GO"' in lines and read in lines
    without = details(opened(), "What?")
    assert "Model" in without
    assert not {names, read} & set(without)


def test_answers_of_before_say_nothing_of_names(
    parrot: Parrot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vqa.chat.service.asdict", lambda answer: {
        name: value for name, value in dataclasses.asdict(answer).items() if name != "hints"
    })  # fmt: skip
    lines = details(opened(), "Which sign?")
    assert "Model" in lines
    assert "Text read in the picture" not in lines
