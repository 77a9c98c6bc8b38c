"""The report in a real browser, wide and narrow: what a person sees, filters and sorts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.evaluation.report_data import NASTY, make
from tests.evaluation.test_report import built
from vqa.evaluation.report.html_page import write_report

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    make(folder)
    write_report(folder / "report.html", built(folder))
    return (folder / "report.html").as_uri()


@pytest.fixture(params=[(1280, "light"), (375, "dark")], ids=["wide light", "narrow dark"])
def page(request: pytest.FixtureRequest, browser: Browser, url: str) -> Iterator[Page]:
    width, scheme = request.param
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    requests: list[str] = []
    messages: list[str] = []
    page.on("request", lambda sent: requests.append(sent.url))
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("dialog", lambda dialog: messages.append(dialog.message))
    page.goto(url)
    yield page
    assert [one for one in requests if one != url and not one.startswith("data:")] == []
    assert messages == []
    page.close()


def sticking_out(page: Page) -> list[str]:
    """Elements that reach over the window's right edge."""
    return list(
        page.evaluate(
            """[...document.querySelectorAll("body *")]
            .filter((e) => e.getBoundingClientRect().right > innerWidth + 1)
            .map((e) => e.tagName + "." + e.className)"""
        )
    )


def test_everything_is_there_and_fits(page: Page) -> None:
    titles = ["Scores", "By kind", "What changed", "Calibration", "Confusion of frequent answers",
              "Errors", "Rows without an answer", "How the predictions were made"]  # fmt: skip
    expect(page.get_by_role("heading", level=2)).to_have_text(titles)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert sticking_out(page) == []
    for link in page.locator("nav a").all():
        link.click()
        target = page.locator(link.get_attribute("href") or "")
        expect(target).to_be_in_viewport()
    expect(page.locator(".chart")).to_have_count(2)
    pictures = page.locator(".card img:visible")
    assert pictures.evaluate_all("(all) => all.length > 9 && all.every((i) => i.naturalWidth)")
    expect(page.get_by_text(NASTY).first).to_be_attached()


def test_the_window_decides_light_or_dark(page: Page) -> None:
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    channels = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g)")
    assert all((int(channel) < 60) == dark for channel in channels[:3])
    ink = page.evaluate("getComputedStyle(document.body).color.match(/\\d+/g)")
    assert all((int(channel) > 180) == dark for channel in ink[:3])


def test_a_few_of_each_cause_until_something_is_asked_for(page: Page) -> None:
    shown = page.locator("#shown")
    expect(shown).to_have_text("27 of 31 shown")
    page.get_by_role("button", name="Show all of this kind").first.click()
    expect(page.locator(".card:visible")).to_have_count(11)
    expect(shown).to_have_text("11 of 31 shown")
    expect(page.get_by_role("button", name="format 11")).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".card:visible").nth(8)).to_be_focused()


def test_filters_go_together(page: Page) -> None:
    cause = page.get_by_role("group", name="Likely cause")
    change = page.get_by_role("group", name="Change")
    search = page.get_by_label("Search questions and answers")
    cause.get_by_role("button", name="near miss 2").click()
    expect(page.locator(".card:visible")).to_contain_text(["bluee", "<b>teal"])
    cause.get_by_role("button", name="all").click()
    change.get_by_role("button", name="fixed by second").click()
    expect(page.locator("#shown")).to_have_text("29 of 31 shown")
    search.fill("GREEN which")
    expect(page.locator(".card:visible")).to_have_count(3)
    search.fill("no such words")
    expect(page.locator(".card:visible")).to_have_count(0)
    expect(page.get_by_text("No card fits")).to_be_visible()


def test_slices_sort_by_keyboard(page: Page) -> None:
    names = page.locator(".slices tbody th")
    expect(names).to_have_text(["color", "count", "yes-no", "null"])
    button = page.locator(".slices thead button", has_text="second")
    button.focus()
    page.keyboard.press("Enter")
    expect(names.last).to_have_text("null")
    page.keyboard.press("Enter")
    expect(names).to_have_text(["null", "color", "count", "yes-no"])
    page.locator(".slices thead button", has_text="kind").click()
    expect(names).to_have_text(["color", "count", "null", "yes-no"])


def test_without_scripts_all_errors_are_there(browser: Browser, url: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(url)
    expect(page.locator(".card:visible")).to_have_count(31)
    expect(page.locator("#controls")).to_be_hidden()
    context.close()


def test_on_paper_it_is_light_and_without_controls(browser: Browser, url: str) -> None:
    page = browser.new_page(color_scheme="dark")
    page.goto(url)
    page.emulate_media(media="print", color_scheme="dark")
    expect(page.locator("#controls")).to_be_hidden()
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == "rgb(255, 255, 255)"
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.close()
