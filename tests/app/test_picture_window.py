"""The window of a picture: a part of it is asked about, and whatever a browser sends is checked."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from app import picture_window
from app.export_html import as_html
from app.state import LOCAL, chats
from tests.app.fake import Parrot
from tests.app.test_page import ask, opened, texts
from tests.app.waiting import finish
from vqa.chat.service import Upload
from vqa.chat.turn import Turn
from vqa.inputs.images import load_image

CORNER = [0.5, 0.5, 1.0, 1.0]
BLUE = "#0000ff"


def photo() -> bytes:
    """A red picture whose lower right quarter is blue."""
    picture = Image.new("RGB", (80, 60), "red")
    picture.paste("blue", (40, 30, 80, 60))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the component in the browser sends, and `data`, what it was last given."""
    sent: dict[str, Any] = {"box": None}

    def viewer(**given: Any) -> dict[str, Any]:
        assert "__" not in given["key"]  # Streamlit refuses it, and ids are drawn at random
        sent["data"], sent["default"] = given["data"], given["default"]
        return {"box": sent["box"]}

    monkeypatch.setattr(picture_window, "_viewer", viewer)
    return sent


def look(page: AppTest, number: int = 0, place: str = "turn") -> AppTest:
    """Click on a picture."""
    keys = [str(button.key) for button in page.button]
    (key, *_) = [key for key in keys if key.startswith(f"enlarge-{place}-")][number:]
    page.button(key=key).click()
    page.run()
    assert not page.exception
    return page


def send(page: AppTest, question: str, given: str = "alone") -> AppTest:
    """Ask in the window."""
    (words,) = [one for one in page.text_input if one.label == "Your question about the part"]
    words.set_value(question)
    (choice,) = [one for one in page.get("button_group") if one.label == "The model is given"]
    choice.set_value(given)
    (button,) = [one for one in page.button if one.label == "Ask" and one.proto.is_form_submitter]
    button.click()
    finish(page.run())
    assert not page.exception
    return page


def turns(page: AppTest) -> list[Turn]:
    return chats().history.branch(LOCAL, page.query_params["c"])


def test_a_part_is_asked_about_and_comes_back_with_its_question(
    parrot: Parrot, browser: dict[str, Any]
) -> None:
    page = look(ask(opened(), "What?", ("a.png", photo())))
    assert browser["data"]["size"] == (80, 60) and browser["data"]["box"] is None
    assert browser["data"]["url"].startswith("data:image/jpeg;base64,")
    browser["box"] = CORNER
    send(page, "Which colour?")
    assert texts(page)[-1] == f"With 1 pictures you asked: Which colour? {BLUE}"
    assert "window" not in page.session_state
    (picture,) = turns(page)[2].pictures
    assert picture.mark is not None and picture.mark.box.values == CORNER
    look(page, 1)  # the picture of that question comes with its part
    assert browser["data"]["box"] == browser["default"]["box"] == CORNER
    send(page, "And now?", "whole")
    assert texts(page)[-1] == "With 4 pictures you asked: And now?"


@pytest.mark.parametrize(
    ("box", "question", "line"),
    [
        (None, "What?", "Mark a part of the picture first."),
        (CORNER, "  ", "Write a question first."),
        ([0, 0, 0.05, 1], "What?", "The part has 4 x 60 pixels"),
        ([0, 0, 9, 1], "What?", "lies inside it"),
        ("<script>", "What?", "is four numbers"),
    ],
)
def test_what_cannot_be_asked_is_not(
    parrot: Parrot, browser: dict[str, Any], box: object, question: str, line: str
) -> None:
    page = look(ask(opened(), "What?", ("a.png", photo())))
    browser["box"] = box
    send(page, question)
    assert any(line in one.value.replace("\\", "") for one in page.warning)
    assert len(parrot.requests) == 1 and len(turns(page)) == 2


def test_while_an_answer_is_written_the_question_waits(
    parrot: Parrot, browser: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = look(ask(opened(), "What?", ("a.png", photo())))
    browser["box"] = CORNER
    with monkeypatch.context() as patch:
        patch.setattr("app.model_picker.is_ready", lambda: False)
        send(page, "Which colour?")
        assert len(parrot.requests) == 1
        assert "Which colour?" in [one.value for one in page.text]
        look(page)
        send(page, "Another?")
        assert any("Something else waits" in one.value for one in page.warning)
    del page.session_state.window
    finish(page.run())
    assert texts(page)[-1] == f"With 1 pictures you asked: Which colour? {BLUE}"


def test_a_picture_of_somebody_else_is_not_shown(parrot: Parrot, browser: dict[str, Any]) -> None:
    service = chats()
    key = service.history.start("somebody else")
    service.note("somebody else", key, "Mine?", "", [Upload("a.png", photo())])
    (question, _) = service.history.branch("somebody else", key)
    page = opened()
    page.session_state.window = "picture.heading", picture_window._show, (question.id, 0), True
    page.run()
    assert [one.value for one in page.error] == ["There is no such conversation\\."]
    assert "data" not in browser


def test_the_pictures_so_far_stand_beside_the_box(parrot: Parrot, browser: dict[str, Any]) -> None:
    page = ask(opened(), "What?", ("a.png", photo()))
    look(page, 0, "asked")
    browser["box"] = CORNER
    send(page, "And this?")
    keys = [str(button.key) for button in page.button]
    assert sum(key.startswith("enlarge-asked-") for key in keys) == 1  # once, though marked later
    assert sum(key.startswith("enlarge-turn-") for key in keys) == 2


def test_the_web_page_shows_what_was_marked(parrot: Parrot, browser: dict[str, Any]) -> None:
    page = look(ask(opened(), "What?", ("a.png", photo())))
    browser["box"] = CORNER
    send(page, "And this?")
    branch = turns(page)
    exported = as_html(branch, branch, "", lambda one: load_image(one.path), "en")
    assert 'alt="a.png"' in exported and 'alt="a.png: x 50-100 %, y 50-100 %"' in exported
    urls = {part.partition('"')[0] for part in exported.split('src="')[1:]}
    assert len(urls) == 2  # the frame is drawn
