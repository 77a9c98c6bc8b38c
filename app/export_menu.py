"""The files that a conversation is downloaded as."""

from __future__ import annotations

from functools import partial

import streamlit as st

from app.error_text import message_in
from app.export_html import as_html
from app.state import chats, owner
from app.texts import language, text
from vqa.chat.export import as_json, as_markdown


def show(conversation: str) -> None:
    """Draw a button for each format; a file is made when it is clicked."""
    me, words = owner(), language()  # the files are made later, where nobody is known
    history = chats().history

    def page() -> str:
        return as_html(
            history.branch(me, conversation),
            history.turns(me, conversation),
            history.system(me, conversation),
            chats().pictures.load_stored,
            words,
        )

    def data() -> str:
        return as_json(
            history.branch(me, conversation),
            history.turns(me, conversation),
            history.system(me, conversation),
            partial(message_in, "en"),
        )

    with st.popover(text("chat.export"), icon=":material/download:"):
        for label, make, name, kind in (
            ("html", page, "conversation.html", "text/html"),
            ("json", data, "conversation.json", "application/json"),
            ("markdown", lambda: as_markdown(history.branch(me, conversation)),
             "conversation.md", "text/markdown"),
        ):  # fmt: skip
            st.download_button(text(f"chat.export_{label}"), make, name, kind, on_click="ignore")
