"""Asking, from whichever part of the page a question comes."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app.sampling_panel import sampling_params
from app.state import chats, host, is_local, owner
from app.texts import is_mostly_foreign, text
from vqa.chat.service import Upload

LARGER = "llava-hf/llava-1.5-7b-hf"  # what to load for more than the model that ships can do


def note_on(typed: str) -> str | None:
    """Say why the loaded model would not understand what was typed; None where it may."""
    if host().choice.name != "embedded" or not is_mostly_foreign(typed):
        return None
    if not is_local():  # who cannot choose another
        return text("chat.english_only_guest")
    return text("chat.english_only", larger=LARGER)


def ask(conversation: str, question: str, pictures: Sequence[Upload], typed: str) -> None:
    """Ask in a conversation; a question about a video has times before what was `typed`.

    Raises VQAError where that is impossible.
    """
    note = note_on(typed)
    if note is not None:
        chats().note(owner(), conversation, question, note, pictures)
    else:
        answer = chats().ask(owner(), conversation, question, pictures, sampling_params())
        st.session_state.awaited = answer
