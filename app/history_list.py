"""The conversations in the side bar, and what can be done with the one that is shown."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import groupby

import streamlit as st

from app import deletion, export_menu, history_row
from app.error_text import error_text
from app.state import chats, owner
from app.texts import local_time, plain, text
from app.thumbnails import make_icons
from vqa.chat.turn import StoredPicture, Summary, Turn
from vqa.errors import InputError

_ROWS = 20  # conversations that are drawn, and how many more with a click
_TALL = 480  # pixels of a list that is scrolled
_ICON_SECONDS = 0.3  # for making pictures of the list, in a run of the page
_EVERY = 2  # seconds between looks at what is answered in other conversations


def show(branch: list[Turn]) -> None:
    """Draw the list with its search, a new conversation, and the actions on `branch`."""
    st.button(
        text("chat.new"), icon=":material/add:", width="stretch", type="primary", key="new",
        on_click=history_row.open_conversation, args=(None,),
    )  # fmt: skip
    search = st.text_input(
        text("chat.search"), placeholder=text("chat.search"), label_visibility="collapsed",
        type="search", live="300ms", key="search", bind="query-params",
    )  # fmt: skip
    conversations, has_more = _listed(search)
    if search and not conversations:
        st.caption(text("chat.nothing_found"))
    pictures = [one.picture for one in conversations if one.picture is not None]
    has_icons = make_icons(pictures, _ICON_SECONDS)
    running = chats().running(owner())
    shown = next((turn.conversation for turn in branch if turn.state == "running"), None)
    others = running.keys() - {shown}
    names, now = history_row.names(), local_time(datetime.now(UTC))
    with st.container(
        height=_TALL if len(conversations) > 8 else "content", border=False, gap="xxsmall"
    ):
        for group, members in groupby(conversations, partial(_group, now=now)):
            st.caption(text(f"history.{group}"))
            for one in members:
                history_row.show(one, names, search, one.id in running, one.id in others)
        if has_more:
            st.button(text("history.more"), key="show-more", width="stretch", on_click=_more)
    if branch:
        _actions(branch)
    if others or not has_icons:
        st.session_state.whole_list = True
        _watch(others, shown, pictures, has_icons)


def _listed(search: str) -> tuple[list[Summary], bool]:
    """Return the conversations to draw, and whether there are more."""
    rows = st.session_state.get("rows", _ROWS)
    history = chats().history
    try:
        conversations = history.conversations(owner(), search, rows + 1)
    except InputError as error:  # far too long
        st.error(plain(error_text(error)))
        conversations = history.conversations(owner(), limit=rows + 1)
    return conversations[:rows], len(conversations) > rows


def _more() -> None:
    st.session_state.rows = st.session_state.get("rows", _ROWS) + _ROWS


def _group(conversation: Summary, now: datetime) -> str:
    if conversation.pinned:
        return "pinned"
    return day_group(conversation.changed.replace(tzinfo=UTC).astimezone(now.tzinfo), now)


def day_group(moment: datetime, now: datetime) -> str:
    """Name the days in which a moment lies, by the calendar of its zone."""
    days = (now.date() - moment.date()).days
    limits = {"today": 0, "yesterday": 1, "week": 7, "month": 30}
    return next((name for name, most in limits.items() if days <= most), "older")


@st.fragment(run_every=_EVERY)
def _watch(
    others: set[str], shown: str | None, pictures: Sequence[StoredPicture], has_icons: bool
) -> None:
    """Draw the page anew once an answer in another conversation has ended.

    Until then this costs one query, and nothing is drawn. Icons that are lacking are made here too,
    and drawn when all are there.
    """
    if st.session_state.pop("whole_list", False):
        return
    has_changed = chats().running(owner()).keys() - {shown} != others
    if has_changed or (not has_icons and make_icons(pictures, _ICON_SECONDS)):
        st.rerun()


def _actions(branch: list[Turn]) -> None:
    """Export the conversation, or delete it."""
    with st.container(horizontal=True):
        export_menu.show(branch[0].conversation)
        st.button(
            text("turn.delete"), icon=":material/delete:", help=text("chat.delete_conversation"),
            key="delete-conversation",
            on_click=deletion.ask, args=("conversation", branch[0].conversation),
        )  # fmt: skip
