"""The chat page, run by Streamlit's own test harness with a parrot for a model."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

import vqa.loading
from app.state import chats
from tests.app.fake import Parrot
from tests.app.waiting import finish
from vqa.chat import MAX_PICTURES, page_options
from vqa.chat.page_options import ModelChoice
from vqa.chat.picture_store import DecodedPictures
from vqa.chat.turn import NotFoundError
from vqa.errors import VQAError
from vqa.inputs import images

PAGE = Path(__file__).parents[2] / "app" / "streamlit_page.py"


def png(colour: str = "red") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(file, "PNG")
    return file.getvalue()


def opened(**query: str) -> AppTest:
    page = AppTest.from_file(PAGE, default_timeout=30)
    page.query_params.update(query)
    page.run()
    while page.chat_input and page.chat_input[0].disabled and not page.error:  # it is being loaded
        page.run()
    assert not page.exception
    return page


def ask(page: AppTest, question: str, *pictures: tuple[str, bytes]) -> AppTest:
    for name, data in pictures:
        page.chat_input[0].upload(name, data, "image/png")
    page.chat_input[0].set_value(question)
    finish(page.run())
    assert not page.exception
    return page


def press(page: AppTest, label: str, at: int = 0) -> AppTest:
    [button for button in page.button if button.label == label][at].click()
    finish(page.run())
    assert not page.exception
    return page


def texts(page: AppTest) -> list[str]:
    """Questions, which are plain text, and answers, which are Markdown."""
    return [
        one.value for message in page.chat_message for one in (*message.text, *message.markdown)
    ]


def captions(page: AppTest) -> list[str]:
    return [caption.value for message in page.chat_message for caption in message.caption]


def element(page: AppTest, kind: str, label: str) -> Any:
    (match,) = [one for one in page.get(kind) if one.label == label]
    return match


def test_the_first_look(parrot: Parrot) -> None:
    page = opened()
    assert page.title[0].value == "Ask a picture"
    assert not page.chat_input[0].disabled
    assert page.chat_input[0].placeholder == "Add pictures and ask"
    assert "A cat" in [button.label for button in page.button]
    assert not page.error
    assert not page.chat_message


def test_two_questions_about_two_pictures(parrot: Parrot) -> None:
    page = ask(opened(), "What is it?", ("a.png", png()), ("b.png", png("blue")))
    assert texts(page)[:2] == ["What is it?", "With 2 pictures you asked: What is it?"]
    assert [message.name for message in page.chat_message] == ["user", "assistant"]
    assert page.chat_input[0].placeholder == "Ask about the picture"
    ask(page, "And **now**?")
    assert texts(page)[2:] == ["And **now**?", "With 2 pictures you asked: And **now**?"]
    first, second = parrot.requests
    assert [image.getpixel((0, 0)) for image in first.messages[0].images] == [
        (255, 0, 0),
        (0, 0, 255),
    ]
    assert [message.role for message in second.messages] == ["user", "assistant", "user"]
    assert second.messages[-1].images == ()


def test_an_example_and_a_question_that_is_suggested(parrot: Parrot) -> None:
    page = press(opened(), "A cat")
    press(page, "Describe the picture.")
    assert texts(page)[1] == "With 1 pictures you asked: Describe the picture."
    assert parrot.requests[0].messages[0].images[0].size == (451, 300)


def test_a_picture_can_be_taken_back(parrot: Parrot) -> None:
    page = press(press(press(opened(), "A cat"), "Remove"), "A cup of coffee")
    ask(page, "What?")
    assert len(parrot.requests[0].messages[0].images) == 1
    assert parrot.requests[0].messages[0].images[0].size == (600, 400)


def test_a_question_without_a_picture_is_kept(parrot: Parrot) -> None:
    page = ask(opened(), "What is it?")
    assert [error.value for error in page.error] == ["Add a picture first\\."]
    assert not parrot.requests
    ask(page, "What is it?", ("a.png", png()))
    assert not page.error
    assert len(parrot.requests) == 1


def test_a_bad_picture_is_named_and_the_good_one_is_kept(parrot: Parrot) -> None:
    page = ask(opened(), "What?", ("notes.jpg", b"text"), ("good.png", png()))
    assert any("notes\\.jpg is text" in error.value for error in page.error)
    assert not page.chat_message
    ask(page, "What?")
    assert texts(page)[1] == "With 1 pictures you asked: What?"


def test_too_many_pictures_can_be_put_right(parrot: Parrot) -> None:
    many = [(f"{number}.png", png()) for number in range(MAX_PICTURES + 1)]
    page = ask(opened(), "What?", *many)
    assert f"{MAX_PICTURES + 1} pictures in one message" in page.error[0].value
    ask(page, "What?")
    assert texts(page)[1] == f"With {MAX_PICTURES} pictures you asked: What?"


def test_of_far_too_many_pictures_only_those_that_are_kept_are_decoded(
    parrot: Parrot, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str | None] = []
    real = DecodedPictures.load

    def load(
        pictures: DecodedPictures, content: bytes, name: str | None = None, box: None = None
    ) -> Image.Image:
        decoded.append(name)
        return real(pictures, content, name)

    monkeypatch.setattr(DecodedPictures, "load", load)
    names = [f"{number}.png" for number in range(3 * MAX_PICTURES)]
    page = ask(opened(), "What?", *((name, png()) for name in names))
    assert "24 pictures in one message" in page.error[0].value
    assert decoded == names[:MAX_PICTURES]


def test_a_picture_is_decoded_once_from_the_box_to_the_answer_and_the_page(
    parrot: Parrot, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []
    real = images._finish
    monkeypatch.setattr(
        images,
        "_finish",
        lambda image, name, most: (decoded.append(name), real(image, name, most))[1],
    )
    page = ask(opened(), "What?", ("teal.png", png("teal")))
    assert [name for name in decoded if not name.startswith("/")] == ["teal.png"]  # no examples
    decoded.clear()
    ask(page, "And now?")
    press(page, "Again")
    assert decoded == []
    page = ask(opened(), " ", ("olive.png", png("olive")))  # refused: it waits above the box
    ask(page, "What?")
    assert decoded == ["olive.png"]


def test_an_empty_question(parrot: Parrot) -> None:
    page = ask(opened(), "  ", ("a.png", png()))
    assert "question is empty" in page.error[0].value
    assert texts(ask(page, "What?"))[1] == "With 1 pictures you asked: What?"


def test_a_reload_and_a_restart_keep_the_conversation(parrot: Parrot) -> None:
    page = ask(opened(), "What?", ("a.png", png()))
    key = page.query_params["c"]
    again = opened(c=key)
    assert texts(again) == texts(page)
    chats.clear()  # as a new server would begin
    assert texts(opened(c=key)) == texts(page)


def test_conversations_are_listed_searched_and_opened(parrot: Parrot) -> None:
    first = ask(opened(), "What is red?", ("a.png", png()))
    press(first, "New conversation")
    assert not first.chat_message
    ask(first, "What is blue?", ("b.png", png("blue")))
    page = opened()
    titles = ["What is blue\\?", "What is red\\?"]
    assert [one.label for one in page.button if one.label in titles] == titles
    page.text_input(key="search").set_value("RED").run()
    assert [one.label for one in page.button if one.label in titles] == ["What is red\\?"]
    press(page, "What is red\\?")
    assert texts(page)[0] == "What is red?"
    page.text_input(key="search").set_value("nowhere").run()
    assert "Nothing found." in [caption.value for caption in page.sidebar.caption]


def test_a_conversation_is_deleted(parrot: Parrot) -> None:
    page = ask(opened(), "What?", ("a.png", png()))
    key = page.query_params["c"]
    page.button(key="delete-conversation").click().run()
    assert page.chat_message
    page.button(key="delete-yes").click().run()
    assert not page.chat_message
    gone = opened(c=key)
    assert "not here any more" in gone.info[0].value
    assert not gone.chat_message


def test_another_answer_and_the_one_before(parrot: Parrot) -> None:
    page = ask(opened(), "What?", ("a.png", png()))
    press(page, "Again")
    assert parrot.requests[1].settings.temperature > 0
    assert "2/2" in captions(page)
    press(page, "Previous version")
    assert "1/2" in captions(page)


def test_an_edited_question_is_a_branch(parrot: Parrot) -> None:
    page = ask(opened(), "What?", ("a.png", png()))
    ask(page, "Sure?")
    press(page, "Edit")
    element(page, "text_area", "Edit").set_value("Which kind?")
    press(page, "Ask")
    assert texts(page) == ["Which kind?", "With 1 pictures you asked: Which kind?"]
    press(page, "Previous version")
    assert len(page.chat_message) == 4


def test_a_turn_is_deleted_with_what_follows(parrot: Parrot) -> None:
    page = ask(opened(), "What?", ("a.png", png()))
    ask(page, "Sure?")
    second = chats().history.branch("local", page.query_params["c"])[2]
    page.button(key=f"delete-{second.id}").click().run()
    page.button(key="delete-yes").click().run()
    assert len(page.chat_message) == 2


def test_a_thumb_and_a_correction_are_kept(parrot: Parrot) -> None:
    page = ask(opened(), "What?", ("a.png", png()))
    page.get("feedback")[0].set_value(1).run()
    answer = chats().history.branch("local", page.query_params["c"])[-1]
    page.menu_button(key=f"more-{answer.id}").click("correct").run()
    element(page, "text_area", "The right answer").set_value("A **red** one")
    press(page, "Keep")
    assert [one.value for one in page.success] == ["Corrected\\: A \\*\\*red\\*\\* one"]
    ((_, answer),) = chats().history.judged_answers()
    assert (answer.rating, answer.correction) == (1, "A **red** one")


def test_the_window_of_what_is_gone_says_so(parrot: Parrot) -> None:
    page = ask(opened(), "What?", ("a.png", png()))
    answer = chats().history.branch("local", page.query_params["c"])[-1]
    for name in ("correct", "details"):
        page.menu_button(key=f"more-{answer.id}").click(name).run()
        assert not page.error
    chats().delete("local", page.query_params["c"])
    page.run()
    assert "no such turn" in page.error[0].value
    assert not page.exception


@pytest.mark.parametrize(
    ("question", "line"),
    [
        ("I doubt it", "12% sure of each word"),
        ("hardly", "<1% sure of each word"),
        ("oneword", "90% sure"),
        ("measured", "1.5 s · 20 tokens a second · 90% sure of each word"),
    ],
)
def test_how_sure_an_answer_is_stands_below_it(parrot: Parrot, question: str, line: str) -> None:
    page = ask(opened(), question, ("a.png", png()))
    assert line in captions(page)


def test_a_failed_answer_is_told_and_its_picture_is_kept(parrot: Parrot) -> None:
    page = ask(opened(), "Please fail now", ("a.png", png()))
    assert [error.value for error in page.error] == ["No answer\\: the parrot is asleep"]
    ask(page, "What?")
    assert texts(page)[-1] == "With 1 pictures you asked: What?"


def test_an_answer_that_was_cut_off_says_so(parrot: Parrot) -> None:
    page = ask(opened(), "cut it", ("a.png", png()))
    assert "Cut off: the answer reached the longest length that is set." in captions(page)


def test_an_answer_that_is_not_sure_is_shown_and_says_so(
    parrot: Parrot, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = ask(opened(), "I doubt it", ("a.png", png()))
    assert "not sure (12%)" not in captions(page)
    monkeypatch.setenv("VQA_APP", json.dumps({"min_confidence": 0.5}))
    page.run()
    assert texts(page)[1] == "With 1 pictures you asked: I doubt it"
    assert captions(page).count("not sure (12%)") == 1
    ask(page, "And now?")
    assert captions(page).count("not sure (12%)") == 1


def test_a_question_in_other_letters_gets_a_note(parrot: Parrot) -> None:
    page = ask(opened(), "这是什么？", ("a.png", png()))
    assert "English only" in page.info[0].value
    assert not parrot.requests
    assert texts(ask(page, "What is it?"))[1:]
    assert len(parrot.requests[0].messages[0].images) == 1


def test_settings_reach_the_model(parrot: Parrot) -> None:
    page = opened()
    element(page, "slider", "Temperature").set_value(0.5).run()
    element(page, "slider", "Longest answer, in tokens").set_value(32).run()
    element(page, "number_input", "Seed").set_value(7).run()
    element(page, "text_area", "System prompt").set_value("Be brief.").run()
    ask(page, "What?", ("a.png", png()))
    (request,) = parrot.requests
    assert (request.settings.temperature, request.settings.max_new_tokens) == (0.5, 32)
    assert request.settings.seed == 7
    assert (request.messages[0].role, request.messages[0].text) == ("system", "Be brief.")


def test_another_model_is_loaded(parrot: Parrot, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[ModelChoice] = []

    def build(choice: ModelChoice) -> Parrot:
        chosen.append(choice)
        if choice.name == "nobody/nothing":
            raise VQAError("no such model in reach")
        return parrot

    monkeypatch.setattr(vqa.loading, "load_choice", build)
    page = opened()
    page.selectbox(key="model-name").set_value("").run()
    page.text_input(key="model-other").set_value("nobody/nothing").run()
    press(page, "Load")
    (error,) = page.error
    assert "no such model in reach" in error.value
    assert page.chat_input[0].disabled
    press(page, "Back to the model that ships")
    assert not page.error
    assert [choice.name for choice in chosen] == ["embedded", "nobody/nothing", "embedded"]
    assert texts(ask(page, "What?", ("a.png", png())))[1] == "With 1 pictures you asked: What?"


def test_the_page_in_chinese(parrot: Parrot) -> None:
    page = opened(lang="zh")
    assert page.title[0].value == "看图问答"
    ask(page, "What?", ("a.png", png()))
    assert "重新回答" in [one.label for one in page.button]
    page.selectbox(key="language_choice").set_value("en").run()
    assert "Again" in [one.label for one in page.button]
    assert page.query_params["lang"] == "en"


def test_the_options_come_from_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    assert page_options.page_options() == page_options.PageOptions()
    options = {"choice": {"name": "x/y", "quantize": "4bit"}, "local": False}
    monkeypatch.setenv("VQA_APP", json.dumps(options))
    options = page_options.page_options()
    assert options == page_options.PageOptions(ModelChoice("x/y", quantize="4bit"), local=False)


def test_nothing_is_left_of_a_conversation_without_turns(parrot: Parrot) -> None:
    page = opened()
    element(page, "text_area", "System prompt").set_value("Old prompt").run()
    ask(page, "My secret?", ("a.png", png()))
    key = page.query_params["c"]
    (question, _) = chats().history.branch("local", key)
    page.button(key=f"delete-{question.id}").click().run()
    page.button(key="delete-yes").click().run()
    assert "c" not in page.query_params and not page.chat_message
    element(page, "text_area", "System prompt").set_value("New prompt").run()
    ask(page, "Harmless?", ("a.png", png()))
    assert parrot.requests[-1].messages[0].text == "New prompt"
    assert "My secret\\?" not in [button.label for button in page.button]
    with pytest.raises(NotFoundError):
        chats().history.branch("local", key)


def test_reading_stays_on_with_another_model(
    parrot: Parrot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VQA_APP", json.dumps({"choice": {"name": "x/y", "read": "always"}}))
    chosen: list[ModelChoice] = []
    monkeypatch.setattr(vqa.loading, "load_choice", lambda choice: chosen.append(choice) or parrot)
    press(opened(), "Load")
    assert [choice.read for choice in chosen] == ["always", "always"]


def test_an_edited_question_in_other_letters_is_not_asked(parrot: Parrot) -> None:
    page = ask(opened(), "What?", ("a.png", png()))
    press(page, "Edit")
    element(page, "text_area", "Edit").set_value("这是什么东西？")
    press(page, "Ask")
    assert len(parrot.requests) == 1
    assert any("English" in one.value for one in page.warning)
    element(page, "text_area", "Edit").set_value("What is it?")
    press(page, "Ask")
    assert texts(page)[0] == "What is it?"
