"""What could not be done: told when the script has run again, beside what was typed."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from app.texts import plain
from vqa.errors import VQAError


def keep(message: str) -> None:
    """Keep what went wrong until it is shown."""
    st.session_state.trouble = message


def show() -> None:
    """Say once what was kept."""
    message = st.session_state.pop("trouble", None)
    if message is not None:
        st.error(plain(message))


def told(action: Callable[..., object]) -> Callable[..., None]:
    """The action as what a click calls: where it cannot be done, the page says why."""

    def act(*arguments: object) -> None:
        try:
            action(*arguments)
        except VQAError as error:
            keep(str(error))

    return act
