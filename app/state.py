"""What the page's parts share: the server's model and conversations, and who is asking."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from app.answer_maps import AnswerMaps
from app.browsers import browser_of
from vqa import loading
from vqa.batches import Batches
from vqa.chat.history import History, history_directory
from vqa.chat.model_host import ModelHost
from vqa.chat.page_options import page_options
from vqa.chat.service import ChatService

if TYPE_CHECKING:
    from vqa.reading import TextReader

LOCAL = "local"  # the owner of everything where the page is for this computer alone
_GUESTS_WAITING = 4  # questions of one guest, in several tabs: the memory is shared


@st.cache_resource(show_spinner=False)
def host() -> ModelHost:
    """Return the server's model."""
    return ModelHost(loading.load_choice, page_options().choice)


@st.cache_resource(show_spinner=False)
def load_model() -> None:
    """Begin to load the server's model, once: when the first page is drawn, which it would slow."""
    host().load(host().choice)


@st.cache_resource(show_spinner=False)
def second_host() -> ModelHost:
    """Return the model that the first one is compared with; none is loaded until it is chosen."""
    return ModelHost(loading.load_choice)


@st.cache_resource(show_spinner=False)
def chats() -> ChatService:
    """Return everybody's conversations."""
    max_waiting = None if is_local() else _GUESTS_WAITING
    return ChatService(History(directory()), host().worker, max_waiting)


@st.cache_resource(show_spinner=False)
def answer_maps() -> AnswerMaps:
    """Return the maps of what everybody's answers rest on."""
    return AnswerMaps(host().worker)


@st.cache_resource(show_spinner=False)
def reader() -> TextReader:
    """Return what reads the text in pictures, whatever model answers.

    Nothing of it is stored on disk: pictures may be a guest's. Raises InputError where the extra
    `read` is not installed.
    """
    text_reader = loading.text_reader("always", stored=False)
    assert text_reader is not None
    return text_reader


@st.cache_resource(show_spinner=False)
def batches() -> Batches:
    """Return everybody's files of questions."""
    return Batches(directory() / "batches", host().worker)


def directory() -> Path:
    """Return the directory of conversations, uploads and their results."""
    history = page_options().history
    return Path(history) if history else history_directory()


def is_local() -> bool:
    """Return whether only this computer reaches the page, so that files and models may be named."""
    return page_options().local


def owner() -> str:
    """Return whose conversations are shown."""
    if is_local():
        return LOCAL
    # a browser that keeps no cookies has its conversations until the page is closed
    return browser_of(st.context.cookies) or str(
        st.session_state.setdefault("owner", secrets.token_urlsafe(32))
    )


def keeps_cookies() -> bool:
    """Return whether the browser keeps our cookie, without which it is given no pictures."""
    return bool(browser_of(st.context.cookies)) or not st.context.headers
