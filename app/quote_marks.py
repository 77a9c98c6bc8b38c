"""Answers on the page, in which what they quote of the text in their pictures is marked."""

from __future__ import annotations

import re
from functools import lru_cache

import streamlit as st

from app.texts import formatted, text
from vqa.chat.turn import Turn
from vqa.reading import marked, quoted_spans, read_rows

# Private characters stand for the marks until the rest is escaped.
_BEGIN, _END = "\ue000", "\ue001"
_MARK = re.compile(f"(\\S?){_BEGIN}([^{_BEGIN}{_END}]*){_END}(?=(\\S?))")
_JOINER = "\u2060"  # nobody sees it, and it keeps the mark apart from signs of Markdown
# where a mark would be shown as it is written, or break what stands there: code, the number of a
# list's item, addresses, and signs that are written by name
_UNMARKED = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`|^(?: {4}|\t)[^\n]*|^[ >]*\d+[.)](?=\s)|^ *\[[^\]\n]*\]:[^\n]*"
    r"|\]\([^)\n]*|[^\s()\[\]]*(?:://|www\.|@)\S*|&#?\w+;",
    re.DOTALL | re.MULTILINE | re.IGNORECASE,
)


def show(answer: Turn) -> None:
    """Draw the text of an answer, and say of what is marked why."""
    words, any_marked = markdown(answer.text, tuple(answer.about.get("hints", ())))
    st.markdown(words, anchors=False)
    if any_marked:
        st.caption(text("turn.quotes"))


@lru_cache(maxsize=256)
def markdown(answer: str, hints: tuple[str, ...]) -> tuple[str, bool]:
    """Format an answer with marks, and tell whether there are any."""
    rows = read_rows(hints)
    if not rows or _BEGIN in answer or _END in answer:
        return formatted(answer), False
    unmarked = [match.span() for match in _UNMARKED.finditer(answer)]
    spans = [
        (start, end)
        for start, end in quoted_spans(answer, rows)
        if not any(start < after and before < end for before, after in unmarked)
    ]
    words = formatted(marked(answer, spans, lambda words: f"{_BEGIN}{words}{_END}"))
    return _MARK.sub(_directive, words), bool(spans)


def _directive(match: re.Match[str]) -> str:
    before, words, after = match.groups()
    start, end = _JOINER if before else "", _JOINER if after else ""
    return f"{before}{start}:blue-background[{words}]{end}"
