"""In a real browser: what an answer rests on, and what was read, laid over its picture."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont
from playwright.sync_api import Browser, Page, expect

from tests.app.browsing import ask, begun, fits, messages, pick

pytestmark = pytest.mark.browser

# whether the upper left of a picture, where the parrot looks, is brighter than its lower right
BRIGHTER = """image => {
    const canvas = Object.assign(document.createElement('canvas'), {width: 40, height: 30});
    const context = canvas.getContext('2d');
    context.drawImage(image, 0, 0, 40, 30);
    const at = (x, y) => context.getImageData(x, y, 1, 1).data.slice(0, 3).reduce((a, b) => a + b);
    return image.complete && at(3, 2) > 100 + at(36, 27);
}"""


def test_a_map_is_laid_over_the_picture_at_its_place_and_taken_away(
    page: Page, tmp_path: Path
) -> None:
    begun(page, tmp_path)
    question, answer = messages(page).nth(0), messages(page).nth(1)
    before = question.get_by_role("img", name="teal.png", exact=True)
    expect(before).to_be_visible()
    assert not before.evaluate(BRIGHTER)
    button = answer.get_by_role("button", name="Where it looked")
    size = page.viewport_size
    assert size
    page.set_viewport_size({"width": size["width"], "height": 360})
    place = before.bounding_box()  # no higher than the window
    button.scroll_into_view_if_needed()
    expect(before).not_to_be_in_viewport(ratio=0.5)
    button.click()
    laid = question.get_by_role("img", name="teal.png, and where the model looked")
    expect(laid).to_be_in_viewport(ratio=0.9)  # it was scrolled out of it
    handle = laid.element_handle()
    page.wait_for_function(BRIGHTER, arg=handle, polling=100)
    after = laid.bounding_box()
    assert (
        place and after and (place["width"], place["height"]) == (after["width"], after["height"])
    )
    page.set_viewport_size(size)  # in a low window little stays between the page's head and box
    expect(answer).to_contain_text("Whether this map can be trusted is not known")
    expect(answer.get_by_role("button", name="Download")).not_to_be_visible()
    answer.get_by_text("About this map").click()
    expect(answer.get_by_role("button", name="Download")).to_be_visible()
    assert fits(page)
    answer.get_by_role("button", name="Without the map").click()
    expect(before).to_be_visible()
    expect(laid).to_have_count(0)
    expect(answer.get_by_text("About this map")).to_have_count(0)


def test_a_map_stays_in_view_although_the_page_grows(wide: Page, tmp_path: Path) -> None:
    begun(wide, tmp_path)
    for number in (1, 2):
        ask(wide, f"unhurried? {number}")
        expect(messages(wide).nth(2 * number + 1)).to_contain_text("the end")
    expect(wide.get_by_role("button", name="Stop")).to_have_count(0)
    messages(wide).nth(1).get_by_role("button", name="Where it looked").click()
    laid = messages(wide).nth(0).get_by_role("img", name="teal.png, and where the model looked")
    expect(laid).to_be_visible()
    wide.wait_for_timeout(3000)
    expect(laid).to_be_in_viewport(ratio=0.9)
    wide.mouse.wheel(0, 5000)  # and is left when somebody reads on
    expect(laid).not_to_be_in_viewport()


def test_read_text_stands_over_the_picture_and_is_selected_and_copied(
    browser: Browser, url: str, tmp_path: Path
) -> None:
    picture = Image.new("RGB", (640, 480), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(60)
    draw.text((60, 160), "STOP HERE 25", font=font, fill="black")
    picture.save(tmp_path / "sign.png")
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto(url)
    ask(page, "Which sign?", tmp_path / "sign.png")
    expect(page.locator("[class*=st-key-more-]")).to_have_count(1)
    pick(page, messages(page).nth(1), "Text in the picture")
    window = page.get_by_role("dialog", name="Text in the picture")
    line = window.locator(".read-text div div")
    expect(line).to_have_text("STOP HERE 25")
    whole = window.get_by_role("img", name="sign.png").bounding_box()
    place = line.bounding_box()
    assert whole and place
    scale = whole["width"] / 640
    left, top, right, bottom = (scale * at for at in draw.textbbox((60, 160), "STOP HERE 25", font))
    assert abs(place["x"] - whole["x"] - left) < 15 * scale
    assert abs(place["y"] - whole["y"] - top) < 15 * scale
    assert abs(place["width"] - (right - left)) < 25 * scale
    assert abs(place["height"] - (bottom - top)) < 25 * scale
    selected = line.evaluate("""line => {
        getSelection().selectAllChildren(line);
        const drawn = getSelection().getRangeAt(0).getBoundingClientRect();
        return [getSelection().toString(), drawn.width, getComputedStyle(line).color];
    }""")
    assert selected[0] == "STOP HERE 25" and selected[2] == "rgba(0, 0, 0, 0)"
    assert abs(selected[1] - place["width"]) < 10
    window.get_by_role("button", name="Copy").click()
    expect(window.locator("[data-copy].copied")).to_have_count(1)
    assert page.evaluate("navigator.clipboard.readText()") == "STOP HERE 25"
    assert fits(page)
    context.close()
