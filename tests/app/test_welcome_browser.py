"""In a real browser: the first screen, in both languages, and what it offers to try."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from app.thumbnails import examples
from tests.app.browsing import box, fits, messages, opened, waiting

pytestmark = pytest.mark.browser


@pytest.fixture
def keep(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Page, str], None]:
    """Take a screenshot of a page."""
    folder = Path(request.config.getoption("--screenshots") or tmp_path)
    return lambda page, name: page.screenshot(path=folder / f"{name}.png", full_page=True) and None


@pytest.mark.parametrize(
    ("width", "scheme", "locale", "count"),
    [(1280, "light", "en-US", "Count"), (380, "dark", "zh-CN", "数数")],
)
def test_what_it_cannot_do_is_told_and_tried(
    browser: Browser, url: str, keep: Callable[[Page, str], None],
    width: int, scheme: str, locale: str, count: str,
) -> None:  # fmt: skip
    for page in opened(browser, url, width, color_scheme=scheme, locale=locale):
        trial = page.get_by_role("button", name=count, exact=True)
        expect(trial).to_be_visible()
        expect(page.locator("html")).to_have_attribute("lang", locale[:2])
        expect(page.get_by_test_id("stMainBlockContainer")).to_contain_text("embedded")
        assert fits(page)
        page.wait_for_timeout(1500)  # pictures come, and what fades in
        keep(page, f"welcome-{width}")
        trial.click()
        expect(messages(page).nth(0)).to_contain_text("How many rockets are there?")
        expect(messages(page).nth(0).get_by_role("img", name="astronaut.jpg")).to_be_visible()
        expect(messages(page).nth(1)).to_contain_text("With 1 pictures you asked: How many")
        expect(trial).to_have_count(0)


def test_a_picture_to_try_is_clicked_itself(browser: Browser, url: str) -> None:
    for page in opened(browser, url):
        expect(box(page)).to_be_enabled()
        cat = page.locator(".st-key-examples").get_by_role("img", name="A cat").bounding_box()
        assert cat
        page.mouse.click(cat["x"] + cat["width"] / 2, cat["y"] + cat["height"] / 2)
        expect(waiting(page, "cat.jpg")).to_be_visible()


STAYS_AT_THE_TOP = """() => {  // of more than fits the screen, for a second
    const page = document.querySelector("[data-testid=stAppScrollToBottomContainer]");
    const isSo = page && page.scrollHeight > page.clientHeight + 50 && page.scrollTop === 0;
    if (!isSo || !window.since) window.since = performance.now();
    return performance.now() - window.since > 1000;
}"""


@pytest.mark.parametrize("slower", [1, 4])
def test_on_a_phone_it_opens_at_its_top(browser: Browser, url: str, slower: int) -> None:
    phone = browser.new_page(viewport={"width": 380, "height": 800})
    processor = phone.context.new_cdp_session(phone)
    processor.send("Emulation.setCPUThrottlingRate", {"rate": slower})
    phone.goto(url)
    expect(phone.locator(".st-key-examples").get_by_role("img")).to_have_count(len(examples()))
    phone.wait_for_function(STAYS_AT_THE_TOP, polling=100)  # a page at rest draws no frames
    expect(phone.get_by_role("heading").first).to_be_in_viewport()
    phone.locator(".st-key-examples").get_by_role("button").last.click()  # one scrolls there
    expect(phone.locator("[class*=st-key-remove-]")).to_have_count(1)
    phone.close()
