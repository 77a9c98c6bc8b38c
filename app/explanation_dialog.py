"""What an answer rests on in its pictures, in a window over the page."""

from __future__ import annotations

import tempfile
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING

import streamlit as st

from app.state import chats, host, owner
from app.texts import plain, text
from vqa.chat.turn import Turn
from vqa.chat.worker import EXCHANGED
from vqa.errors import VQAError

if TYPE_CHECKING:
    from vqa.explain import By


@st.cache_resource(show_spinner=False)
def _one_at_a_time() -> Lock:
    """Return the lock of the browser that explains: it takes much memory, and the others wait."""
    return Lock()


def show(turn: Turn) -> None:
    """Open the window for an answer."""
    st.dialog(text("looking.heading"), width="large")(_window)(turn)


def _window(turn: Turn) -> None:
    from vqa.explain import explain  # a second that the page's start need not take
    from vqa.explain.figure import write_figure

    by: By = st.segmented_control(
        text("looking.by"), ["attention", "occlusion"], default="attention", required=True,
        format_func=lambda one: text(f"looking.{one}"), key="looking-by",
    )  # fmt: skip
    bar = st.progress(0.0, text("looking.working"))

    exchanged = Event()  # the model is, meanwhile

    def tell(done: int, total: int | None) -> None:
        if exchanged.is_set():
            raise VQAError(EXCHANGED)
        bar.progress(min(1.0, done / total) if total else 0.0, text("looking.working"))

    try:
        with _one_at_a_time(), host().worker().beside(exchanged) as answerer:
            if turn.model and turn.model != answerer.name:
                names = {"answered": turn.model, "loaded": answerer.name}
                st.info(plain(text("looking.other_model", **names)))
            branch = chats().history.branch(owner(), turn.conversation, turn.id)
            before = chats().conversation(owner(), branch[:-1], turn.conversation)
            request = before.request()
            explanation = explain(answerer, request, turn.text, by=by, progress=tell)
    except VQAError as error:
        bar.empty()
        st.error(plain(str(error)))
        return
    bar.empty()
    pictures = request.images
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "explanation.png"
        write_figure(path, explanation, pictures, request.messages[-1].text)
        content = path.read_bytes()
    if explanation.warning:
        st.warning(text("looking.nothing"))
    st.image(content, alt=text("looking.heading"))
    st.download_button(
        text("looking.download"),
        content,
        "where-it-looked.png",
        "image/png",
        on_click="ignore",
    )
