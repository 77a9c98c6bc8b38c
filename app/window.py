"""The window over the page: it stays until it is closed, whatever else the page draws meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import streamlit as st

from app.error_text import error_text
from app.texts import plain, text
from vqa.errors import VQAError


def open_window(
    title: str, draw: Callable[..., None], *arguments: object, wide: bool = False
) -> None:
    """Open a window, named by a key of the texts, with what `draw` draws of `arguments`."""
    st.session_state.window = title, draw, arguments, wide


def close() -> None:
    """Close the window, with the next run of the script."""
    st.session_state.pop("window", None)


def show() -> None:
    """Draw the window that is open."""
    if "window" in st.session_state:
        title, draw, arguments, wide = st.session_state.window
        width: Literal["large", "small"] = "large" if wide else "small"
        st.dialog(text(title), width=width, on_dismiss=close)(_contents)(draw, arguments)


def _contents(draw: Callable[..., None], arguments: tuple[object, ...]) -> None:
    try:
        draw(*arguments)
    except VQAError as error:  # what it is about is gone
        st.error(plain(error_text(error)))
