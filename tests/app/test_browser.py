"""The page in a real browser: what a person sees and clicks."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, WebSocketRoute, expect

from tests.app.browsing import ASK, ASK_FIRST, ask, fits, messages, opened, photo
from tests.app.server import serving

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("server")
    (directory / "app.py").write_text("raise SystemExit('the wrong module was imported')")
    with serving(directory) as (url, log):
        yield url
        assert "Traceback" not in log.read_text()


def test_upload_ask_and_ask_again(page: Page, tmp_path: Path) -> None:
    expect(page.get_by_placeholder(ASK_FIRST)).to_be_enabled()
    assert fits(page)
    ask(page, "Is <b>this</b> *teal*? ![x](http://example.org/x.png)", photo(tmp_path))
    answer = messages(page).nth(1)
    expect(answer).to_contain_text("With 1 pictures you asked: Is <b>this</b> teal? !")
    expect(answer.get_by_role("emphasis")).to_have_text("teal")
    expect(answer.get_by_role("img")).to_have_count(0)
    expect(messages(page).nth(0).get_by_role("img", name="teal.png")).to_be_visible()
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)
    ask(page, "Sure?")
    expect(
        page.get_by_test_id("stMainBlockContainer").get_by_text("With 1 pictures you asked: Sure?")
    ).to_be_visible()
    expect(messages(page)).to_have_count(4)
    assert fits(page)


def test_several_pictures_and_a_large_view(wide: Page, tmp_path: Path) -> None:
    ask(wide, "What?", photo(tmp_path), photo(tmp_path, "red"), photo(tmp_path, "blue"))
    expect(messages(wide).nth(1)).to_contain_text("With 3 pictures you asked: What?")
    messages(wide).nth(0).get_by_role("button", name="Look closer: red.png").click()
    expect(wide.get_by_role("dialog").get_by_role("img", name="red.png")).to_be_visible()
    wide.keyboard.press("Escape")
    expect(wide.get_by_role("dialog")).to_have_count(0)


def test_a_picture_is_pasted(wide: Page, tmp_path: Path) -> None:
    box = wide.get_by_test_id("stChatInputTextArea")
    expect(box).to_be_enabled()
    content = base64.b64encode(photo(tmp_path).read_bytes()).decode()
    box.evaluate(
        """(box, content) => {
            const bytes = Uint8Array.from(atob(content), one => one.charCodeAt(0));
            const data = new DataTransfer();
            data.items.add(new File([bytes], "pasted.png", {type: "image/png"}));
            box.dispatchEvent(new ClipboardEvent(
                "paste", {clipboardData: data, bubbles: true, cancelable: true}));
        }""",
        content,
    )
    expect(wide.get_by_role("img", name="pasted.png")).to_be_visible()
    ask(wide, "What?")
    expect(messages(wide).nth(1)).to_contain_text("With 1 pictures you asked: What?")


def test_the_answer_streams_and_stops_at_once(page: Page, tmp_path: Path) -> None:
    ask(page, "endless please", photo(tmp_path))
    answer = messages(page).nth(1)
    expect(answer).to_contain_text("you asked: endless please word")
    expect(page.get_by_placeholder(ASK)).to_be_enabled()
    early = len(answer.inner_text())
    expect(answer).to_contain_text(re.compile(r"(word ){20}"))
    assert len(answer.inner_text()) > early
    page.get_by_role("button", name="Stop").click()
    expect(messages(page).last).to_contain_text("Stopped.")
    stopped = messages(page).nth(1).inner_text()
    assert "word word" in stopped
    assert stopped.count("word") < 1000
    ask(page, "And now?")
    expect(
        page.get_by_test_id("stMainBlockContainer").get_by_text(
            "With 1 pictures you asked: And now?"
        )
    ).to_be_visible()


# Streamlit joins what is drawn in one place before it is sent: on a busy machine it has no time to.
EACH_ALONE = """
from streamlit.runtime import forward_msg_queue
forward_msg_queue._maybe_compose_delta_msgs = lambda old, new: None
"""


def test_the_answer_never_vanishes_while_it_grows(browser: Browser, tmp_path: Path) -> None:
    """On a busy machine and a slow line what the server draws comes bit by bit."""

    def slow(route: WebSocketRoute) -> None:
        server = route.connect_to_server()

        def pass_on(message: str | bytes) -> None:
            time.sleep(0.05)
            route.send(message)

        server.on_message(pass_on)

    with serving(tmp_path, customize=EACH_ALONE) as (url, _):
        page = browser.new_page()
        page.route_web_socket("**/_stcore/stream", slow)
        page.goto(url)
        ask(page, "endless please", photo(tmp_path))
        answer = messages(page).nth(1)
        expect(answer).to_contain_text("you asked: endless please word")
        answer.evaluate(
            """answer => {
                const look = () => {
                    window.least = Math.min(window.least ?? 1e9, answer.innerText.length);
                };
                new MutationObserver(look).observe(
                    answer, {childList: true, subtree: true, characterData: true});
            }"""
        )
        page.wait_for_timeout(5_000)
        assert page.evaluate("window.least") > 60
        page.get_by_role("button", name="Stop").click()
        expect(messages(page).last).to_contain_text("Stopped.")
        page.close()


def test_a_reload_keeps_the_conversation_and_the_answer_on_its_way(
    wide: Page, tmp_path: Path
) -> None:
    ask(wide, "endless: are you still there?", photo(tmp_path))
    expect(messages(wide).nth(1)).to_contain_text(re.compile(r"(word ){5}"))
    before = messages(wide).nth(1).inner_text().count("word")
    wide.reload()
    expect(messages(wide).nth(0)).to_contain_text("endless: are you still there?")
    answer = messages(wide).nth(1)
    expect(answer).to_contain_text(re.compile(rf"(word ){{{before + 5}}}"))
    wide.get_by_role("button", name="Stop").click()
    expect(messages(wide).last).to_contain_text("Stopped.")
    wide.reload()
    expect(messages(wide)).to_have_count(2)


def test_an_answer_is_finished_though_the_page_is_closed(
    browser: Browser, url: str, tmp_path: Path
) -> None:
    page = browser.new_page()
    page.goto(url)
    ask(page, "unhurried, please go on", photo(tmp_path))
    expect(messages(page).nth(1)).to_contain_text("you asked")
    address = page.url
    page.close()
    again = browser.new_page()
    again.goto(address)
    expect(messages(again).nth(1)).to_contain_text("the end")
    again.close()


def test_a_question_is_edited_and_both_branches_stay(wide: Page, tmp_path: Path) -> None:
    ask(wide, "What?", photo(tmp_path))
    expect(messages(wide).nth(1)).to_contain_text("you asked: What?")
    wide.get_by_role("button", name="Edit").click()
    box = wide.get_by_label("Edit")
    box.last.fill("Which colour?")
    wide.get_by_role("button", name="Ask", exact=True).click()
    expect(messages(wide).nth(1)).to_contain_text("With 1 pictures you asked: Which colour?")
    expect(wide.get_by_text("2/2")).to_be_visible()
    wide.get_by_role("button", name="Previous version").click()
    expect(messages(wide).nth(1)).to_contain_text("you asked: What?")


def test_conversations_are_found_exported_and_deleted(wide: Page, tmp_path: Path) -> None:
    ask(wide, "Where is the zebra?", photo(tmp_path))
    expect(messages(wide).nth(1)).to_contain_text("you asked: Where is the zebra?")
    wide.get_by_role("button", name="New conversation").click()
    expect(messages(wide)).to_have_count(0)
    search = wide.get_by_placeholder("Search conversations")
    search.fill("ZEBRA")
    search.press("Enter")
    side = wide.get_by_test_id("stSidebar")
    side.get_by_role("button", name="Where is the zebra?", exact=True).click()
    expect(messages(wide)).to_have_count(2)
    side.get_by_role("button", name="Export").click()
    with wide.expect_download() as download:
        wide.get_by_role("button", name="As a web page").click()
    page = Path(download.value.path()).read_text()
    assert "Where is the zebra?" in page and "data:image/jpeg;base64," in page
    with wide.expect_download() as download:
        wide.get_by_role("button", name="As Markdown").click()
    assert "> Where is the zebra?" in Path(download.value.path()).read_text()
    wide.keyboard.press("Escape")
    side.get_by_role("button", name="Delete").click()
    wide.get_by_role("button", name="Yes, delete").click()
    expect(messages(wide)).to_have_count(0)
    expect(side.get_by_text("Nothing found.")).to_be_visible()


def test_a_bad_picture_is_told_and_the_question_comes_back(page: Page, tmp_path: Path) -> None:
    (tmp_path / "fake.jpg").write_text("not a picture")
    ask(page, "What is it?", tmp_path / "fake.jpg")
    expect(page.get_by_text("fake.jpg is text, not a picture")).to_be_visible()
    expect(page.get_by_test_id("stChatInputTextArea")).to_have_value("What is it?")
    assert fits(page)


def test_a_second_tab_waits_its_turn_and_is_told_so(
    browser: Browser, url: str, tmp_path: Path
) -> None:
    first, second = browser.new_page(), browser.new_page()
    first.goto(url)
    second.goto(url)
    ask(first, "endless for all", photo(tmp_path))
    expect(messages(first).nth(1)).to_contain_text("word word")
    ask(second, "Mine?", photo(tmp_path, "red"))
    expect(second.get_by_text("Waiting: 1 before you")).to_be_visible()
    first.get_by_role("button", name="Stop").click()
    expect(messages(second).nth(1)).to_contain_text("With 1 pictures you asked: Mine?")
    first.close()
    second.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_as_dark_as_the_browser(browser: Browser, url: str, scheme: str) -> None:
    for page in opened(browser, url, color_scheme=scheme):
        expect(page.get_by_placeholder(ASK_FIRST)).to_be_enabled()
        colour = page.get_by_test_id("stApp").evaluate("it => getComputedStyle(it).backgroundColor")
        red = int(re.findall(r"\d+", colour)[0])
        assert (red < 64) == (scheme == "dark")


def test_a_chinese_browser_gets_chinese(browser: Browser, url: str) -> None:
    for page in opened(browser, url, 380, locale="zh-CN"):
        expect(page.get_by_role("heading", name="看图问答")).to_be_visible()
        page.get_by_role("button", name="猫", exact=True).click()
        box = page.get_by_placeholder("就图片提问")
        expect(box).to_be_enabled()
        box.fill("这是什么？")
        box.press("Enter")
        expect(page.get_by_test_id("stAlertContentInfo")).to_contain_text("随附的模型只懂英语")
        assert fits(page)


def test_everything_is_reached_by_keyboard(wide: Page) -> None:
    expect(wide.get_by_placeholder(ASK_FIRST)).to_be_enabled()
    expect(wide.get_by_role("link", name="Search")).to_be_visible()
    focused = "document.activeElement.innerText || document.activeElement.placeholder"
    reached = set()
    for _ in range(100):  # each conversation in the list has a menu, too
        wide.keyboard.press("Tab")
        reached.add(wide.evaluate(focused))
    for name in ("New conversation", "Search conversations", "A cat", ASK_FIRST):
        assert any(name in str(one) for one in reached), name


def test_the_first_start_shows_how_far_the_model_is(browser: Browser, tmp_path: Path) -> None:
    with serving(tmp_path, load_seconds=5) as (url, _):
        page = browser.new_page()
        page.goto(url)
        expect(page.get_by_text("First start: fetching the model, 0 of 1")).to_be_visible()
        wheels = tmp_path / "cache" / "wheels" / "arriving"
        wheels.mkdir(parents=True)
        with (wheels / "one.whl").open("wb") as file:
            file.truncate(50_000_000)
        expect(page.get_by_text("First start: fetching the model, 50 of 1")).to_be_visible()
        expect(page.get_by_placeholder(ASK_FIRST)).to_be_enabled()
        page.close()


def test_strangers_see_nothing_of_each_other(browser: Browser, tmp_path: Path) -> None:
    with serving(tmp_path, host="0.0.0.0") as (url, _):
        one, other = browser.new_context(), browser.new_context()
        mine, theirs = one.new_page(), other.new_page()
        mine.goto(url)
        ask(mine, "What is my secret?", photo(tmp_path))
        expect(messages(mine).nth(1)).to_contain_text("my secret")
        theirs.goto(mine.url)
        expect(theirs.get_by_text("This conversation is not here any more")).to_be_visible()
        expect(theirs.get_by_text("my secret")).to_have_count(0)
        expect(theirs.get_by_role("link", name="Batch")).to_be_visible()
        expect(theirs.get_by_role("link", name="Search")).to_have_count(0)  # of the machine's files
        mine.reload()
        expect(messages(mine).nth(1)).to_contain_text("my secret")
        cookies = [cookie for cookie in one.cookies() if cookie["name"] == "vqa_owner"]
        assert [cookie["httpOnly"] for cookie in cookies] == [True]
        one.close()
        other.close()
