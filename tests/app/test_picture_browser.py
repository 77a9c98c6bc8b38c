"""In a real browser: a picture is looked at closely, and a part of it asked about."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.app.browsing import ask, messages

pytestmark = pytest.mark.browser

FRAMED = """async (image) => {
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    const pen = canvas.getContext("2d");
    pen.drawImage(image, 0, 0);
    const values = pen.getImageData(0, 0, canvas.width, canvas.height).data;
    for (let at = 0; at < values.length; at += 4)
        if (values[at] > 180 && values[at + 1] > 150) return true;
    return false;
}"""  # a yellow pixel: of the frame, since the photo is red and blue


def photo(folder: Path) -> Path:
    """A red picture whose lower right quarter is blue."""
    path = folder / "flag.png"
    picture = Image.new("RGB", (400, 300), "red")
    picture.paste("blue", (200, 150, 400, 300))
    picture.save(path)
    return path


def begun(page: Page, folder: Path) -> None:
    """A conversation about that picture."""
    ask(page, "What is it?", photo(folder))
    expect(messages(page).nth(1)).to_contain_text("With 1 pictures you asked: What is it?")
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)


def opener(page: Page, message: int = 0) -> Locator:
    return messages(page).nth(message).get_by_role("button", name="Look closer: flag.png")


def stage(page: Page) -> Locator:
    return page.get_by_role("dialog").get_by_role("group", name="flag.png")


def status(page: Page) -> Locator:
    return page.get_by_role("dialog").get_by_role("status")


def width(page: Page) -> float:
    """Of the picture in the window."""
    box = stage(page).get_by_role("img").bounding_box()
    assert box
    return box["width"]


def test_a_picture_is_opened_and_zoomed_by_mouse_and_keys(wide: Page, tmp_path: Path) -> None:
    begun(wide, tmp_path)
    opener(wide).click()
    expect(stage(wide)).to_be_visible()
    around = stage(wide).bounding_box()
    assert around and around["width"] > 1100 and around["height"] > 300  # of 1280 x 800
    whole = width(wide)
    wide.get_by_role("button", name="Zoom in").click()
    assert width(wide) == pytest.approx(1.4 * whole, abs=1)
    stage(wide).hover()
    wide.mouse.wheel(0, -400)
    wide.wait_for_timeout(100)
    assert width(wide) > 3 * whole
    stage(wide).press("0")
    assert width(wide) == pytest.approx(whole, abs=1)
    wide.keyboard.press("Tab")
    expect(wide.get_by_role("button", name="Mark a part")).to_be_focused()
    wide.keyboard.press("Enter")
    expect(stage(wide)).to_be_focused()
    wide.keyboard.press("ArrowDown")  # makes a box
    wide.keyboard.press("ArrowRight")
    wide.keyboard.press("Shift+ArrowUp")
    expect(status(wide)).to_have_text("x 27-77 %, y 25-73 %")
    wide.keyboard.press("Escape")
    expect(wide.get_by_role("dialog")).to_have_count(0)
    opener(wide).press("Enter")
    expect(stage(wide)).to_be_visible()


def test_a_part_is_drawn_and_asked_about(page: Page, tmp_path: Path) -> None:
    begun(page, tmp_path)
    opener(page).click()
    page.get_by_role("button", name="Mark a part").click()
    picture = stage(page).get_by_role("img").bounding_box()
    assert picture
    for move, share in ((page.mouse.move, 0.6), (page.mouse.move, 0.8), (page.mouse.move, 0.9)):
        move(picture["x"] + share * picture["width"], picture["y"] + share * picture["height"])
        if share == 0.6:
            page.mouse.down()
    page.mouse.up()
    expect(status(page)).to_contain_text("x 60-90 %")
    words = page.get_by_role("textbox", name="Your question about the part")
    words.fill("Which colour?")
    words.press("Enter")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(messages(page).nth(3)).to_contain_text(
        "With 1 pictures you asked: Which colour? #0000ff"
    )
    page.reload()
    marked = messages(page).nth(2).get_by_role("img", name="flag.png")
    expect(marked).to_be_visible()
    assert marked.evaluate(FRAMED)
    assert not messages(page).nth(0).get_by_role("img", name="flag.png").evaluate(FRAMED)
    opener(page, 2).click()
    expect(status(page)).to_contain_text("x 60-90 %")
