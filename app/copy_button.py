"""The button by which copy.js copies a text."""

from __future__ import annotations

import html
from urllib.parse import quote

import streamlit as st

from app.texts import text


def show(words: str) -> None:
    """Draw the button."""
    # as in a URL: Streamlit takes an attribute away in which the end of a comment or tag stands
    copied, name = quote(words, safe=" ", errors="replace"), html.escape(text("turn.copy"))
    st.html(
        f'<button data-copy="{copied}" aria-label="{name}" title="{name}"></button>',
        width="content",
    )
