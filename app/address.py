"""What the address holds stays as one goes from page to page, where Streamlit empties it."""

from __future__ import annotations

import secrets

import streamlit as st


def restore(page: str) -> None:
    """Put back what a step to another page took out of the address; `page` is the one to be drawn.

    On one page the address is right as it is: what is gone there was taken out on purpose.
    """
    before: dict[str, str] = st.session_state.get("address", {})
    if st.session_state.get("page", page) != page:
        for name in before.keys() - st.query_params.keys():
            st.query_params[name] = before[name]
    st.session_state.page = page
    st.session_state.address = st.query_params.to_dict()


def forget(name: str) -> None:
    """Take a name out of the address, and out of that of the pages that come after this one."""
    st.query_params.pop(name, None)
    st.session_state.get("address", {}).pop(name, None)
    if name == "draft":
        st.session_state.pop("draft_name", None)


def draft() -> str | None:
    """Return the name of what is asked next: the conversation's, or of one that is not begun."""
    named = st.query_params.get("draft") or st.session_state.get("draft_name")
    return st.query_params.get("c") or named


def name_draft() -> None:
    """Give what is asked next a name, if it has none."""
    if draft() is None:  # what comes from the browser meanwhile does not know the name yet
        st.session_state.draft_name = st.query_params["draft"] = secrets.token_urlsafe(12)
