"""In a real browser: the page for who sees it badly or not at all, has no mouse, or a finger."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, TimeoutError, WebSocketRoute, expect

from tests.app.browsing import ask, begun, box, choose, fits, messages, opened, photo, pick

pytestmark = pytest.mark.browser

LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
LAID = re.compile("where the model looked|看了哪里")
PAGES = [("Batch", "Many questions"), ("Corrections", "Corrections"), ("Search", "Find pictures")]


def violations(page: Page) -> list[str]:
    """What axe finds against the levels A and AA of WCAG 2.2, once nothing moves any more."""
    page.wait_for_function(
        "document.getAnimations().every(one => one.playState !== 'running'"
        " || one.effect.getComputedTiming().iterations === Infinity)",
        polling=100,
    )
    options = {"runOnly": {"type": "tag", "values": LEVELS}, "resultTypes": ["violations"]}
    return [
        f"{rule['id']}: {node['html']} {node['failureSummary']}"
        for rule in Axe().run(page, options=options).response["violations"]
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "locale"), [(1280, "en-US"), (380, "zh-CN")])
def test_axe_finds_nothing_in_the_chat(
    browser: Browser, url: str, tmp_path: Path, scheme: str, width: int, locale: str
) -> None:
    for page in opened(browser, url, width, color_scheme=scheme, locale=locale):
        page.wait_for_function("window.vqaBox", polling=100)
        assert page.locator("html").get_attribute("lang") == locale[:2]
        assert violations(page) == []
        ask(page, "measured <b>this</b> `code` [link](http://a.example)?", photo(tmp_path))
        expect(page.locator("[class*=st-key-more-]")).to_have_count(1)
        choose(page, photo(tmp_path, "red"))
        expect(page.locator("[class*=st-key-remove-]")).to_have_count(1)
        assert violations(page) == []
        messages(page).nth(1).locator("[class*=st-key-look-] button").click()
        expect(messages(page).nth(0).get_by_role("img", name=LAID)).to_be_visible()
        assert violations(page) == []
        for number in range(4):  # correct, compare, details, text
            messages(page).nth(1).locator("[class*=st-key-more-] button:visible").first.click()
            if number == 0:
                assert violations(page) == []
            page.get_by_role("menuitem").nth(number).click()
            expect(page.get_by_role("dialog")).to_be_visible()
            assert violations(page) == []
            page.keyboard.press("Escape")
            expect(page.get_by_role("dialog")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_the_other_pages(
    browser: Browser, url: str, tmp_path: Path, scheme: str
) -> None:
    for page in opened(browser, url, color_scheme=scheme):
        begun(page, tmp_path)
        messages(page).nth(1).get_by_role("radio", name="Thumbs up").click()
        expect(messages(page).nth(1).get_by_role("radio", name="Thumbs up")).to_be_checked()
        for heading in ("Model", "Answers"):
            page.get_by_test_id("stSidebar").get_by_text(heading, exact=True).first.click()
        page.get_by_test_id("stSidebar").get_by_role("button", name="Export").click()
        assert violations(page) == []
        page.keyboard.press("Escape")
        for name, heading in PAGES:
            page.get_by_role("link", name=name, exact=True).click()
            expect(page.get_by_role("heading", name=heading)).to_be_visible()
            expect(page.get_by_test_id("stApp")).to_have_attribute(
                "data-test-script-state", "notRunning"
            )
            assert violations(page) == []


SMALL = """() => [...document.querySelectorAll(
    'button, summary, [role=menuitem], [role=slider], [role=combobox], [data-testid$=NavLink]')]
    .filter(one => one.checkVisibility({visibilityProperty: true, opacityProperty: true}))
    .filter(one => one.getAttribute('aria-label') !== 'Dismiss')  // for screen readers alone
    .filter(one => !one.disabled && one.getBoundingClientRect().right > 0)
    .filter(one => { const box = one.getBoundingClientRect();
                     return box.width && (box.width < 40 || box.height < 40); })
    .map(one => one.outerHTML.slice(0, 300))"""


def test_a_finger_hits_what_it_means(phone: Page, tmp_path: Path) -> None:
    begun(phone, tmp_path)
    messages(phone).nth(1).get_by_role("button", name="Again").click()
    expect(messages(phone).nth(1)).to_contain_text("2/2")
    choose(phone, photo(tmp_path, "red"))
    expect(phone.get_by_role("button", name="Remove")).to_be_visible()
    assert small(phone) == []
    assert fits(phone)
    messages(phone).nth(1).get_by_role("button", name="More").click()
    expect(phone.get_by_role("menuitem", name="Delete")).to_be_visible()
    assert small(phone) == []
    phone.get_by_role("menuitem", name="Correct").click()
    expect(phone.get_by_role("textbox", name="The right answer")).to_be_visible()
    assert small(phone) == []
    phone.keyboard.press("Escape")
    expect(phone.get_by_role("dialog")).to_have_count(0)
    phone.get_by_test_id("stExpandSidebarButton").click()
    expect(phone.get_by_role("button", name="New conversation")).to_be_visible()
    assert small(phone) == []


def small(page: Page) -> list[str]:
    """What is too small once the page is drawn: on a slow machine that takes a moment."""
    with suppress(TimeoutError):
        page.wait_for_function(f"() => ({SMALL})().length === 0", polling=100, timeout=10_000)
    return list(page.evaluate(SMALL))


def test_an_answer_is_read_out_once_it_is_there(wide: Page, tmp_path: Path) -> None:
    region = wide.get_by_role("status").and_(wide.locator(".read-out"))
    begun(wide, tmp_path, "What is it?")
    expect(region).to_have_text("With 1 pictures you asked: What is it?")
    ask(wide, "Please fail")
    expect(region).to_contain_text("No answer: the parrot is asleep")
    ask(wide, "endless?")
    expect(messages(wide).nth(5)).to_contain_text("word word")
    expect(region).to_contain_text("asleep")
    wide.get_by_role("button", name="Stop").click()
    expect(region).to_contain_text("Stopped.")
    wide.get_by_role("button", name="New conversation").click()
    expect(messages(wide)).to_have_count(0)
    expect(region).to_contain_text("Stopped.")


def test_the_focus_goes_into_what_opens_and_enter_sends(wide: Page, tmp_path: Path) -> None:
    begun(wide, tmp_path)
    messages(wide).nth(0).get_by_role("button", name="Edit").click()
    editor = wide.get_by_role("textbox", name="Edit")
    expect(editor).to_be_focused()
    editor.fill("Which")
    editor.press("Shift+Enter")
    editor.press_sequentially("colour?")
    editor.press("Enter")
    expect(messages(wide).nth(0)).to_contain_text("Which\ncolour?", use_inner_text=True)
    expect(messages(wide).nth(1)).to_contain_text("you asked: Which")
    expect(wide.get_by_role("button", name="Stop")).to_have_count(0)
    pick(wide, messages(wide).nth(1), "Correct")
    correction = wide.get_by_role("textbox", name="The right answer")
    expect(correction).to_be_focused()
    correction.fill("teal")
    correction.press("Enter")
    expect(
        wide.get_by_test_id("stMainBlockContainer").get_by_text("Corrected: teal")
    ).to_be_visible()
    expect(wide.get_by_role("dialog")).to_have_count(0)
    expect(box(wide)).to_have_value("")


def test_the_focus_goes_into_what_opens_late(wide: Page, tmp_path: Path) -> None:
    """On a slow line the script runs long after the click: the box must not take the focus."""
    late = 0.0

    def slow(route: WebSocketRoute) -> None:
        server = route.connect_to_server()

        def pass_on(message: str | bytes) -> None:
            time.sleep(late)
            server.send(message)

        route.on_message(pass_on)

    wide.route_web_socket("**/_stcore/stream", slow)
    wide.reload()
    begun(wide, tmp_path)
    late = 1.0
    messages(wide).nth(0).get_by_role("button", name="Edit").click()
    editor = wide.get_by_role("textbox", name="Edit")
    expect(editor).to_be_focused()
    editor.press("End")
    editor.press_sequentially("?")
    expect(editor).to_have_value("What is it??")
