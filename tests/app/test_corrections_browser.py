"""From a correction in the chat to the data that is downloaded, in a real browser."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.app.browsing import choose, pick
from tests.app.server import serving

pytestmark = pytest.mark.browser


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    with serving(tmp_path) as (url, log):
        page = browser.new_page(viewport={"width": 380, "height": 800})
        page.goto(url)
        yield page
        page.close()
        assert "Traceback" not in log.read_text()


def wait_until_it_fits(page: Page) -> None:
    """Nothing is wider than the screen, once the side bar has finished moving."""
    page.wait_for_function("document.documentElement.scrollWidth <= window.innerWidth", polling=100)


def open_page(page: Page, name: str) -> None:
    """By the menu, which a narrow screen has in its side bar."""
    page.get_by_test_id("stExpandSidebarButton").click()
    page.get_by_role("link", name=name).click()
    page.get_by_test_id("stSidebar").hover()
    page.get_by_test_id("stSidebarCollapseButton").get_by_role("button").click()


def test_chat_correct_look_and_export(page: Page, tmp_path: Path) -> None:
    Image.new("RGB", (300, 200), "teal").save(tmp_path / "photo.png")
    choose(page, tmp_path / "photo.png")
    box = page.get_by_test_id("stChatInputTextArea")
    expect(box).to_be_enabled(timeout=15_000)
    box.fill("What is it?")
    expect(page.get_by_role("button", name="Send message")).to_be_enabled()  # it is uploaded
    box.press("Enter")
    expect(
        page.get_by_test_id("stMainBlockContainer").get_by_text(
            "With 1 pictures you asked: What is it?"
        )
    ).to_be_visible()
    pick(page, page.get_by_test_id("stChatMessage").nth(1), "Correct")
    page.get_by_label("The right answer").fill("a <b>teal</b> wall")
    page.get_by_role("button", name="Keep").click()
    expect(
        page.get_by_test_id("stMainBlockContainer").get_by_text("Corrected: a <b>teal</b> wall")
    ).to_be_visible()
    conversation = page.url

    open_page(page, "Corrections")
    expect(page.get_by_text("Corrected (1)")).to_be_visible()
    expect(
        page.get_by_test_id("stMainBlockContainer").get_by_text(
            "With 1 pictures you asked: What is it?"
        )
    ).to_be_visible()
    expect(page.get_by_label("The right answer")).to_have_value("a <b>teal</b> wall")
    wait_until_it_fits(page)
    page.get_by_text("Train a better model with it").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    wait_until_it_fits(page)
    with zipfile.ZipFile(download.value.path()) as archive:
        (row,) = archive.read("feedback/train.jsonl").decode().splitlines()
        row_values = json.loads(row)
        assert (row_values["question"], row_values["answer"]) == (
            "What is it?",
            "a <b>teal</b> wall",
        )
        assert archive.read(f"feedback/{row_values['image']}").startswith(b"\x89PNG")

    page.get_by_role("link", name="Conversation").click()
    expect(
        page.get_by_test_id("stMainBlockContainer").get_by_text("Corrected: a <b>teal</b> wall")
    ).to_be_visible()
    number = conversation.partition("c=")[2]
    page.wait_for_url(lambda url: url.partition("c=")[2] == number)
    open_page(page, "Corrections")
    page.get_by_role("button", name="Take back").click()
    page.get_by_role("button", name="Yes, delete").click()
    expect(page.get_by_text("Nothing yet.")).to_be_visible()
