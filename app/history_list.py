"""The conversations in the side bar, and what can be done with the one that is shown."""

from __future__ import annotations

import streamlit as st

from app import address, deletion, export_menu
from app.state import chats, owner
from app.texts import plain, text
from vqa.chat.turn import Turn
from vqa.errors import InputError


def show(branch: list[Turn]) -> None:
    """Draw the list with its search, a new conversation, and the actions on `branch`."""
    st.button(
        text("chat.new"), icon=":material/add:", width="stretch", type="primary", on_click=_open,
        args=(None,),
    )  # fmt: skip
    search = st.text_input(
        text("chat.search"), placeholder=text("chat.search"), label_visibility="collapsed",
        icon=":material/search:", key="search", bind="query-params",
    )  # fmt: skip
    try:
        conversations = chats().history.conversations(owner(), search)
    except InputError as error:  # far too long
        st.error(plain(str(error)))
        search, conversations = "", chats().history.conversations(owner())
    if search and not conversations:
        st.caption(text("chat.nothing_found"))
    many = len(conversations) > 8
    with st.container(height=320 if many else "content", border=False, gap="xxsmall"):
        for conversation in conversations:
            st.button(
                plain(conversation.title),
                key=f"open-{conversation.id}",
                width="stretch",
                type="secondary" if conversation.id == st.query_params.get("c") else "tertiary",
                on_click=_open,
                args=(conversation.id,),
            )
    if branch:
        _actions(branch)


def _open(conversation: str | None) -> None:
    st.session_state.pop("editing", None)
    if conversation is None:
        address.forget("c")
    else:
        st.query_params["c"] = conversation


def _actions(branch: list[Turn]) -> None:
    """Export the conversation, or delete it."""
    with st.container(horizontal=True):
        export_menu.show(branch[0].conversation)
        st.button(
            text("turn.delete"), icon=":material/delete:", help=text("chat.delete_conversation"),
            key="delete-conversation",
            on_click=deletion.ask, args=("conversation", branch[0].conversation),
        )  # fmt: skip
