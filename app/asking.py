"""Asking, from whichever part of the page a question comes."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app.sampling_panel import sampling_params
from app.state import chats, host, is_local, owner
from app.texts import is_mostly_foreign, text
from vqa.chat.service import Upload

LARGER = "llava-hf/llava-1.5-7b-hf"  # what to load for more than the model that ships can do


def ask(conversation: str, question: str, pictures: Sequence[Upload]) -> None:
    """Ask in a conversation. Raises VQAError where that is impossible."""
    if host().choice.name == "embedded" and is_mostly_foreign(question):
        guest = text("chat.english_only_guest")  # who cannot choose another
        note = text("chat.english_only", larger=LARGER) if is_local() else guest
        chats().note(owner(), conversation, question, note, pictures)
    else:
        answer = chats().ask(owner(), conversation, question, pictures, sampling_params())
        st.session_state.awaited = answer
