"""Compare, in a real browser: two answers side by side, or one above the other on a phone."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.app.browsing import ask, messages, photo, pick

pytestmark = pytest.mark.browser


def test_the_better_of_two_answers_is_chosen_and_stays(page: Page, tmp_path: Path) -> None:
    ask(page, "What?", photo(tmp_path))
    answer = messages(page).nth(1)
    expect(answer.get_by_role("button", name="Again")).to_be_visible()
    pick(page, answer, "Compare")
    window = page.get_by_role("dialog")
    window.get_by_role("button", name="Ask this model").click()
    better = window.get_by_role("button", name="This one is better")
    expect(better).to_have_count(2)
    expect(window.get_by_text("With 1 pictures you asked: What?")).to_have_count(2)
    better.nth(1).click()
    expect(window).to_have_count(0)
    expect(answer).to_contain_text("You chose this answer as the better one.")
    expect(answer).to_contain_text("2/2")
