"""What the next question is asked with: its pictures, and the box for its text."""

from __future__ import annotations

import streamlit as st

from app.pictures import TYPES
from app.pictures import show as show_picture
from app.texts import entry, plain, text
from vqa.chat import MAX_PICTURES, MAX_QUESTION
from vqa.chat.kept import Upload
from vqa.images import ImageError, load_image


def pending() -> list[Upload]:
    """Pictures that were added before the question: examples, and those of the camera."""
    found: list[Upload] = st.session_state.setdefault("pending", [])
    return found


def add(picture: Upload) -> None:
    """Add a picture to the next question."""
    pending().append(picture)


def _remove(number: int) -> None:
    del pending()[number]


def keep(question: str, pictures: list[Upload]) -> None:
    """Keep what could not be asked, so that it can be put right."""
    st.session_state.pending = [picture for picture in pictures if _is_good(picture)][:MAX_PICTURES]
    st.session_state.draft = question


def clear() -> None:
    """Forget what has been asked."""
    st.session_state.pending = []
    st.session_state.pop("draft", None)


def show(has_pictures: bool, disabled: bool) -> tuple[str, list[Upload]] | None:
    """Draw it; the question and its pictures where one was sent in this run."""
    with st.bottom:
        suggested = _pending_row(disabled)
        if "draft" in st.session_state:
            st.session_state.question = st.session_state.pop("draft")
        ready = has_pictures or pending()
        said = st.chat_input(
            text("chat.ask") if ready else text("chat.ask_first"),
            key="question",
            accept_file="multiple",
            file_type=TYPES,
            max_chars=MAX_QUESTION,
            disabled=disabled,
        )
    if suggested:
        return suggested, list(pending())
    if said is None or isinstance(said, str):
        return None
    pictures = [*pending(), *(Upload(file.name, file.getvalue()) for file in said.files)]
    if not has_pictures and not pictures:
        st.session_state.draft = said.text
        st.warning(text("chat.no_picture"))
        return None
    return said.text, pictures


def _pending_row(disabled: bool) -> str | None:
    """Pictures that wait, with a way to take them back, and questions to start with."""
    suggested: str | None = None
    if pending():
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
                if st.button(question, key=f"suggested-{number}", disabled=disabled):
                    suggested = question
    if st.toggle(text("chat.camera"), key="camera", disabled=disabled):
        _camera()
    return suggested


def _camera() -> None:
    def take() -> None:
        taken = st.session_state.photo
        if taken is not None:
            add(Upload(f"{text('chat.camera')}.jpg", taken.getvalue()))
            st.session_state.camera = False

    st.camera_input(
        text("chat.take_picture"), key="photo", on_change=take, label_visibility="collapsed"
    )


def _is_good(picture: Upload) -> bool:
    try:
        load_image(picture.content)
    except ImageError as error:
        st.error(plain(f"{picture.name}: {error}"))
        return False
    return True
