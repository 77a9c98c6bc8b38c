"""The page of `vqa app`. Streamlit runs this file from the top for every click and every message.

What lasts longer lies in the history on disk, in the server's model (`app.state`), or in the
session of one browser tab.
"""

from __future__ import annotations

import streamlit as st

from app import address, batch_page, chat_page, corrections_page, scripts, search_page
from app.error_text import error_text
from app.state import is_local, keeps_cookies, load_model
from app.texts import plain, text
from vqa.errors import VQAError

st.set_page_config(text("title"), "🖼️", initial_sidebar_state="auto")
pages = [
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
]  # fmt: skip
if is_local():  # folders of this computer are nobody else's business
    pages.append(
        st.Page(
            search_page.show, title=text("search.page"), icon=":material/image_search:",
            url_path="search",
        )
    )  # fmt: skip
page = st.navigation(pages, position="top")
address.restore(page.url_path)
scripts.load()
if not keeps_cookies():
    st.warning(text("trouble.no_cookies"))
try:
    page.run()
except VQAError as error:  # of the history: nothing can be shown without it
    st.error(plain(error_text(error)))
    st.button(text("model.retry"), icon=":material/refresh:")
finally:
    if page.url_path != "search":  # which has models of its own
        load_model()
