"""Deleting, once a window has named what would go too and somebody agreed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import streamlit as st

from app import address, window
from app.flash_message import report_errors
from app.state import chats, owner
from app.texts import text
from vqa.chat.turn import NotFoundError
from vqa.errors import VQAError

Kind = Literal["conversation", "turn", "judgement"]


def ask(kind: Kind, key: str) -> None:
    """Open the window that asks whether a conversation, turn or correction may go."""
    window.open_window("delete.heading", _window, kind, key)


def _window(kind: Kind, key: str) -> None:
    st.write(text(f"delete.{kind}"))
    try:
        count = _judged(kind, key)
    except VQAError:  # it is gone already: to delete it says so
        count = 0
    if count:
        st.warning(text("delete.judged", count=count))
    with st.container(horizontal=True):
        agreed = st.button(text("delete.yes"), type="primary", key="delete-yes")
        if st.button(text("turn.cancel"), key="delete-no") or agreed:
            window.close()
            if agreed:
                report_errors(_delete)(kind, key)
            st.rerun()


def _judged(kind: Kind, key: str) -> int:
    """Count the answers with a thumb or correction that would go."""
    history = chats().history
    if kind == "judgement":
        return 0  # that is what goes
    if kind == "conversation":
        ids = history.turn_ids(owner(), key)
    else:
        ids = history.turn_ids(owner(), history.turn(owner(), key).conversation, key)
    return sum(answer.id in ids for _, answer in history.judged_answers(owner()))


def _delete(kind: Kind, key: str) -> None:
    actions: dict[Kind, Callable[[str, str], None]] = {
        "conversation": chats().delete,
        "turn": chats().delete_turn,
        "judgement": chats().history.take_back,
    }
    actions[kind](owner(), key)
    shown = st.query_params.get("c")
    if shown is not None and not _is_there(shown):
        address.forget("c")


def _is_there(conversation: str) -> bool:
    try:
        chats().history.turn_ids(owner(), conversation)
    except NotFoundError:
        return False
    return True
