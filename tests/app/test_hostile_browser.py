"""Text and files of strangers in a real browser: shown as they are, never run, never fetched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.app.browsing import box, choose, messages
from tests.app.server import serving
from vqa.chat.history import History

pytestmark = pytest.mark.browser
NASTY = (
    "<script>alert(1)</script>",
    "<img src=http://evil.example/a.png onerror=alert(1)>",
    "![x](http://evil.example/b.png) [y](http://evil.example)",
    "http://evil.example/c www.evil.example d@evil.example",
    ":material/home: :streamlit: :red[x] $x^2$ -> <image> `e`",
    "{title} %s \\n &lt;b&gt;",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    directory = tmp_path_factory.mktemp("server")
    with serving(directory) as (url, log):
        yield url, directory
        assert "Traceback" not in log.read_text()


@pytest.fixture
def page(browser: Browser, server: tuple[str, Path]) -> Iterator[Page]:
    url, _ = server
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(60_000)
    expect.set_options(timeout=60_000)
    left: list[str] = []
    page.on("request", lambda sent: left.append(sent.url))
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    page.goto(url)
    expect(box(page)).to_be_enabled()
    yield page
    assert [one for one in left if not one.startswith((url, "data:", "blob:"))] == []
    page.close()


def send(page: Page, question: str, *pictures: Path) -> None:
    expect(box(page)).to_be_enabled()
    if pictures:
        choose(page, *pictures)
        expect(page.get_by_test_id("stFileChip")).to_have_count(len(pictures))
        expect(page.get_by_test_id("stFileChipIconSpinner")).to_have_count(0)  # all are there
    box(page).fill(question)
    box(page).press("Enter")


def test_nothing_that_was_said_is_interpreted(page: Page, server: tuple[str, Path]) -> None:
    _, directory = server
    history = History(directory / "data" / "vqa" / "chats")
    for words in NASTY:
        name = words.replace("/", "_")[:60] + ".png"
        Image.new("RGB", (400, 300), "teal").save(directory / name)
        page.get_by_role("button", name="New conversation").click()
        expect(page.get_by_test_id("stChatMessage")).to_have_count(0)
        send(page, words, directory / name)
        # a question is plain text; what of Markdown an answer may have is in test_rows_browser.py
        expect(messages(page).nth(0)).to_contain_text(words)
        expect(messages(page).nth(1)).to_contain_text("With 1 pictures you asked: ")
        [one] = [one for one in history.conversations("local") if one.title == words[:60]]
        title = page.locator(f".st-key-open-{one.id}").get_by_test_id("stMarkdownContainer")
        visible = title.inner_text().replace("\u2060", "")
        assert visible == words[:60].rstrip()
        assert title.locator("a, img, script, code, .katex").count() == 0
        answer = history.branch("local", one.id)[-1].id
        history.correct("local", answer, words)
        page.reload()
        corrected = page.get_by_test_id("stAlert").get_by_test_id("stMarkdownContainer")
        expect(corrected).to_be_visible()
        assert corrected.inner_text().replace("\u2060", "") == f"Corrected: {words}"
        chat = page.get_by_test_id("stMainBlockContainer")
        assert chat.locator("img[src*=evil], .katex, main script").count() == 0
        for words_of in (messages(page).nth(0), corrected):  # an answer may have links, to click
            assert words_of.locator("a[href*=evil]").count() == 0
    search = page.get_by_placeholder("Search conversations")
    search.fill(NASTY[0])
    search.press("Enter")
    expect(page.locator("[class*=st-key-open-]")).to_have_count(1)
    search.fill("<b>nothing</b> ![x](http://evil.example/x)")
    search.press("Enter")
    expect(page.get_by_text("Nothing found.")).to_be_visible()


def test_what_could_not_be_asked_comes_back(page: Page, tmp_path: Path) -> None:
    (tmp_path / "[x](http:__evil.example).png").write_bytes(b"%PDF-1.7")
    Image.new("RGB", (400, 300), "teal").save(tmp_path / "good.png")
    send(page, "What *is* it?", *sorted(tmp_path.iterdir()))
    error = page.get_by_test_id("stAlert")
    expect(error).to_contain_text("is a PDF, not a picture")
    assert error.locator("a, img").count() == 0
    expect(box(page)).to_have_value("What *is* it?")
    expect(page.get_by_role("button", name="Remove")).to_have_count(1)
    box(page).press("Enter")
    expect(messages(page).nth(1)).to_contain_text("With 1 pictures you asked: What is it?")
    expect(box(page)).to_have_value("")
    expect(page.get_by_test_id("stAlert")).to_have_count(0)


def test_a_long_question_is_cut_where_it_can_be_seen(page: Page, tmp_path: Path) -> None:
    Image.new("RGB", (400, 300), "teal").save(tmp_path / "good.png")
    choose(page, tmp_path / "good.png")
    expect(box(page)).to_be_enabled()
    box(page).fill("y" * 7999)
    box(page).press_sequentially("zzz")
    expect(page.get_by_text("8000/8000")).to_be_visible()
    assert box(page).input_value() == "y" * 7999 + "z"


def test_a_photo_of_40_mb(page: Page, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3700, 3700, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.bmp")
    assert (tmp_path / "large.bmp").stat().st_size > 40_000_000
    send(page, "What is it?", tmp_path / "large.bmp")
    expect(
        page.get_by_test_id("stMainBlockContainer").get_by_text(
            "With 1 pictures you asked: What is it?"
        )
    ).to_be_visible()
