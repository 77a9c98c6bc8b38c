"""The page with the model that ships: `--screenshots DIR` keeps what it looks like."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.app.browsing import ask, pick
from tests.app.server import ROOT, serving

pytestmark = [pytest.mark.browser, pytest.mark.weights]

expect.set_options(timeout=60_000)  # ms: the model loads
CAT, COFFEE = ROOT / "examples" / "cat.jpg", ROOT / "examples" / "coffee.jpg"
Keep = Callable[[Page, str], None]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("server"), parrot=False) as (url, log):
        yield url
        assert "Traceback" not in log.read_text()


@pytest.fixture
def keep(request: pytest.FixtureRequest, tmp_path: Path) -> Keep:
    """Take a screenshot of a page."""
    folder = Path(request.config.getoption("--screenshots") or tmp_path)

    def take(page: Page, name: str) -> None:
        expect(page.get_by_role("button", name=re.compile(r" Esc$"))).to_have_count(
            0
        )  # the button to stop
        page.wait_for_timeout(1500)  # what fades in
        page.screenshot(path=folder / f"{name}.png")

    return take


def test_two_photos_a_follow_up_and_what_is_behind_an_answer(
    browser: Browser, url: str, keep: Keep
) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 860})
    page.goto(url)
    ask(page, "What animal is this?", CAT)
    messages = page.get_by_test_id("stChatMessage")
    expect(messages.nth(1).get_by_test_id("stMarkdown").first).to_have_text(
        re.compile("^cat", re.I)
    )
    ask(page, "Is there a dog in the picture?")
    expect(messages).to_have_count(4)
    expect(messages.nth(3).get_by_test_id("stMarkdown").first).to_have_text(re.compile("^no", re.I))
    expect(messages.nth(3).get_by_role("button", name="Again")).to_be_in_viewport()
    keep(page, "chat")
    pick(page, messages.nth(1), "Details")
    expect(page.get_by_text("As the model sees it")).to_be_visible()
    expect(page.get_by_role("dialog").get_by_role("img")).to_be_visible()
    expect(page.get_by_text(re.compile(r"64 for pictures, \d+ in the prompt"))).to_be_visible()
    keep(page, "details")
    page.keyboard.press("Escape")
    messages.nth(1).get_by_role("button", name="Where it looked").click()
    laid = messages.nth(0).get_by_role("img", name="cat.jpg, and where the model looked")
    expect(laid).to_be_visible()
    expect(messages.nth(1)).to_contain_text(re.compile("trust"))
    keep(page, "looking")
    page.close()


def test_a_phone_in_the_dark(browser: Browser, url: str, keep: Keep) -> None:
    page = browser.new_page(viewport={"width": 380, "height": 760}, color_scheme="dark")
    page.goto(url)
    ask(page, "Describe the picture.", COFFEE)
    messages = page.get_by_test_id("stChatMessage")
    expect(messages.nth(1).get_by_role("button", name="Again")).to_be_visible()
    assert len(messages.nth(1).get_by_test_id("stMarkdown").first.inner_text().split()) > 3
    keep(page, "phone")
    page.close()


def test_chinese(browser: Browser, url: str, keep: Keep) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 860}, locale="zh-CN")
    page.goto(url)
    page.get_by_role("button", name="猫", exact=True).click()
    page.get_by_role("button", name="What is in the picture?").click()
    messages = page.get_by_test_id("stChatMessage")
    expect(messages.nth(1).get_by_test_id("stMarkdown").first).to_have_text(re.compile("cat", re.I))
    keep(page, "chinese")
    page.close()
