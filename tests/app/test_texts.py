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

from app.texts import LANGUAGES, catalogue, plain

APP = Path(__file__).parents[2] / "app"


def entries(found: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every text with its key; of a list, each."""
    if isinstance(found, dict):
        for key, value in found.items():
            yield from entries(value, f"{name}.{key}" if name else key)
    elif isinstance(found, list):
        for one in found:
            yield from entries(one, name)
    else:
        yield name, found


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
    code = "\n".join(path.read_text() for path in APP.glob("*.py"))
    used = set(re.findall(r'(?:text|entry)\(\s*f?"([a-z_.{}]+?)["{]', code))
    used |= set(re.findall(r'"([a-z]+\.[a-z_]+)"', code))
    starts = {key for key in used if key.endswith((".", "_"))}
    for key, _ in entries(catalogue("en")):
        assert key in used or any(key.startswith(start) for start in starts), f"{key} is not used"
    known = {key for key, _ in entries(catalogue("en"))}
    sections = {key.partition(".")[0] for key in known}
    for key in used - starts:
        if key.partition(".")[0] in sections:
            assert key in known, f"{key} is not in the catalogue"


@given(st.text())
def test_plain_text_keeps_all_its_characters(text: str) -> None:
    shown = re.sub(r"\\(.)", r"\1", plain(text)).replace("\u2060", "")
    assert shown.split() == text.replace("\u2060", "").split()


def test_plain_text_is_no_markup() -> None:
    shown = plain("![x](http://a.b) :red[y] <b>")
    assert shown.replace("\u2060", "") == (
        "\\!\\[x\\]\\(http\\:\\/\\/a\\.b\\) \\:red\\[y\\] \\<b\\>"
    )
