"""What strangers write, in files that other programs open: shown, and nothing else."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from vqa.utils.inert import cell, code, fenced, markdown, markdown_line, sheet_cell, visible

NASTY = (
    "![x](http://evil.example/a.png)",
    "![x][1]\n\n[1]: http://evil.example/a.png",
    "[click](javascript:alert(1)) [d](data:text/html,x) [e](<http://evil.example>)",
    "<http://evil.example> <a@evil.example>",
    "http://evil.example/?a_b_c www.evil.example a@evil.example HTTPS://EVIL.example",
    "<img src=x onerror=alert(1)><script>alert(1)</script>",
    "<!-- x\n--> <![CDATA[x]]> <?php x ?> </blockquote></td>",
    "&lt;img src=x&gt; &#60;script&#62; AT&T",
    "`a` ``<b>`` ```\n```html\n<script>\n```",
    "~~~\n<b>\n~~~",
    "a | b\n--- | ---\nhttp://x|<b> | `|` | \\| \\\\|",
    "# head\n## head\nhead\n===\nhead\n---\n- item\n+ item\n* item\n1. item\n12) item\n> quote",
    "    <script>code</script>\n\t<b>code</b>",
    "\\<b> \\\\<b> \\[x](http://evil.example) \\`<b>\\`",
    "**bold** _em_ ~~gone~~ $x$ $$x$$ [^1]: note",
    "photo\u202egnp.exe \u2066x\u2069 a\x00b\x1b[31mc \ud800",
    "a\u2028<b>\x85<i>\x0c<u>",
    "```http://evil.example``` `@me`",
    "",
)
ALLOWED = {"p", "blockquote", "code", "pre", "h1", "h2", "br", "table", "thead", "tbody", "tr",
           "th", "td", "em"}  # fmt: skip


class Rendered(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, attrs))

    def handle_data(self, data: str) -> None:
        self.text += data


def rendered(text: str) -> Rendered:
    """As a renderer shows it that lets every tag through."""
    return Rendered(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
                    .render(text))  # fmt: skip


def assert_inert(page: Rendered) -> None:
    for tag, attributes in page.elements:
        assert tag in ALLOWED, tag
        assert {name for name, _ in attributes} <= {"class"}


def words(text: str) -> list[str]:
    return visible(" ".join(text.splitlines())).replace("\u00a0", " ").split()


@pytest.mark.parametrize("text", NASTY)
def test_nothing_is_interpreted_and_all_is_shown(text: str) -> None:
    for page in (
        rendered(markdown(text)),
        rendered(f"# {markdown_line(text)}"),
        rendered("\n".join(f"> {line}" for line in markdown(text).split("\n"))),
    ):
        assert_inert(page)
        assert words(page.text) == words(text)
        assert {tag for tag, _ in page.elements} <= {"p", "code", "h1", "blockquote"}
    page = rendered(f"| a | b |\n|---|---|\n| {cell(text)} | end |")
    assert_inert(page)
    assert [tag for tag, _ in page.elements].count("td") == 2
    assert "".join(words(page.text)) == "ab" + "".join(words(text)) + "end"
    page = rendered("\n".join(fenced([text, "```", "end"], "bash")) + "\nafter")
    assert [tag for tag, _ in page.elements] == ["pre", "code", "p"]
    page = rendered(f"x {code(text)} y" if text else "")
    assert [tag for tag, _ in page.elements] in (["p", "code"], [])


@hypothesis_settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([*"\\`*_[]<>()!|~#-+=:/.@&1 \n\t", "http://x", "www.x", "b", "&lt;",
                                 "<b>", "data:x"]), max_size=30).map("".join))  # fmt: skip
def test_no_text_becomes_markup(text: str) -> None:
    page = rendered(f"before\n\n{markdown(text)}\n\nafter")
    assert_inert(page)
    assert {tag for tag, _ in page.elements} <= {"p", "code"}
    page = rendered(f"| a |\n|---|\n| {cell(text)} |\n\n> {markdown_line(text)}")
    assert_inert(page)
    assert [tag for tag, _ in page.elements].count("td") == 1


def test_addresses_stand_as_code_which_no_renderer_makes_a_link_of() -> None:
    text = markdown(
        "see https://evil.example/a_b, www.evil.example (me@evil.example) in the data: 5"
    )
    assert text == (
        "see `https://evil.example/a_b,` `www.evil.example` `(me@evil.example)` in the data: 5"
    )
    assert not re.search(r"(?<![`\w(])(https?://|www\.|me@)", text)


def test_plain_sentences_stay_as_they_are() -> None:
    text = "It's a red bus (No. 12): 3 people, 50 % off! 这是什么？ مرحبا"
    assert markdown(text) == text


def test_a_long_text_takes_no_time() -> None:
    for text in ("a" * 300_000, "`" * 300_000, "<" * 300_000, "1" * 300_000, "a:" * 150_000):
        assert len(markdown(text)) >= len(text)


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+cmd|' /C calc'!A0",
        "-1+1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        "\uff1d1",
        "-",
        "--5",
    ],
)
def test_a_formula_is_a_text_for_a_spreadsheet(text: str) -> None:
    assert sheet_cell(text) == f"'{text}"


@pytest.mark.parametrize(
    "text", ["", "-3", "+3", "-0.5", "-0,5", "-3%", "-1e-05", "1+1", "a=b", " =1", "red"]
)
def test_other_texts_and_numbers_stay_in_a_spreadsheet(text: str) -> None:
    assert sheet_cell(text) == text


def test_a_block_of_no_lines() -> None:
    assert fenced([]) == ["```", "```"]
