"""The window with what was read in a conversation's pictures."""

from __future__ import annotations

import re

import pytest
from streamlit.testing.v1 import AppTest

import vqa.loading
from app.state import chats
from app.text_window import as_html
from tests.app.fake import Parrot
from tests.app.test_page import ask, opened, png
from vqa.errors import InputError
from vqa.reading import TextLine

HOSTILE = '<img src=x onerror="alert(1)"> & "quotes"'


def line(
    text: str, left: float = 10, top: float = 20, right: float = 110, low: float = 40
) -> TextLine:
    corners = ((left, top), (right, top), (right, low), (left, low))
    return TextLine(text, 0.9, corners)


class Reader:
    """Reads the same in every picture."""

    def __init__(self, *lines: TextLine) -> None:
        self.lines = lines

    def read(self, picture: object) -> tuple[TextLine, ...]:
        return self.lines


def window(page: AppTest) -> AppTest:
    answer = chats().history.branch("local", page.query_params["c"])[-1]
    page.menu_button(key=f"more-{answer.id}").click("reading").run()
    assert not page.exception
    return page


def styles(html: str) -> list[dict[str, str]]:
    return [
        dict(one.split(":", 1) for one in style.split(";"))
        for style in re.findall(r'<div style="(left[^"]*)"', html)
    ]


def test_lines_are_placed_in_shares_of_the_picture_and_turned() -> None:
    level = line("WIDE")
    turned = TextLine("UP", 0.9, ((100, 90), (100, 10), (120, 10), (120, 90)))
    first, second = styles(as_html(b"", (200, 100), "a.png", [level, turned]))
    assert (first["left"], first["top"]) == ("5.000%", "20.000%")
    assert (first["width"], first["height"]) == ("50.000%", "20.000%")
    assert first["transform"] == "rotate(0.00deg)"
    assert float(first["font-size"].removesuffix("cqw")) == pytest.approx(0.8 * 20 / 200 * 100)
    assert (second["left"], second["top"]) == ("50.000%", "90.000%")
    assert second["width"] == "40.000%" and second["height"] == "20.000%"
    assert second["transform"] == "rotate(-90.00deg)"


def test_a_long_line_has_smaller_letters_and_a_wide_script_counts_double() -> None:
    short, long, wide = styles(
        as_html(b"", (200, 100), "a.png", [line("ab"), line("a" * 40), line("出口" * 5)])
    )
    size = {key: float(one["font-size"][:-3]) for key, one in
            {"short": short, "long": long, "wide": wide}.items()}  # fmt: skip
    assert size["long"] < size["wide"] < size["short"]
    assert size["long"] * 0.55 * 40 == pytest.approx(50, abs=0.1)  # percent of the width


def test_nothing_that_was_read_is_a_tag() -> None:
    html = as_html(b"", (10, 10), HOSTILE, [line(HOSTILE), TextLine("", 1, ((0, 0),) * 4)])
    assert html.count("<img") == 1
    assert html.count("&lt;img src=x onerror=&quot;alert(1)&quot;&gt;") == 2
    assert re.findall(r"<(\w+)", html) == ["div", "img", "div", "div", "div"]


def test_the_window_shows_what_was_read_and_copies_it(
    parrot: Parrot, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Reader(line("Bread"), line("1.29", 150, 20, 190, 40), line("TOTAL", 10, 60, 110, 80))
    asked: list[tuple[object, ...]] = []

    def make(*options: object, **named: object) -> Reader:
        asked.append((options, named))
        return reader

    monkeypatch.setattr(vqa.loading, "text_reader", make)
    page = window(ask(opened(), "What?", ("a.png", png()), ("b.png", png("blue"))))
    (shown,) = page.get("dialog")
    assert [one.value for one in shown.caption] == ["a\\.png", "b\\.png"]
    assert [one.value for one in shown.text] == ["Bread\t1.29\nTOTAL"] * 2
    bodies = [one.proto.body for one in shown.get("html")]
    assert sum("read-text" in body for body in bodies) == 2
    assert sum('data-copy="Bread%091.29%0ATOTAL"' in body for body in bodies) == 2
    assert asked == [(("always",), {"stored": False})]  # nothing of a guest's picture on disk


def test_a_picture_without_text_says_so(parrot: Parrot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vqa.loading, "text_reader", lambda *_, **__: Reader())
    (shown,) = window(ask(opened(), "What?", ("a.png", png()))).get("dialog")
    assert [one.value for one in shown.info] == ["No text was read in this picture."]
    assert not shown.text


def test_without_the_extra_there_is_one_clear_line(
    parrot: Parrot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise InputError("reading needs one more package")

    monkeypatch.setattr(vqa.loading, "text_reader", missing)
    (shown,) = window(ask(opened(), "What?", ("a.png", png()))).get("dialog")
    assert len(shown.info) == 1 and "pip install 'vqa[read]'" in shown.info[0].value
    assert not shown.get("html") and not shown.text
