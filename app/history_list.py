"""The conversations in the side bar, and what can be done with the one that is shown."""

from __future__ import annotations

import streamlit as st

from app import composer
from app.state import chats, owner
from app.texts import plain, text
from vqa.chat.export import as_json, as_markdown
from vqa.chat.history import Turn


def show() -> None:
    """A new one, a search, and the list, the latest first."""
    st.button(
        text("chat.new"), icon=":material/add:", width="stretch", type="primary", on_click=_open,
        args=(None,),
    )  # fmt: skip
    search = st.text_input(
        text("chat.search"), placeholder=text("chat.search"), label_visibility="collapsed",
        icon=":material/search:", key="search",
    )  # fmt: skip
    found = chats().history.conversations(owner(), search)
    if search and not found:
        st.caption(text("chat.nothing_found"))
    with st.container(height=320 if len(found) > 8 else "content", border=False, gap="xxsmall"):
        for one in found:
            st.button(
                plain(one.title),
                key=f"open-{one.id}",
                width="stretch",
                type="secondary" if one.id == st.query_params.get("c") else "tertiary",
                on_click=_open,
                args=(one.id,),
            )


def _open(conversation: str | None) -> None:
    composer.clear()
    st.session_state.pop("editing", None)
    if conversation is None:
        st.query_params.pop("c", None)
    else:
        st.query_params["c"] = conversation


def actions(branch: list[Turn]) -> None:
    """Export the conversation, or delete it."""
    key = branch[0].conversation

    def delete() -> None:
        chats().delete(owner(), key)
        _open(None)

    with st.sidebar, st.container(horizontal=True):
        with st.popover(text("chat.export"), icon=":material/download:"):
            st.download_button(
                text("chat.export_markdown"), lambda: as_markdown(branch), "conversation.md",
                "text/markdown", on_click="ignore",
            )  # fmt: skip
            st.download_button(
                text("chat.export_json"), lambda: as_json(branch), "conversation.json",
                "application/json", on_click="ignore",
            )  # fmt: skip
        st.button(
            text("turn.delete"), icon=":material/delete:", help=text("chat.delete_conversation"),
            on_click=delete, key="delete-conversation",
        )  # fmt: skip
