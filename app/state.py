"""What the page's parts share: the server's model and conversations, and who is asking."""

from __future__ import annotations

import secrets
from pathlib import Path

import streamlit as st

from app.browsers import COOKIE, VALID
from vqa.batches import Batches
from vqa.chat.history import History, history_directory
from vqa.chat.host import Host
from vqa.chat.kept import Chats
from vqa.cli import page as launcher

LOCAL = "local"  # the owner of everything where the page is for this computer alone
_GUESTS_WAITING = 4  # questions of one guest, in several tabs: the memory is shared


@st.cache_resource(show_spinner=False)
def host() -> Host:
    """The server's model; it begins to load with the first visit."""
    found = Host(launcher.build_answerer)
    found.load(launcher.page_options().choice)
    return found


@st.cache_resource(show_spinner=False)
def chats() -> Chats:
    """Everybody's conversations."""
    max_waiting = None if is_local() else _GUESTS_WAITING
    return Chats(History(directory()), host().worker, max_waiting)


@st.cache_resource(show_spinner=False)
def batches() -> Batches:
    """Everybody's files of questions."""
    return Batches(directory() / "batches", host().worker)


def directory() -> Path:
    """Where conversations, uploads and their results are kept."""
    named = launcher.page_options().history
    return Path(named) if named else history_directory()


def is_local() -> bool:
    """Whether only this computer reaches the page: then files and models here may be named."""
    return launcher.page_options().local


def owner() -> str:
    """Whose conversations are shown."""
    if is_local():
        return LOCAL
    cookie = str(st.context.cookies.get(COOKIE, ""))
    if VALID.fullmatch(cookie):
        return cookie
    # a browser that keeps no cookies has its conversations until the page is closed
    return str(st.session_state.setdefault("owner", secrets.token_urlsafe(32)))
