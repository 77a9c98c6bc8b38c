"""A picture of a conversation, as large as the screen allows, and questions about a part of it."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Literal

import streamlit as st

from app import asking, drafts, model_picker, window
from app.drafts import Draft
from app.error_text import error_text
from app.state import chats, owner
from app.texts import plain, text
from app.thumbnails import jpeg, show_stored
from vqa.chat import MAX_QUESTION
from vqa.chat.service import Upload
from vqa.chat.turn import Mark, StoredPicture, Turn
from vqa.errors import InputError, VQAError
from vqa.inputs.boxes import LEAST, Box, parse_box

_LARGEST = 3072  # pixels of the longer side in the browser; a part is cut out of all there are

_WORDS = (
    "mark", "remove", "fit", "in", "out", "how", "small", "keys", "numbers", "left", "top", "width",
    "height",
)  # fmt: skip
_HERE = Path(__file__).parent / "viewer"
_viewer = st.components.v2.component(
    "vqa_picture_viewer",
    html=(_HERE / "index.html").read_text(encoding="utf-8"),
    css=(_HERE / "index.css").read_text(encoding="utf-8"),
    js=(_HERE / "index.js").read_text(encoding="utf-8"),
    isolate_styles=False,  # Tab does not go from a window's other elements into a shadow root
)


def thumbnail(
    turn: Turn, position: int, width: int, place: Literal["turn", "asked"] = "turn"
) -> None:
    """Show a picture of a turn, and open the window where it is clicked: see page.css.

    Raises OSError or ImageError where its file is gone or broken.
    """
    picture = turn.pictures[position]
    key = f"{place}-{turn.id}-{position}"
    with st.container(key=f"thumb-{key}", width=width, gap=None):
        # where it stands for a second time the button alone is read out
        show_stored(picture, width, None if place == "turn" else "")
        st.button(
            plain(text("picture.enlarge", name=picture.name)),
            type="tertiary",
            key=f"enlarge-{key}",
            on_click=window.open_window,
            args=("picture.heading", _show, turn.id, position),
            kwargs={"wide": True},
        )


def _show(key: str, position: int) -> None:
    """Draw the window of a picture. Raises VQAError where it is gone."""
    turn = chats().history.turn(owner(), key)
    picture = turn.pictures[position]
    with st.container(key="picture-window", gap="small"):
        name = f"viewer-{key}-{position}".replace("_", "-")  # a component takes no two in a row
        box = _marked(picture, name)
        _question(turn.conversation, picture, box)


def _marked(picture: StoredPicture, key: str) -> Box | None:
    """Draw the picture, and return the part that is marked in it now."""
    size = chats().pictures.load_stored(picture).size
    before = None if picture.mark is None else picture.mark.box.values
    result = _viewer(
        key=key,
        data={
            "url": _url(picture.path, picture),
            "name": picture.name,
            "size": size,
            "least": LEAST,
            "box": before,
            "words": {name: text(f"viewer.{name}") for name in _WORDS},
        },
        default={"box": before},
        on_box_change=lambda: None,
    )
    values = result.get("box")
    if values is None:
        return None
    try:
        return parse_box(values, size)
    except InputError as error:  # no browser of ours sends that
        st.warning(plain(error_text(error)))
        return None


@st.cache_resource(max_entries=8, show_spinner=False)
def _url(path: Path, _picture: StoredPicture) -> str:
    """Encode a picture, whose file is named by its content, for the browser."""
    shown = chats().pictures.load_stored(_picture).copy()  # others have it too
    shown.thumbnail((_LARGEST, _LARGEST))
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg(shown, 92)).decode()}"


def _question(conversation: str, picture: StoredPicture, box: Box | None) -> None:
    """Draw what a part is asked about with, and ask."""
    with (
        st.form("picture-question", border=False),
        st.container(horizontal=True, vertical_alignment="bottom"),
    ):
        words = st.text_input(text("picture.question"), max_chars=MAX_QUESTION, width="stretch")
        given = st.segmented_control(
            text("picture.given"), ["alone", "whole"], default="alone", required=True,
            format_func=lambda one: text(f"picture.{one}"),
        )  # fmt: skip
        sent = st.form_submit_button(text("picture.ask"), type="primary", icon=":material/send:")
    if not sent:
        return
    if box is None or not words.strip():
        st.warning(text("picture.no_box" if box is None else "picture.no_question"))
        return
    mark = Mark(box, alone=given == "alone")
    _ask(conversation, words, Upload(picture.name, picture.path.read_bytes(), mark))


def _ask(conversation: str, words: str, part: Upload) -> None:
    """Ask at the end of the conversation, or as soon as the answer before has ended."""
    branch = chats().history.branch(owner(), conversation)
    waits = not model_picker.is_ready() or any(turn.state == "running" for turn in branch)
    if waits and drafts.draft():
        st.warning(text("picture.another_waits"))
        return
    if waits:
        drafts.put(Draft((part,), words))
    else:
        try:
            asking.ask(conversation, words, [part], words)
        except VQAError as error:
            st.error(plain(error_text(error)))
            return
    window.close()
    st.rerun()
