"""In a real browser: a server that has stopped, and what the page says of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.app.browsing import box
from tests.app.server import serving

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])  # Streamlit has words for each
@pytest.mark.parametrize(
    ("locale", "words"), [("en-US", "Start it again"), ("zh-CN", "请重新启动它")]
)
def test_a_stopped_server_is_no_matter_of_the_internet(
    browser: Browser, tmp_path: Path, locale: str, words: str, host: str
) -> None:
    page = browser.new_page(locale=locale)
    with serving(tmp_path) as (url, _):
        page.goto(url.replace("127.0.0.1", host))
        expect(box(page)).to_be_enabled()
    window = page.get_by_role("dialog")
    expect(window).to_contain_text(words, timeout=120_000)
    expect(window).not_to_contain_text("internet")
    expect(window).not_to_contain_text("Streamlit")
    expect(window.get_by_text("streamlit run")).to_be_hidden()
    page.close()
