"""In a real browser: nothing is lost by a click, a step to another page, or a reload."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.app.browsing import attach, begun, box, go, messages, opened, photo, rate, waiting

pytestmark = pytest.mark.browser


PLACES = [("Corrections", "Corrections"), ("Batch", "Many questions"), ("Search", "Find pictures")]


@pytest.mark.parametrize(("name", "heading"), PLACES)
def test_another_page_and_back_keep_what_was_half_done(
    wide: Page, tmp_path: Path, name: str, heading: str
) -> None:
    begun(wide, tmp_path)
    attach(wide, photo(tmp_path, "red"))
    box(wide).fill("And is this")
    go(wide, name, heading)
    wide.get_by_role("link", name="Chat", exact=True).click()
    expect(messages(wide)).to_have_count(2)
    expect(box(wide)).to_have_value("And is this")
    expect(waiting(wide, "red.png")).to_be_visible()
    box(wide).press("Enter")
    expect(messages(wide).nth(3)).to_contain_text("With 2 pictures you asked: And is this")
    expect(waiting(wide, "red.png")).to_have_count(0)


def test_a_reload_on_the_way_keeps_them_too(wide: Page, tmp_path: Path) -> None:
    begun(wide, tmp_path)
    attach(wide, photo(tmp_path, "red"))
    box(wide).fill("And is this")
    wide.reload()
    expect(box(wide)).to_have_value("And is this")
    expect(waiting(wide, "red.png")).to_be_visible()
    go(wide, "Corrections", "Corrections")
    wide.reload()
    wide.get_by_role("link", name="Chat", exact=True).click()
    expect(messages(wide)).to_have_count(2)
    expect(box(wide)).to_have_value("And is this")
    expect(waiting(wide, "red.png")).to_be_visible()


def test_a_conversation_that_is_not_begun_keeps_them_too(wide: Page, tmp_path: Path) -> None:
    attach(wide, photo(tmp_path, "red"))
    box(wide).fill("What could")
    wide.reload()
    expect(box(wide)).to_have_value("What could")
    expect(waiting(wide, "red.png")).to_be_visible()
    box(wide).press("Enter")
    expect(messages(wide).nth(1)).to_contain_text("With 1 pictures you asked: What could")
    expect(box(wide)).to_have_value("")


def test_each_conversation_has_its_own_text_and_pictures(wide: Page, tmp_path: Path) -> None:
    begun(wide, tmp_path, "The first?")
    attach(wide, photo(tmp_path, "red"))
    box(wide).fill("of the first")
    wide.get_by_role("button", name="New conversation").click()
    expect(messages(wide)).to_have_count(0)
    expect(box(wide)).to_have_value("")
    expect(waiting(wide, "red.png")).to_have_count(0)
    begun(wide, tmp_path, "The second?")
    box(wide).fill("of the second")
    side = wide.get_by_test_id("stSidebar")
    side.get_by_role("button", name="The first?").first.click()
    expect(messages(wide).nth(0)).to_contain_text("The first?")
    expect(box(wide)).to_have_value("of the first")
    expect(waiting(wide, "red.png")).to_be_visible()
    side.get_by_role("button", name="The second?").first.click()
    expect(messages(wide).nth(0)).to_contain_text("The second?")
    expect(box(wide)).to_have_value("of the second")
    expect(waiting(wide, "red.png")).to_have_count(0)


def test_settings_language_and_searches_stay(wide: Page, tmp_path: Path) -> None:
    photo(tmp_path)
    expect(box(wide)).to_be_enabled()
    wide.get_by_text("Answers", exact=True).click()
    wide.get_by_role("textbox", name="System prompt").fill("Be brief.")
    wide.get_by_role("textbox", name="System prompt").press("Control+Enter")
    wide.get_by_role("slider", name="Temperature").press("ArrowRight")
    expect(wide.get_by_role("slider", name="Temperature")).to_have_value("0.1")
    search = wide.get_by_placeholder("Search conversations")
    search.fill("zebra")
    search.press("Enter")
    go(wide, "Search", "Find pictures")
    wide.get_by_label("Folder of pictures").fill(str(tmp_path))
    wide.get_by_label("Folder of pictures").press("Enter")
    expect(wide.get_by_role("button", name="Look at 1 pictures")).to_be_visible()
    for reload in (False, True):
        wide.get_by_role("link", name="Chat", exact=True).click()
        if reload:
            expect(box(wide)).to_be_enabled()
            wide.reload()
        expect(wide.get_by_placeholder("Search conversations")).to_have_value("zebra")
        wide.get_by_text("Answers", exact=True).click()
        expect(wide.get_by_role("textbox", name="System prompt")).to_have_value("Be brief.")
        expect(wide.get_by_role("slider", name="Temperature")).to_have_value("0.1")
        go(wide, "Search", "Find pictures")
        if reload:
            wide.reload()
        expect(wide.get_by_label("Folder of pictures")).to_have_value(str(tmp_path))
        expect(wide.get_by_role("button", name="Look at 1 pictures")).to_be_visible()


def test_the_language_stays_on_every_page(browser: Browser, url: str) -> None:
    for page in opened(browser, url):
        page.get_by_role("combobox", name="Language").press("ArrowDown")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="新对话")).to_be_visible()
        page.get_by_role("link", name="纠正").click()
        page.reload()
        expect(page.get_by_role("link", name="对话", exact=True)).to_be_visible()


def test_deleting_asks_and_says_what_goes_too(wide: Page, tmp_path: Path) -> None:
    begun(wide, tmp_path)
    expect(messages(wide)).to_have_count(2)
    rate(wide)
    side = wide.get_by_test_id("stSidebar")
    side.get_by_role("button", name="Delete").click()
    window = wide.get_by_role("dialog")
    expect(window).to_contain_text("trained on no more: 1")
    window.get_by_role("button", name="Cancel").click()
    expect(window).to_have_count(0)
    expect(messages(wide)).to_have_count(2)
    messages(wide).nth(0).get_by_role("button", name="Delete").click()
    expect(window).to_contain_text("This message goes, with all that follows it.")
    wide.keyboard.press("Escape")
    expect(window).to_have_count(0)
    side.get_by_role("button", name="Delete").click()
    window.get_by_role("button", name="Yes, delete").click()
    expect(messages(wide)).to_have_count(0)
    expect(window).to_have_count(0)


def test_a_correction_is_taken_back_once_that_is_agreed(wide: Page, tmp_path: Path) -> None:
    begun(wide, tmp_path)
    rate(wide)
    go(wide, "Corrections", "Corrections")
    wide.get_by_role("button", name="Take back").click()
    wide.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(wide.get_by_role("button", name="Take back")).to_be_visible()
    wide.get_by_role("button", name="Take back").click()
    wide.get_by_role("dialog").get_by_role("button", name="Yes, delete").click()
    expect(wide.get_by_text("Nothing yet.")).to_be_visible()
