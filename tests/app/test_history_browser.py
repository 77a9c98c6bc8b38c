"""In a real browser: the side bar, as one searches, waits for answers elsewhere, holds a phone."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.app.browsing import ask, begun, messages, photo

pytestmark = pytest.mark.browser


def test_the_list_follows_what_is_typed_and_the_focus_stays(wide: Page, tmp_path: Path) -> None:
    side = wide.get_by_test_id("stSidebar")
    rows = side.locator("[class*=st-key-open-]")
    begun(wide, tmp_path, "Where is the zebra?")
    wide.get_by_role("button", name="New conversation").click()
    expect(messages(wide)).to_have_count(0)
    begun(wide, tmp_path, "Where is the horse?")
    search = wide.get_by_placeholder("Search conversations")
    search.press_sequentially("ZEB", delay=50)
    expect(rows).to_have_text(["Where is the zebra?"])
    expect(side.locator("mark")).to_have_text("zeb")
    expect(search).to_be_focused()
    search.press_sequentially("ra", delay=50)
    expect(side.locator("mark")).to_have_text("zebra")
    expect(search).to_be_focused()
    expect(search).to_have_value("ZEBra")
    side.get_by_role("button", name="Conversation menu: Where is the zebra").click()
    wide.get_by_role("menuitem", name="Rename").click()
    title = wide.get_by_role("dialog").get_by_role("textbox", name="Title")
    expect(title).to_be_focused()
    title.fill("Zebras")
    title.press("Enter")
    expect(rows).to_have_text(["Zebras"])
    expect(wide.get_by_role("dialog")).to_have_count(0)
    side.get_by_role("button", name="Zebras", exact=True).click()
    expect(messages(wide).nth(0)).to_contain_text("Where is the zebra?")
    expect(side).to_have_attribute("data-collapsed", "false")


def test_an_answer_elsewhere_has_a_dot_until_it_has_ended(wide: Page, tmp_path: Path) -> None:
    side = wide.get_by_test_id("stSidebar")
    dot = side.get_by_role("img", name="An answer is being written")
    for question in ("endless?", "unhurried?"):
        ask(wide, question, photo(tmp_path))
        expect(messages(wide).nth(1)).to_contain_text("word word")
        expect(dot).to_be_visible()
        expect(side.get_by_role("button", name="End this answer")).to_have_count(0)
        wide.get_by_role("button", name="New conversation").click()
        expect(messages(wide)).to_have_count(0)
        expect(dot).to_be_visible()
        if question == "endless?":
            side.get_by_role("button", name="End this answer").click()
        expect(dot).to_have_count(0)  # without a click, too
        expect(side.get_by_role("button", name="End this answer")).to_have_count(0)


def test_a_phone_shows_the_conversation_that_is_chosen(phone: Page, tmp_path: Path) -> None:
    begun(phone, tmp_path)
    side = phone.get_by_test_id("stSidebar")
    for name, count in (("New conversation", 0), ("What is it?", 2)):
        phone.get_by_test_id("stExpandSidebarButton").click()
        expect(side).to_have_attribute("data-collapsed", "false")
        side.get_by_role("button", name=name).first.click()
        expect(side).to_have_attribute("data-collapsed", "true")
        expect(messages(phone)).to_have_count(count)
