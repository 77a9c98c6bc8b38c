"""The catalogue of texts: both languages say the same, and nothing is missing or left over."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.texts import LANGUAGES, catalogue, formatted, is_mostly_foreign, plain

APP = Path(__file__).parents[2] / "app"


def entries(node: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every text with its key; of a list, each."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from entries(value, f"{name}.{key}" if name else key)
    elif isinstance(node, list):
        for one in node:
            yield from entries(one, name)
    else:
        yield name, node


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_every_text(language: str) -> None:
    english = list(entries(catalogue("en")))
    other = list(entries(catalogue(language)))
    assert [key for key, _ in other] == [key for key, _ in english]
    for (key, text), (_, translated) in zip(english, other, strict=True):
        assert translated.strip(), key
        fields = [sorted(one[1] for one in string.Formatter().parse(t) if one[1]) for t in
                  (text, translated)]  # fmt: skip
        assert fields[0] == fields[1], key


def test_every_text_is_used_and_every_use_has_a_text() -> None:
    sources = [*APP.glob("*.py"), *APP.glob("*.jinja")]
    code = "\n".join(path.read_text() for path in sources)
    used = set(re.findall(r'(?:text|entry)\(\s*f?"([a-z_.{}]+?)["{]', code))
    used |= set(re.findall(r'"([a-z]+\.[a-z_]+)"', code))
    starts = {key for key in used if key.endswith((".", "_"))}
    for key, _ in entries(catalogue("en")):
        assert key in used or any(key.startswith(start) for start in starts), f"{key} is not used"
    keys = {key for key, _ in entries(catalogue("en"))}
    sections = {key.partition(".")[0] for key in keys}
    for key in used - starts:
        if key.partition(".")[0] in sections:
            assert key in keys, f"{key} is not in the catalogue"


@given(st.text())
def test_plain_text_keeps_all_its_characters(text: str) -> None:
    rendered = re.sub(r"\\(.)", r"\1", plain(text)).replace("\u2060", "")
    assert rendered.split() == text.replace("\u2060", "").split()


def test_plain_text_is_no_markup() -> None:
    rendered = plain("![x](http://a.b) :red[y] <b>")
    assert rendered.replace("\u2060", "") == (
        "\\!\\[x\\]\\(http\\:\\/\\/a\\.b\\) \\:red\\[y\\] \\<b\\>"
    )


@pytest.mark.parametrize(
    ("answer", "markdown"),
    [
        ("**Two** cats:\n- black\n- white", "**Two** cats:  \n- black  \n- white"),
        ("It is ![x](http://a.b/c.png)", "It is !\u2060[x](http://a.b/c.png)"),
        ("![x][y]\n\n[y]: //a.b", "!\u2060[x][y]  \n  \n[y]: //a.b"),
        ("`![x](//a.b)`", "`!\u2060[x](//a.b)`"),
        ("$5 to $10", r"\$5 to \$10"),
        ("`$HOME`", "`$HOME`"),
        ("<b>1 < 2</b>\n`<b>`", "\\<b>1 \\< 2\\</b>  \n`<b>`"),
        ("```\na = $b\n```\nfor $1", "```\na = $b\n```  \nfor \\$1"),
        (":red[stop] at 10:30", "\\:\u2060red[stop] at 10:30"),
        (r"\:red[stop] \\:red[stop]", "\\:\u2060red[stop] \\\\\\:\u2060red[stop]"),
        (":红[x] `:red[x]`", "\\:\u2060红[x] `:red[x]`"),
        ("[go](javascript:alert(1))", "[go](javascript\\:\u2060alert(1))"),
        ("left\u202eright", "left\ufffdright"),
        ("", ""),
    ],
)
def test_an_answer_keeps_its_markdown_and_nothing_else(answer: str, markdown: str) -> None:
    assert formatted(answer) == markdown


@pytest.mark.parametrize(
    ("words", "foreign"),
    [
        ("What is in the picture?", False),
        ("Où est le café ?", False),
        ("What does 猫 mean?", False),
        ("这是什么？", True),
        ("Что это?", True),
        ("这是 a cat 吗？图片里有什么", True),
        ("123 ?", False),
        ("", False),
    ],
)
def test_foreign_letters(words: str, foreign: bool) -> None:
    assert is_mostly_foreign(words) is foreign
