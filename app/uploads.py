"""Files that the browser does not upload: nothing is sent while one of them is attached.

A file that is too large, or whose upload breaks off, never reaches the server. Streamlit shows it
with a mark, and sends the rest as if it were not there: a question about it would be answered about
the picture before. The same mark is what `uploads.js` and `page.css` look for.
"""

from __future__ import annotations

import streamlit as st

from app.texts import text

_KEY = "not-uploaded"  # see page.css


def notice(*megabytes: int) -> None:
    """Say why nothing is sent; visible only while a file is there that was not uploaded.

    `megabytes` are the largest sizes, those of the server if there are none.
    """
    sizes = megabytes or (st.get_option("server.maxUploadSize"),)
    with st.container(key=_KEY, border=True):
        words = text("trouble.not_uploaded", size=" / ".join(map(str, sizes)))
        st.markdown(f":red[:material/error: {words}]")
