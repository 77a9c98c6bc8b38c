"""The button by which copy.js copies a text."""

from __future__ import annotations

import html

import streamlit as st

from app.texts import text


def show(words: str) -> None:
    """Draw the button."""
    copied, name = (html.escape(one).replace("\n", "&#10;") for one in (words, text("turn.copy")))
    st.html(
        f'<button data-copy="{copied}" aria-label="{name}" title="{name}"></button>',
        width="content",
    )
