"""In a real browser: the row of an answer, what its menu opens, and what its Markdown cannot do."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.app.browsing import ask, begun, fits, messages, photo, pick

pytestmark = pytest.mark.browser


def test_a_row_is_icons_with_names_in_one_line(page: Page, tmp_path: Path) -> None:
    begun(page, tmp_path)
    answer = messages(page).nth(1)
    names = ("Copy", "Again", "Where it looked", "More")
    buttons = [answer.get_by_role("button", name=name, exact=True) for name in names]
    for button in buttons:
        expect(button).to_be_visible()
    for _ in range(20):  # the row moves down while the picture above it comes
        places = [button.bounding_box() for button in buttons]
        assert all(place and place["width"] < 60 for place in places)
        tops = {round((place["y"] + place["height"] / 2) / 8) for place in places if place}
        if len(tops) == 1:
            break
        page.wait_for_timeout(200)
    assert len(tops) == 1
    expect(answer).to_contain_text("90% sure of each word")
    for name in ("Edit", "Delete"):
        expect(messages(page).nth(0).get_by_role("button", name=name, exact=True)).to_be_visible()
    assert fits(page)


def test_a_second_version_moves_nothing_under_the_mouse(page: Page, tmp_path: Path) -> None:
    begun(page, tmp_path)
    answer = messages(page).nth(1)
    names = ("Copy", "Again", "Where it looked", "More")
    buttons = [answer.get_by_role("button", name=name, exact=True) for name in names]

    def lefts() -> list[float]:
        places = [button.bounding_box() for button in buttons]
        return [place["x"] for place in places if place]

    before = lefts()
    buttons[1].click()
    expect(answer).to_contain_text("2/2")
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)
    expect(buttons[2]).to_be_visible()
    assert lefts() == before and len(before) == 4


def test_an_answer_is_copied_as_it_was_written(browser: Browser, url: str, tmp_path: Path) -> None:
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto(url)
    question = 'Is "this" <b>*teal*</b> & $5?'
    ask(page, question, photo(tmp_path))
    expect(messages(page).nth(1)).to_contain_text("& $5?")
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)
    button = messages(page).nth(1).get_by_role("button", name="Copy")
    button.click()
    expect(page.locator("[data-copy].copied")).to_have_count(1)
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == f"With 1 pictures you asked: {question}"
    context.close()


def test_what_an_answer_has_of_markdown(wide: Page, tmp_path: Path) -> None:
    question = (
        "**bold**\n\n- one\n- two\n\n<script>alert(1)</script> <img src=http://a.example/1.png>"
        " ![x](http://a.example/2.png) ![y][z] [run](javascript:alert(1)) [go](http://a.example)"
        " $5 to $6 :red[stop] \\:red[halt] :material/bolt:\n\n[z]: http://a.example/3.png"
    )
    ask(wide, question, photo(tmp_path))  # what is fetched from elsewhere fails the test
    answer = messages(wide).nth(1)
    expect(wide.get_by_role("button", name="Stop")).to_have_count(0)
    expect(answer.get_by_role("strong")).to_have_text("bold")
    expect(answer.get_by_role("listitem")).to_have_text(["one", "two"])
    expect(answer.get_by_role("img")).to_have_count(0)
    for words in ("<script>alert(1)</script>", "$5 to $6", "stop", "halt", "bolt"):
        expect(answer).to_contain_text(words)
    links = answer.locator("a").evaluate_all("all => all.map(one => one.getAttribute('href'))")
    assert "http://a.example" in links
    assert not [link for link in links if "script" in (link or "")]


def test_the_menu_opens_windows_which_stay(wide: Page, tmp_path: Path) -> None:
    begun(wide, tmp_path)
    answer, window = messages(wide).nth(1), wide.get_by_role("dialog")
    assert wide.get_by_role("textbox", name="The right answer").count() == 0
    pick(wide, answer, "Details")
    expect(window.get_by_text("First token", exact=True)).to_be_visible()
    wide.keyboard.press("Escape")
    expect(window).to_have_count(0)
    ask(wide, "unhurried?")
    expect(messages(wide).nth(3)).to_contain_text("word word")
    pick(wide, answer, "Correct")
    wide.get_by_role("textbox", name="The right answer").fill("a teal one")
    expect(messages(wide).nth(3)).to_contain_text("the end")
    expect(wide.get_by_role("button", name="Stop", include_hidden=True)).to_have_count(0)
    wide.get_by_role("button", name="Keep").click()  # the page was drawn anew meanwhile
    expect(
        wide.get_by_test_id("stMainBlockContainer").get_by_text("Corrected: a teal one")
    ).to_be_visible()
    expect(window).to_have_count(0)
    pick(wide, answer, "Delete")
    wide.get_by_role("button", name="Yes, delete").click()
    expect(messages(wide)).to_have_count(1)
