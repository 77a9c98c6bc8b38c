"""What is asked next in each conversation: its pictures, and a question that waits for its turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

import streamlit as st

from app import address
from app.state import owner
from vqa.chat.service import Upload
from vqa.utils.lru import LRUCache

_MOST = 1 << 30  # bytes of all drafts of the server: the oldest go first


@dataclass(frozen=True)
class Draft:
    """The next message of a conversation, as far as it is there."""

    pictures: Sequence[Upload] = ()
    question: str = ""  # sent already: it is asked when the answer before it has ended

    def __bool__(self) -> bool:
        return bool(self.pictures or self.question)


@st.cache_resource(show_spinner=False)
def _store() -> tuple[LRUCache[Draft], Lock]:
    return LRUCache(_MOST), Lock()


def draft() -> Draft:
    """Return the draft of the conversation that is shown, which outlives the page."""
    return _exchange(None)


def put(draft: Draft) -> None:
    """Store it in place of the one before."""
    if draft:
        address.name_draft()
    _exchange(draft)


def take() -> Draft:
    """Return the draft and leave none; of several tabs only one gets it."""
    return _exchange(Draft())


def _exchange(new: Draft | None) -> Draft:
    """Return the stored draft; `new` takes its place, if there is one."""
    name = address.draft()
    if name is None:
        return Draft()  # nothing was attached yet
    key, (store, lock) = f"{owner()} {name}", _store()
    with lock:
        stored = store.get(key) or Draft()
        if new is not None:
            store.drop(key)
        if new:
            size = sum(len(picture.content) for picture in new.pictures)
            store.put(key, new, size + len(new.question))
    return stored
