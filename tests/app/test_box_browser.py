"""In a real browser: the box for questions is always ready, and answers come without ghosts."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.app.browsing import (
    ask,
    attach,
    begun,
    box,
    choose,
    fits,
    messages,
    photo,
    pick,
    waiting,
)  # fmt: skip

pytestmark = pytest.mark.browser


def test_the_focus_comes_back(wide: Page, tmp_path: Path) -> None:
    expect(box(wide)).to_be_enabled()
    wide.get_by_role("button", name="A cat", exact=True).click()
    expect(waiting(wide, "cat.jpg")).to_be_visible()
    expect(box(wide)).to_be_focused()
    wide.get_by_test_id("stBottomBlockContainer").get_by_role("button", name="Describe").click()
    expect(messages(wide)).to_have_count(2)
    expect(box(wide)).to_be_focused()
    ask(wide, "unhurried?")
    expect(messages(wide).nth(3)).to_contain_text("the end")
    expect(wide.get_by_role("button", name="Stop")).to_have_count(0)
    expect(box(wide)).to_be_focused()
    messages(wide).nth(3).get_by_role("button", name="Again").click()
    expect(messages(wide).nth(3)).to_contain_text("2/2")
    expect(box(wide)).to_be_focused()
    wide.get_by_role("button", name="New conversation").click()
    expect(messages(wide)).to_have_count(0)
    expect(box(wide)).to_be_focused()


def test_the_focus_goes_back_to_the_menu_that_opened_a_window(wide: Page, tmp_path: Path) -> None:
    begun(wide, tmp_path)
    for name in ("Details", "Correct"):
        pick(wide, messages(wide).nth(1), name)
        expect(wide.get_by_role("dialog")).to_have_count(1)
        wide.wait_for_timeout(500)  # as long as anybody looks
        wide.keyboard.press("Escape")
        expect(wide.get_by_role("dialog")).to_have_count(0)
        expect(messages(wide).nth(1).get_by_role("button", name="More")).to_be_focused()
    pick(wide, messages(wide).nth(1), "Delete")
    wide.get_by_role("button", name="Yes, delete").click()
    expect(messages(wide)).to_have_count(1)
    expect(box(wide)).to_be_focused()  # there is no menu any more


def test_tall_pictures_leave_the_box_on_the_screen(page: Page, tmp_path: Path) -> None:
    expect(box(page)).to_be_enabled()
    pictures = [tmp_path / f"{number}.png" for number in range(4)]
    for path in pictures:
        Image.new("RGB", (400, 3000), "teal").save(path)
    choose(page, *pictures)
    expect(page.locator("[class*=st-key-remove-]")).to_have_count(4)
    expect(waiting(page, "3.png")).to_be_visible()
    expect(box(page)).to_be_in_viewport(ratio=1)
    box(page).fill("What is it?")
    box(page).press("Enter")
    shown = messages(page).nth(0).get_by_role("img", name="3.png")
    expect(shown).to_be_visible()
    size, place = page.viewport_size, shown.bounding_box()
    assert size and place and 0 < place["height"] <= 0.61 * size["height"]
    assert shown.evaluate("one => getComputedStyle(one).objectFit") == "contain"  # not squashed


def test_the_focus_stays_where_somebody_writes(wide: Page, tmp_path: Path) -> None:
    begun(wide, tmp_path)
    messages(wide).nth(0).get_by_role("button", name="Edit").click()
    editor = wide.get_by_role("textbox", name="Edit")
    editor.fill("Another")
    wide.wait_for_timeout(1000)
    expect(editor).to_be_focused()
    pick(wide, messages(wide).nth(1), "Correct")
    correction = wide.get_by_role("textbox", name="The right answer")
    correction.fill("teal")
    wide.wait_for_timeout(1000)
    expect(correction).to_be_focused()


def test_a_question_is_typed_and_sent_while_an_answer_is_written(
    page: Page, tmp_path: Path
) -> None:
    ask(page, "slow?", photo(tmp_path))
    expect(messages(page).nth(1)).to_contain_text("word word")
    expect(box(page)).to_be_enabled()
    box(page).press_sequentially("And next?")
    box(page).press("Enter")
    expect(page.get_by_text("is asked next")).to_be_visible()
    expect(messages(page).nth(1)).to_contain_text("word word")  # still there
    assert fits(page)
    expect(messages(page).nth(3)).to_contain_text("With 1 pictures you asked: And next?")
    expect(messages(page).nth(1)).to_contain_text("word " * 299)  # and finished first
    expect(page.get_by_text("is asked next")).to_have_count(0)


def test_what_waits_survives_a_reload_and_is_taken_back(wide: Page, tmp_path: Path) -> None:
    ask(wide, "endless?", photo(tmp_path))
    expect(messages(wide).nth(1)).to_contain_text("word word")
    attach(wide, photo(tmp_path, "red"))
    box(wide).fill("And this?")
    box(wide).press("Enter")
    expect(wide.get_by_text("is asked next")).to_be_visible()
    wide.reload()
    expect(wide.get_by_text("is asked next")).to_be_visible()
    expect(waiting(wide, "red.png")).to_be_visible()
    box(wide).press_sequentially("half")
    wide.get_by_role("button", name="Take back").click()
    expect(box(wide)).to_have_value("And this?\nhalf")  # what was typed meanwhile is not lost
    box(wide).fill("And this?")
    box(wide).press("Enter")
    expect(wide.get_by_text("is asked next")).to_be_visible()
    wide.get_by_role("button", name="Stop").click()
    expect(messages(wide).nth(3)).to_contain_text("With 2 pictures you asked: And this?")


DROP = """([name, content, kind]) => {
    const bytes = Uint8Array.from(atob(content), one => one.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], name, {type: "image/png"}));
    const place = document.querySelector("[data-testid=stApp]");
    const event = kind === "paste"
        ? new ClipboardEvent("paste", {clipboardData: data, bubbles: true, cancelable: true})
        : new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true});
    place.dispatchEvent(event);
    return event.defaultPrevented;
}"""


@pytest.mark.parametrize("kind", ["paste", "drop"])
def test_pictures_are_taken_anywhere_on_the_page(wide: Page, tmp_path: Path, kind: str) -> None:
    expect(box(wide)).to_be_enabled()
    content = base64.b64encode(photo(tmp_path).read_bytes()).decode()
    assert wide.evaluate(DROP, ["teal.png", content, kind])  # or the browser would leave the page
    expect(waiting(wide, "teal.png")).to_be_visible()
    bottom = wide.get_by_test_id("stBottomBlockContainer")
    for question in ("What is in the picture?", "Describe the picture.", "What colour is it?"):
        expect(bottom.get_by_role("button", name=question)).to_be_visible()
    bottom.get_by_role("button", name="What colour is it?").click()
    expect(messages(wide).nth(1)).to_contain_text("With 1 pictures you asked: What colour is it?")
    expect(waiting(wide, "teal.png")).to_have_count(0)


def test_the_same_file_is_attached_again(wide: Page, tmp_path: Path) -> None:
    begun(wide, tmp_path)
    attach(wide, photo(tmp_path))
    wide.get_by_role("button", name="Remove").click()
    expect(waiting(wide, "teal.png")).to_have_count(0)
    attach(wide, photo(tmp_path))


def test_the_camera_is_an_icon_in_the_box(page: Page) -> None:
    expect(box(page)).to_be_enabled()
    camera = page.get_by_role("button", name="Camera")
    expect(camera).to_be_visible()
    icon, around = camera.bounding_box(), page.get_by_test_id("stChatInput").bounding_box()
    assert icon and around
    assert around["x"] < icon["x"] and icon["x"] + icon["width"] < around["x"] + around["width"]
    assert around["y"] <= icon["y"]
    assert icon["y"] + icon["height"] <= around["y"] + around["height"]
    expect(page.get_by_test_id("stCameraInput")).to_have_count(0)
    camera.click()
    expect(page.get_by_test_id("stCameraInput")).to_be_visible()
    assert fits(page)


def test_nothing_stale_stands_while_an_answer_is_written(wide: Page, tmp_path: Path) -> None:
    ask(wide, "endless?", photo(tmp_path))
    expect(messages(wide).nth(1)).to_contain_text("word word")
    for gone in ("Ask a picture", "A cat"):
        expect(wide.get_by_text(gone, exact=True)).to_have_count(0)
    assert wide.locator("[data-stale=true]:not(:has(.stEmpty))").count() == 0
    # what else is on the page works meanwhile, and the answer goes on
    messages(wide).nth(0).get_by_role("button", name="Delete").click()
    expect(wide.get_by_role("dialog")).to_be_visible()
    before = messages(wide).nth(1).inner_text().count("word")
    expect(messages(wide).nth(1)).to_contain_text(re.compile(rf"(word ){{{before + 20}}}"))
    expect(wide.get_by_role("dialog")).to_be_visible()
    wide.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    wide.get_by_role("button", name="Stop").click()
    expect(messages(wide).last).to_contain_text("Stopped.")
    # a shorter branch than before leaves nothing of the longer one
    ask(wide, "More?")
    expect(messages(wide).nth(3)).to_contain_text("you asked: More?")
    messages(wide).nth(1).get_by_role("button", name="Again").click()
    expect(messages(wide)).to_have_count(2)
    expect(messages(wide).nth(1)).to_contain_text("word word")
    expect(messages(wide)).to_have_count(2)
    wide.get_by_role("button", name="Stop").click()
    expect(messages(wide).last).to_contain_text("Stopped.")
