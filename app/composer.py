"""What the next question is asked with: its pictures, and the box for its text."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from app import clips, trouble
from app.pictures import TYPES
from app.pictures import show as show_picture
from app.texts import entry, text
from vqa.chat import MAX_PICTURES, MAX_QUESTION
from vqa.chat.kept import Upload
from vqa.images import ImageError
from vqa.video import is_video


def pending() -> list[Upload]:
    """Pictures that were added before the question: examples, and those of the camera."""
    found: list[Upload] = st.session_state.setdefault("pending", [])
    return found


def add(picture: Upload) -> None:
    """Add a picture to the next question."""
    pending().append(picture)


def _remove(number: int) -> None:
    del pending()[number]


def keep(question: str, pictures: list[Upload], why: str) -> None:
    """Keep what could not be asked, so that it can be put right, and say why: of each picture.

    Of too many pictures the first are kept, and the others are not even decoded. Videos are not
    kept: `why` is said of them.
    """
    good, reasons = [], []
    pictures = [picture for picture in pictures if not is_video(picture.content)]
    for picture in pictures[:MAX_PICTURES]:
        try:
            picture.load()
        except ImageError as error:
            reasons.append(str(error))
        else:
            good.append(picture)
    st.session_state.pending = good
    st.session_state.draft = question
    trouble.keep("\n".join(reasons) or why)


def clear() -> None:
    """Forget what has been asked."""
    st.session_state.pending = []
    st.session_state.pop("draft", None)


def show(
    ask: Callable[[str, list[Upload]], None],
    has_pictures: bool,
    disabled: bool,
    stop: Callable[[], None] | None,
) -> None:
    """Draw it. What is sent goes to `ask`, before the script runs again.

    `stop` ends the answer that is being written, where one is.
    """

    def submit() -> None:
        said = st.session_state.question
        pictures = [*pending(), *(Upload(file.name, file.getvalue()) for file in said.files)]
        if has_pictures or pictures:
            ask(said.text, pictures)
        else:
            keep(said.text, [], text("chat.no_picture"))

    with st.bottom:
        # the same elements in every run: what stood where nothing stands now would stay for long
        notice, waiting, tools = st.empty(), st.empty(), st.empty()
        with notice.container():
            trouble.show()
        if pending():
            with waiting.container():
                _pending(ask, disabled)
        with tools.container():
            if stop is not None:
                st.button(
                    text("chat.stop"), icon=":material/stop_circle:", on_click=stop, key="stop",
                    shortcut="Escape",
                )  # fmt: skip
            elif st.toggle(text("chat.camera"), key="camera", disabled=disabled):
                _camera()
    if "draft" in st.session_state:
        st.session_state.question = st.session_state.pop("draft")
    # not `with st.bottom`: a box that places itself there makes the page follow the answer
    st.chat_input(
        text("chat.ask") if has_pictures or pending() else text("chat.ask_first"),
        key="question",
        accept_file="multiple",
        file_type=[*TYPES, *clips.TYPES],
        max_chars=MAX_QUESTION,
        disabled=disabled,
        on_submit=submit,
    )


def _pending(ask: Callable[[str, list[Upload]], None], disabled: bool) -> None:
    """Pictures that wait, with a way to take them back, and questions to start with."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        for number, picture in enumerate(pending()):
            with st.container(width=90, gap="xxsmall"):
                show_picture(picture.content, 90, picture.name)
                st.button(
                    text("chat.remove"),
                    key=f"remove-{number}-{picture.name}",
                    type="tertiary",
                    on_click=_remove,
                    args=(number,),
                )
    with st.container(horizontal=True, gap="small"):
        for number, question in enumerate(entry("chat.example_questions")):
            st.button(
                question, key=f"suggested-{number}", disabled=disabled, on_click=ask,
                args=(question, list(pending())),
            )  # fmt: skip


def _camera() -> None:
    def take() -> None:
        taken = st.session_state.photo
        if taken is not None:
            add(Upload(f"{text('chat.camera')}.jpg", taken.getvalue()))
            st.session_state.camera = False

    st.camera_input(
        text("chat.take_picture"), key="photo", on_change=take, label_visibility="collapsed"
    )
