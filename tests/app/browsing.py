"""What a person does in a browser with a started page, and what they see there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

expect.set_options(timeout=30_000)  # ms: a busy machine is slow
ASK, ASK_FIRST = "Ask about the picture", "Add pictures and ask"


def opened(browser: Browser, url: str, width: int = 1280, **context: str) -> Iterator[Page]:
    """A page that asks nobody but our server for anything, and reports no error."""
    page = browser.new_page(viewport={"width": width, "height": 800}, **context)
    requests: list[str] = []
    errors: list[str] = []
    page.on("request", lambda sent: requests.append(sent.url))
    page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    page.goto(url)
    yield page
    origin = re.match(r"https?://[^/]+", url)
    assert origin
    allowed = (origin[0], "data:", "blob:")
    assert [one for one in requests if not one.startswith(allowed)] == []
    # a picture may be replaced by the next run of the script while the browser fetches it: the
    # browser reports the 404, and Streamlit the picture
    replaced = ("status of 404", "Image source error")
    assert [one for one in errors if not any(part in one for part in replaced)] == []
    page.close()


def photo(folder: Path, colour: str = "teal") -> Path:
    path = folder / f"{colour}.png"
    Image.new("RGB", (400, 300), colour).save(path)
    return path


def box(page: Page) -> Locator:
    return page.get_by_test_id("stChatInputTextArea")


def choose(page: Page, *files: Path) -> None:
    """Choose files for the next question, once the page's scripts take them."""
    page.wait_for_function("window.vqaBox", polling=100)
    page.set_input_files("[data-testid=stChatInput] input[type=file]", files)


def waiting(page: Page, name: str) -> Locator:
    """A picture that is asked about next."""
    return page.get_by_test_id("stBottomBlockContainer").get_by_role("img", name=name)


def attach(page: Page, picture: Path) -> None:
    expect(box(page)).to_be_enabled()
    choose(page, picture)
    expect(waiting(page, picture.name)).to_be_visible()


def ask(page: Page, question: str, *pictures: Path) -> None:
    expect(box(page)).to_be_enabled()
    if pictures:
        choose(page, *pictures)
        expect(page.locator("[class*=st-key-remove-]")).to_have_count(len(pictures))
    box(page).fill(question)
    expect(page.get_by_role("button", name="Send message")).to_be_enabled()
    box(page).press("Enter")


def begun(page: Page, folder: Path, question: str = "What is it?") -> None:
    """A conversation about a picture, which is answered."""
    ask(page, question, photo(folder))
    expect(messages(page).nth(1)).to_contain_text(f"With 1 pictures you asked: {question}")
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)


def messages(page: Page) -> Locator:
    return page.get_by_test_id("stChatMessage")


def pick(page: Page, message: Locator, name: str) -> None:
    """Choose in the menu of a message."""
    message.get_by_role("button", name="More").click()
    page.get_by_role("menuitem", name=name).click()


def rate(page: Page) -> None:
    """Give the first answer a thumb up."""
    thumb = messages(page).nth(1).get_by_role("radio", name="Thumbs up")
    thumb.click()
    expect(thumb).to_be_checked()


def go(page: Page, name: str, heading: str) -> None:
    """Open another page by its link."""
    page.get_by_role("link", name=name, exact=True).click()
    expect(page.get_by_role("heading", name=heading)).to_be_visible()


def fits(page: Page) -> bool:
    """Whether nothing sticks out to the side."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))
