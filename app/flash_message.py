"""A message that a click leaves for the run of the script that follows it, which shows it once."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from app.error_text import error_text
from app.texts import plain
from vqa.errors import VQAError


def set_message(message: str) -> None:
    """Store an error for the next run of the script."""
    st.session_state.flash_message = message


def show() -> None:
    """Show the stored error, and remove it."""
    message = st.session_state.pop("flash_message", None)
    if message is not None:
        st.error(plain(message))


def report_errors(action: Callable[..., object]) -> Callable[..., None]:
    """Wrap the action of a click: where it raises VQAError, the page shows the message."""

    def act(*arguments: object) -> None:
        try:
            action(*arguments)
        except VQAError as error:
            set_message(error_text(error))

    return act
