"""What is asked next stays with its conversation, whatever other tabs and conversations do."""

from __future__ import annotations

from tests.app.fake import Parrot
from tests.app.test_page import ask, opened, png, texts
from tests.app.waiting import finish


def test_what_waits_is_asked_by_a_tab_that_opens_later_and_once(parrot: Parrot) -> None:
    page = opened()
    page.chat_input[0].upload("a.png", png(), "image/png")
    page.chat_input[0].set_value("unhurried?").run()
    page.chat_input[0].set_value("And next?").run()
    assert len(page.chat_message) == 2
    key = page.query_params["c"]
    tabs = [finish(opened(c=key)), finish(opened(c=key))]
    for tab in tabs:
        assert texts(finish(tab.run()))[2:] == ["And next?", "With 1 pictures you asked: And next?"]


def test_a_tab_that_knows_nothing_of_the_others_question_waits_for_its_answer(
    parrot: Parrot,
) -> None:
    first = ask(opened(), "First?", ("a.png", png()))
    second = opened(c=first.query_params["c"])
    first.chat_input[0].set_value("unhurried?").run()
    second.chat_input[0].set_value("And then?").run()
    finish(second.run())
    asked = [message.text for message in parrot.requests[-1].messages if message.role == "user"]
    assert asked == ["First?", "unhurried?", "And then?"]


def test_a_conversation_that_is_not_begun_keeps_its_draft(parrot: Parrot) -> None:
    page = ask(opened(), "First?", ("a.png", png()))
    key = page.query_params["c"]
    page.button(key="new").click().run()
    page.button(key="example-cat").click().run()
    page.button(key=f"open-{key}").click().run()
    ask(page, "Second?")
    page.button(key="new").click().run()
    assert [button.label for button in page.button].count("Remove") == 1


def test_a_waiting_question_is_asked_as_the_address_sets(parrot: Parrot) -> None:
    page = opened()
    page.chat_input[0].upload("a.png", png(), "image/png")
    page.chat_input[0].set_value("unhurried?").run()
    page.chat_input[0].set_value("And next?").run()
    finish(opened(c=page.query_params["c"], max_new_tokens="64", temperature="0.5").run())
    assert parrot.requests[-1].messages[-1].text == "And next?"
    assert parrot.requests[-1].settings.max_new_tokens == 64
    assert parrot.requests[-1].settings.temperature == 0.5
