"""The page in a real browser: what a person sees and clicks."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.app.server import serving

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium, "install Chromium (Debian: apt-get install chromium)"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("server")
    (directory / "app.py").write_text("raise SystemExit('the wrong module was imported')")
    with serving(directory) as (url, log):
        yield url
        assert "Traceback" not in log.read_text()


@pytest.fixture(params=[1280, 380])
def page(request: pytest.FixtureRequest, browser: Browser, url: str) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": request.param, "height": 800})
    requests: list[str] = []
    errors: list[str] = []
    page.on("request", lambda sent: requests.append(sent.url))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.goto(url)
    yield page
    assert [one for one in requests if not one.startswith((url, "data:", "blob:"))] == []
    assert errors == []
    page.close()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.new("RGB", (400, 300), "teal").save(path)
    return path


def ask(page: Page, question: str) -> None:
    box = page.get_by_placeholder("Ask about the picture")
    expect(box).to_be_enabled()
    box.fill(question)
    box.press("Enter")


def fits(page: Page) -> bool:
    """Whether nothing sticks out to the side."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


def test_upload_ask_and_ask_again(page: Page, photo: Path) -> None:
    expect(page.get_by_placeholder("Add a picture first")).to_be_disabled()
    assert fits(page)
    page.set_input_files("input[type=file]", photo)
    expect(page.get_by_role("img")).to_have_count(1)
    ask(page, "Is <b>this</b> *teal*? ![x](http://example.org/x.png)")
    answer = page.get_by_test_id("stChatMessage").nth(1)
    said = "With 1 pictures you said: Is <b>this</b> *teal*? ![x](http://example.org/x.png)"
    expect(answer).to_contain_text(said)
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)
    ask(page, "Sure?")
    expect(page.get_by_test_id("stChatMessage")).to_have_count(4)
    expect(page.get_by_text("With 1 pictures you said: Sure?")).to_be_visible()
    assert fits(page)
    page.get_by_role("button", name="New conversation").click()
    expect(page.get_by_test_id("stChatMessage")).to_have_count(0)
    expect(page.get_by_placeholder("Add a picture first")).to_be_disabled()


def test_the_answer_streams_and_stops_at_once(page: Page, photo: Path) -> None:
    page.set_input_files("input[type=file]", photo)
    ask(page, "slow please")
    answer = page.get_by_test_id("stChatMessage").nth(1)
    expect(answer).to_contain_text("you said: slow please word")
    expect(page.get_by_placeholder("Ask about the picture")).to_be_disabled()
    early = len(answer.inner_text())
    expect(answer).to_contain_text(re.compile(r"(word ){20}"))
    assert len(answer.inner_text()) > early
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("Stopped.")).to_be_visible(timeout=3000)
    kept = answer.inner_text()
    assert "word word" in kept
    assert kept.count("word") < 150
    ask(page, "And now?")
    expect(page.get_by_text("With 1 pictures you said: And now?")).to_be_visible()


def test_a_bad_picture_is_told(page: Page, tmp_path: Path) -> None:
    (tmp_path / "fake.jpg").write_text("not a picture")
    page.set_input_files("input[type=file]", tmp_path / "fake.jpg")
    expect(page.get_by_text("fake.jpg is text, not a picture")).to_be_visible()
    assert fits(page)


def test_the_first_start_shows_how_far_the_model_is(browser: Browser, tmp_path: Path) -> None:
    with serving(tmp_path, load_seconds=4) as (url, _):
        page = browser.new_page()
        page.goto(url)
        expect(page.get_by_text("First start: fetching the model, 0 of 1")).to_be_visible()
        wheels = tmp_path / "cache" / "wheels" / "arriving"
        wheels.mkdir(parents=True)
        with (wheels / "one.whl").open("wb") as file:
            file.truncate(50_000_000)
        expect(page.get_by_text("First start: fetching the model, 50 of 1")).to_be_visible()
        expect(page.get_by_placeholder("Add a picture first")).to_be_visible(timeout=15_000)
        page.close()
