"""The page of `vqa app`. Streamlit runs this file from the top for every click and every message.

What lasts longer lies in the history on disk, in the server's model (`app.state`), or in the
session of one browser tab.
"""

from __future__ import annotations

import streamlit as st

from app import batch_page, chat_page, corrections_page
from app.texts import text

st.set_page_config(text("title"), "🖼️", initial_sidebar_state="auto")
st.navigation(
    [
        st.Page(
            chat_page.show, title=text("chat.page"), icon=":material/chat:", default=True,
            url_path="chat",
        ),
        st.Page(
            batch_page.show, title=text("batch.page"), icon=":material/table_rows:",
            url_path="batch",
        ),
        st.Page(
            corrections_page.show, title=text("corrections.page"), icon=":material/rate_review:",
            url_path="corrections",
        ),
    ],
    position="top",
).run()  # fmt: skip
