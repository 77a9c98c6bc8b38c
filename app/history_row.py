"""One conversation in the side bar: its picture and title, a dot while it is answered, a menu."""

from __future__ import annotations

import html
import re

import streamlit as st

from app import address, deletion, window
from app.flash_message import report_errors
from app.state import chats, owner
from app.texts import plain, text, without_marks
from app.thumbnails import ICON, icon
from vqa.chat.titles import MAX_TITLE
from vqa.chat.turn import Summary
from vqa.utils.inert import visible

Names = dict[str, str]


def names() -> Names:
    """Return what the elements of all rows are called."""
    keys = ("running", "end", "menu", "rename", "pin", "unpin", "delete")
    return {key: text(f"history.{key}") for key in keys}


def show(
    conversation: Summary, names: Names, search: str, is_answered: bool, can_end: bool
) -> None:
    """Draw a conversation, and where it has the words of the `search`.

    While it `is_answered` it has a dot, and beside that, where one `can_end` it, a button for it.
    """
    key, title = conversation.id, plain(visible(conversation.title))
    with st.container(
        key=f"conversation-{key}", horizontal=True, vertical_alignment="center", gap="xxsmall"
    ):
        content = conversation.picture and icon(conversation.picture)
        if content:
            # the width that it has, or it would be resized in every run; page.css makes it smaller
            st.image(content, width=ICON, alt="")
        st.button(
            title,
            key=f"open-{key}",
            width="stretch",
            type="secondary" if key == st.query_params.get("c") else "tertiary",
            on_click=open_conversation,
            args=(key,),
        )
        if is_answered:
            name = html.escape(names["running"])
            st.html(
                f'<span class="running" role="img" aria-label="{name}" title="{name}"></span>',
                width="content",
            )
        if can_end:
            st.button(
                text("history.of", name=names["end"], title=without_marks(conversation.title)),
                icon=":material/stop_circle:", help=names["end"], type="tertiary",
                key=f"end-{key}", on_click=report_errors(chats().stop_all), args=(owner(), key),
            )  # fmt: skip
        st.menu_button(
            text("history.of", name=names["menu"], title=without_marks(conversation.title)),
            ["rename", "unpin" if conversation.pinned else "pin", "delete"],
            format_func=names.__getitem__, icon=":material/more_vert:", type="tertiary",
            key=f"menu-{key}", on_click=_act, args=(conversation,),
        )  # fmt: skip
    if conversation.place:
        st.html(_place(conversation.place, search))


def open_conversation(key: str | None) -> None:
    """Show a conversation, or a new one."""
    st.session_state.pop("editing", None)
    if key is None:
        address.forget("c")
    else:
        st.query_params["c"] = key


def _place(words: str, search: str) -> str:
    """Mark what was looked for in what stands around it."""
    parts = re.split(f"({re.escape(visible(search.strip()))})", visible(words), flags=re.IGNORECASE)
    marked = (
        f"<mark>{html.escape(part)}</mark>" if at % 2 else html.escape(part)
        for at, part in enumerate(parts)
    )
    return f'<p class="place">{"".join(marked)}</p>'


def _act(conversation: Summary) -> None:
    """Do what was chosen in the menu."""
    key = conversation.id
    chosen = st.session_state[f"menu-{key}"]
    if chosen == "rename":
        window.open_window("history.rename", _rename, key, conversation.title)
    elif chosen == "delete":
        deletion.ask("conversation", key)
    elif chosen is not None:
        report_errors(chats().history.pin)(owner(), key, chosen == "pin")


def _rename(key: str, title: str) -> None:
    """Draw the window for another title. Raises VQAError for one that is refused, or came late."""
    with st.form(f"rename-{key}", border=False):
        named = st.text_input(text("history.title"), visible(title), max_chars=MAX_TITLE)
        submitted = st.form_submit_button(text("turn.keep"), type="primary")
    if submitted:
        chats().history.rename(owner(), key, named)
        window.close()
        st.rerun()
