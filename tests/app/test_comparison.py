"""Two answers side by side: by another model, or of the same one, and the choice of the better."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from threading import Event

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

import vqa.loading
from app.state import LOCAL, chats, host, second_host
from tests.app.fake import Parrot
from tests.app.test_page import ask, opened, png, press, texts
from tests.app.waiting import finish
from vqa.answering import Answer, Request
from vqa.chat.page_options import ModelChoice
from vqa.chat.turn import Turn
from vqa.errors import VQAError


class Other(Parrot):
    """Says something else than the parrot."""

    name = "other"

    def stream(self, request: Request, cancel: Event | None = None) -> Iterator[str | Answer]:
        for piece in super().stream(request, cancel):
            shout = replace(piece, text=piece.text.upper()) if isinstance(piece, Answer) else None
            yield shout or str(piece).upper()


@pytest.fixture
def models(parrot: Parrot, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ModelChoice]]:
    """What was loaded: the parrot, and others by the names of their adapters."""
    built: list[ModelChoice] = []

    def build(choice: ModelChoice) -> Parrot:
        built.append(choice)
        if choice.adapter == "missing":
            raise VQAError("no such adapter")
        return Other() if choice.adapter else parrot

    monkeypatch.setattr(vqa.loading, "load_choice", build)
    yield built


def answer_of(page: AppTest) -> Turn:
    return chats().history.branch(LOCAL, page.query_params["c"])[-1]


def compare(page: AppTest) -> AppTest:
    page.menu_button(key=f"more-{answer_of(page).id}").click("compare").run()
    assert not page.exception
    return page


def second(page: AppTest, adapter: str) -> AppTest:
    page.text_input(key="second-adapter").set_value(adapter).run()
    page = press(page, "Ask this model")
    finish(page)
    return page


def test_a_second_model_is_asked_and_its_answer_chosen(models: list[ModelChoice]) -> None:
    page = compare(ask(opened(), "What?", ("a.png", png())))
    first = answer_of(page)
    page = second(page, "lora")
    assert models[-1] == ModelChoice(adapter="lora")
    assert host().choice == ModelChoice() and second_host().choice.adapter == "lora"
    (window,) = page.get("dialog")
    shown = [one.value for one in window.markdown]
    assert shown == ["With 1 pictures you asked: What?", "WITH 1 PICTURES YOU ASKED: WHAT?"]
    shown_still = answer_of(page)
    assert shown_still.id == first.id  # what follows it stays in sight until one is chosen
    other = chats().history.turn("local", shown_still.siblings[-1])
    assert (other.model, shown_still.siblings) == ("other", (first.id, other.id))
    page.button(key=f"better-{other.id}").click().run()
    assert not page.exception and not page.get("dialog")
    assert answer_of(page).better_than == first.id
    assert "You chose this answer as the better one." in [
        one.value for one in page.chat_message[1].caption
    ]
    assert texts(page)[-1].startswith("WITH 1 PICTURES")


def test_the_first_answer_may_be_the_better_one(models: list[ModelChoice]) -> None:
    page = compare(ask(opened(), "What?", ("a.png", png())))
    first = answer_of(page)
    page = second(page, "lora")
    page.button(key=f"better-{first.id}").click().run()
    chosen = answer_of(page)
    assert chosen.id == first.id and chosen.better_than == chosen.siblings[-1] != first.id
    assert texts(page)[-1].startswith("With 1 pictures")


def test_a_model_that_cannot_be_loaded_says_why_and_can_be_tried_again(
    models: list[ModelChoice],
) -> None:
    page = compare(ask(opened(), "What?", ("a.png", png())))
    page = second(page, "missing")
    assert "no such adapter" in page.get("dialog")[0].error[0].value
    assert len(answer_of(page).siblings) == 1 and host().error is None
    second(page, "lora")
    assert len(answer_of(page).siblings) == 2


def test_versions_of_an_answer_are_compared_without_another_model(
    models: list[ModelChoice],
) -> None:
    page = ask(opened(), "What?", ("a.png", png()))
    compare(press(page, "Again"))
    assert len(models) == 1
    first, again = answer_of(page).siblings
    (window,) = page.get("dialog")
    assert window.selectbox[0].options == ["Version 1, parrot", "Another model ..."]
    page.button(key=f"better-{first}").click().run()
    assert answer_of(page).better_than == again


def test_visitors_from_elsewhere_compare_versions_and_load_no_model(
    models: list[ModelChoice], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VQA_APP", json.dumps({"local": False}))
    st.cache_resource.clear()
    page = ask(opened(), "What?", ("a.png", png()))

    def options() -> list[str]:
        (menu,) = [one for one in page.get("menu_button") if one.key.startswith("more-")]
        return list(menu.options)

    assert "Compare" not in options()
    press(page, "Again")
    assert "Compare" in options()
