"""In a real browser: a file that cannot be used, or not even uploaded, stops its question."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.app.browsing import ASK_FIRST, ask, begun, choose, fits, messages, photo
from tests.app.server import serving
from tests.inputs import clips

pytestmark = pytest.mark.browser
NOT_ASKED = "Nothing was asked; the question is in the box again."
NOT_UPLOADED = "A file could not be uploaded: it is larger than"
ECHO = "With 1 pictures you asked: "


def shot(page: Page, name: str) -> None:
    """Keep a picture of the page where somebody wants to look at it."""
    folder = os.environ.get("VQA_SCREENSHOTS")
    if folder:
        page.wait_for_timeout(600)
        page.screenshot(path=f"{folder}/{name}-{page.viewport_size['width']}.png")  # type: ignore[index]


def large(folder: Path, name: str = "large.png", megabytes: int = 101) -> Path:
    path = folder / name
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        file.truncate(megabytes << 20)  # takes no room on the disk
    return path


def question(page: Page) -> str:
    return page.get_by_test_id("stChatInputTextArea").input_value()


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("form.pdf", b"%PDF-1.7\n1 0 obj\n", "form.pdf is a PDF, not a picture"),
        ("form.png", b"%PDF-1.7\n1 0 obj\n", "form.png is a PDF, not a picture"),
        ("notes.txt", b"buy milk\n", "notes.txt is text, not a picture"),
        ("empty.png", b"", "empty.png is empty"),
        ("nameless", b"\0\1\2\3", "nameless is"),
    ],
)
def test_any_file_is_taken_and_refused_with_its_reason(
    wide: Page, tmp_path: Path, name: str, content: bytes, why: str
) -> None:
    begun(wide, tmp_path)
    (tmp_path / name).write_bytes(content)
    ask(wide, "And this?", tmp_path / name)
    alert = wide.get_by_test_id("stAlert")
    expect(alert).to_contain_text(why)
    expect(alert).to_contain_text(NOT_ASKED)
    expect(wide.get_by_test_id("stChatInputTextArea")).to_have_value("And this?")
    expect(messages(wide)).to_have_count(2)
    shot(wide, f"refused-{name}")


def test_one_good_and_one_bad(page: Page, tmp_path: Path) -> None:
    begun(page, tmp_path)
    (tmp_path / "form.pdf").write_bytes(b"%PDF-1.7\n1 0 obj\n")
    ask(page, "And these?", photo(tmp_path, "red"), tmp_path / "form.pdf")
    alert = page.get_by_test_id("stAlert")
    expect(alert).to_contain_text("form.pdf is a PDF, not a picture")
    expect(page.get_by_role("button", name="Remove")).to_have_count(1)
    expect(messages(page)).to_have_count(2)
    assert fits(page)
    shot(page, "good-and-bad")
    box = page.get_by_test_id("stChatInputTextArea")
    expect(box).to_have_value("And these?")
    expect(page.get_by_role("button", name="Send message")).to_be_enabled()
    box.press("Enter")
    expect(messages(page).nth(3)).to_contain_text("With 2 pictures you asked: And these?")
    expect(alert).to_have_count(0)


def test_a_broken_picture_is_pasted(wide: Page, tmp_path: Path) -> None:
    begun(wide, tmp_path)
    wide.get_by_test_id("stChatInputTextArea").evaluate(
        """(box, content) => {
            const bytes = Uint8Array.from(atob(content), one => one.charCodeAt(0));
            const data = new DataTransfer();
            data.items.add(new File([bytes], "pasted.png", {type: "image/png"}));
            box.dispatchEvent(new ClipboardEvent(
                "paste", {clipboardData: data, bubbles: true, cancelable: true}));
        }""",
        base64.b64encode(photo(tmp_path, "red").read_bytes()[:70]).decode(),
    )
    expect(wide.get_by_text("broken_image pasted.png")).to_be_visible()
    ask(wide, "And this?")
    expect(wide.get_by_test_id("stAlert")).to_contain_text("pasted.png ends too early")
    expect(wide.get_by_test_id("stChatInputTextArea")).to_have_value("And this?")
    expect(messages(wide)).to_have_count(2)


def test_a_picture_of_today_and_a_video_are_taken(wide: Page, tmp_path: Path) -> None:
    Image.new("RGB", (64, 48), "teal").save(tmp_path / "web.avif")
    ask(wide, "What is it?", tmp_path / "web.avif")
    expect(messages(wide).nth(1)).to_contain_text(f"{ECHO}What is it?")
    expect(messages(wide).nth(0).get_by_role("img", name="web.avif")).to_be_visible()
    clip = clips.write(tmp_path / "clip.mp4", clips.scenes("red", "blue"), every=8)
    expect(wide.get_by_role("button", name="Stop")).to_have_count(0)
    ask(wide, "What happens?", clip)
    expect(messages(wide)).to_have_count(4)


def test_a_file_that_is_too_large_holds_the_question_back(page: Page, tmp_path: Path) -> None:
    begun(page, tmp_path)
    notice = page.get_by_text(NOT_UPLOADED)
    expect(notice).to_be_hidden()
    choose(page, large(tmp_path), photo(tmp_path, "red"))
    expect(notice).to_be_visible()
    expect(notice).to_contain_text("100 MB")
    box = page.get_by_test_id("stChatInputTextArea")
    box.fill("And this?")
    box.press("Enter")
    page.get_by_role("button", name="Send message").click()
    page.wait_for_timeout(1500)
    assert question(page) == "And this?"
    expect(messages(page)).to_have_count(2)
    assert fits(page)
    shot(page, "too-large")
    page.get_by_role("button", name="Remove large.png").click()
    expect(notice).to_be_hidden()
    box.press("Enter")
    expect(messages(page).nth(3)).to_contain_text("With 2 pictures you asked: And this?")


def test_an_upload_that_breaks_off_holds_the_question_back(
    browser: Browser, url: str, tmp_path: Path
) -> None:
    wide = browser.new_page()  # its console tells of the upload
    wide.goto(url)
    begun(wide, tmp_path)
    broken = "**/_stcore/upload_file/**"
    wide.route(broken, lambda route: route.abort())
    choose(wide, photo(tmp_path, "red"))
    expect(wide.get_by_text(NOT_UPLOADED)).to_be_visible()
    box = wide.get_by_test_id("stChatInputTextArea")
    box.fill("And this?")
    box.press("Enter")
    wide.wait_for_timeout(1000)
    assert question(wide) == "And this?"
    wide.unroute(broken)
    wide.get_by_role("button", name="Remove red.png").click()
    expect(wide.get_by_text(NOT_UPLOADED)).to_be_hidden()
    choose(wide, photo(tmp_path, "red"))
    expect(wide.locator("[class*=st-key-remove-]")).to_have_count(1)
    box.press("Enter")
    expect(messages(wide).nth(3)).to_contain_text("With 2 pictures you asked: And this?")
    wide.close()


def test_a_new_line_is_typed_beside_a_file_that_is_too_large(wide: Page, tmp_path: Path) -> None:
    box = wide.get_by_test_id("stChatInputTextArea")
    expect(box).to_be_enabled()
    choose(wide, large(tmp_path))
    box.fill("one")
    box.press("Shift+Enter")
    box.press_sequentially("two")
    assert question(wide) == "one\ntwo"


def test_a_batch_does_not_begin_without_its_pictures(wide: Page, tmp_path: Path) -> None:
    expect(wide.get_by_placeholder(ASK_FIRST)).to_be_enabled()
    wide.get_by_role("link", name="Batch").click()
    data = tmp_path / "q.csv"
    data.write_text("image,question\ncat.png,What is it?\n")
    uploads = wide.locator("input[type=file]")
    expect(uploads).to_have_count(2)
    uploads.nth(0).set_input_files(data)
    uploads.nth(1).set_input_files(large(tmp_path, "all.zip", 501))
    expect(wide.get_by_text(NOT_UPLOADED)).to_be_visible()
    start = wide.get_by_role("button", name="Start")
    start.click()
    wide.get_by_label("Longest answer, in tokens").press("Enter")
    wide.wait_for_timeout(1500)
    expect(start).to_be_visible()
    expect(wide.get_by_text("Nothing yet.")).to_be_visible()
    shot(wide, "batch-too-large")
    (tmp_path / "all.rar").write_bytes(b"Rar!\x1a\7\0")
    wide.get_by_role("button", name="Remove all.zip").click()
    uploads.nth(1).set_input_files(tmp_path / "all.rar")
    expect(wide.get_by_text(NOT_UPLOADED)).to_be_hidden()
    start.click()
    expect(wide.get_by_test_id("stAlert")).to_contain_text("zip")
    expect(wide.get_by_text("Nothing yet.")).to_be_visible()


def test_guests_are_held_back_too_and_in_chinese(browser: Browser, tmp_path: Path) -> None:
    with serving(tmp_path, host="0.0.0.0") as (url, _):
        page = browser.new_page(locale="zh-CN")
        page.goto(url)
        box = page.get_by_test_id("stChatInputTextArea")
        expect(box).to_be_enabled()
        choose(page, large(tmp_path))
        expect(page.get_by_text("有文件未能上传")).to_be_visible()
        box.fill("What?")
        box.press("Enter")
        page.wait_for_timeout(1000)
        assert question(page) == "What?"
        page.get_by_role("button", name="Remove large.png").click()
        (tmp_path / "form.pdf").write_bytes(b"%PDF-1.7\n1 0 obj\n")
        ask(page, "What?", tmp_path / "form.pdf")
        expect(page.get_by_test_id("stAlert")).to_contain_text("没有提问；问题已放回输入框。")
        shot(page, "chinese")
        page.close()
