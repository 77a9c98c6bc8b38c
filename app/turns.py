"""One question or answer on the page, and what can be done with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import streamlit as st

from app import (
    asking,
    comparison,
    copy_button,
    deletion,
    map_layer,
    picture_window,
    quote_marks,
    text_window,
    turn_details,
    window,
)
from app.error_text import error_text, message_text
from app.flash_message import report_errors
from app.sampling_panel import sampling_params
from app.state import chats, owner
from app.texts import plain, text
from vqa.chat.page_options import page_options
from vqa.chat.turn import StoredPicture, Turn
from vqa.errors import VQAError
from vqa.inputs.images import ImageError

_ONE, _SEVERAL = 320, 150  # pixels of width for a picture alone; among others, or with a mark


def message(turn: Turn) -> st.delta_generator.DeltaGenerator:
    """Make the frame of a turn."""
    icons = {"user": ":material/person:", "assistant": ":material/auto_awesome:"}
    return st.chat_message(turn.role, avatar=icons[turn.role])


def show(turn: Turn, answer: Turn | None = None) -> None:
    """Draw a turn; one that is being written is left to who follows it.

    Over the pictures of a question lies the map of the `answer` that is shown after it, if wanted.
    """
    if turn.role == "assistant" and turn.state == "running":
        return
    with message(turn):
        if turn.role == "user":
            _question(turn, answer)
        else:
            _answer(turn)


def _question(turn: Turn, answer: Turn | None) -> None:
    mapped = map_layer.pictures(turn, answer)
    with st.container(horizontal=True, key=map_layer.key(answer)):
        for at, picture in enumerate(turn.pictures if not mapped else ()):
            width = _SEVERAL if len(turn.pictures) > 1 or picture.mark else _ONE
            with _or_gone(picture):
                picture_window.thumbnail(turn, at, width)
        for part in mapped:
            with _or_gone(part.picture):
                map_layer.show_picture(part, _ONE if len(mapped) == 1 else _SEVERAL)
    if st.session_state.get("editing") == turn.id:
        _editor(turn)
        return
    st.text(turn.text)
    with _actions(turn):
        if _button("edit", turn):
            st.session_state.editing = turn.id
            st.rerun()
        if _button("delete", turn):
            deletion.ask("turn", turn.id)
        _versions(turn)


@contextmanager
def _or_gone(picture: StoredPicture) -> Iterator[None]:
    """Say of a picture whose file is gone or broken that it is, in its place."""
    try:
        yield
    except (OSError, ImageError):
        st.warning(plain(text("trouble.picture_gone", name=picture.name)))


def _answer(turn: Turn) -> None:
    if turn.text:
        quote_marks.show(turn)
    for note in _notes(turn):
        st.caption(note)
    if turn.state == "note":
        st.info(turn.notice)
    elif turn.state == "failed":
        st.error(plain(text("chat.failed", reason=message_text(turn.notice))))
    elif turn.notice:  # its end is not written yet
        st.error(plain(message_text(turn.notice)))
    if turn.correction:
        st.success(plain(text("turn.corrected", text=turn.correction)))
    with _actions(turn):
        if turn.state != "note":
            rating(turn)
        if turn.text:
            copy_button.show(turn.text)
        if turn.state != "note" and _button("again", turn):
            _try_to(lambda: chats().answer_again(owner(), turn.id, sampling_params()))
        if turn.state != "note":
            map_layer.toggle(turn)
        _menu(turn)
        _versions(turn)  # behind all that is clicked: a second version moves none of it
        if turn.about:
            st.caption(turn_details.figures(turn), width="content")
    map_layer.show(turn)


def _notes(turn: Turn) -> list[str]:
    notes = []
    if turn.state == "stopped":
        notes.append(text("chat.stopped"))
    if turn.about.get("finish") == "length":
        notes.append(text("chat.cut"))
    if turn.better_than is not None:
        notes.append(text("compare.preferred"))
    least, sure = page_options().min_confidence, turn.about.get("probability")
    if turn.text and least is not None and sure is not None and sure < least:
        notes.append(text("chat.not_sure", percent=turn_details.percent(sure)))
    return notes


def _actions(turn: Turn) -> st.delta_generator.DeltaGenerator:
    """Make the row of icons of a turn: see page.css."""
    return st.container(
        key=f"row-{turn.id}", horizontal=True, vertical_alignment="center", gap="xsmall"
    )


def _button(name: str, turn: Turn) -> bool:
    icons = {"edit": "edit", "again": "refresh", "delete": "delete"}
    return st.button(
        text(f"turn.{name}"),
        icon=f":material/{icons[name]}:",
        help=text(f"turn.{name}_help"),
        type="tertiary",
        key=f"{name}-{turn.id}",
    )


def _menu(turn: Turn) -> None:
    """Draw the menu of what is done with an answer less often."""
    judged, about = turn.state != "note", bool(turn.about)
    compared = comparison.is_offered(turn)
    options = {"correct": judged, "compare": compared, "details": about}
    options |= {"reading": True, "delete": True}
    chosen = st.menu_button(
        text("turn.more"),
        [name for name, offered in options.items() if offered],
        format_func=lambda name: text(f"turn.{name}"),
        icon=":material/more_horiz:",
        type="tertiary",
        key=f"more-{turn.id}",
    )
    if chosen == "correct":
        window.open_window("turn.correct", _correct, turn.id)
    elif chosen == "compare":
        window.open_window("compare.heading", comparison.show, turn.id, wide=True)
    elif chosen == "details":
        window.open_window("turn.details", turn_details.show, turn.id)
    elif chosen == "reading":
        window.open_window("turn.reading", text_window.show, turn.id, wide=True)
    elif chosen == "delete":
        deletion.ask("turn", turn.id)


def _versions(turn: Turn) -> None:
    """Arrows between what was asked or answered at the same place."""
    if len(turn.siblings) < 2:
        return
    at = turn.siblings.index(turn.id)
    for name, icon, other in (
        ("previous", "chevron_left", at - 1),
        ("next", "chevron_right", at + 1),
    ):
        inside = 0 <= other < len(turn.siblings)
        st.button(
            text(f"turn.{name}"),
            icon=f":material/{icon}:",
            type="tertiary",
            key=f"{name}-{turn.id}",
            disabled=not inside,
            on_click=report_errors(chats().history.choose),
            args=(owner(), turn.siblings[other] if inside else turn.id),
        )
        if name == "previous":
            st.caption(
                text("turn.version", number=at + 1, count=len(turn.siblings)), width="content"
            )


def _editor(turn: Turn) -> None:
    with st.form(f"edit-{turn.id}", border=False):
        words = st.text_area(
            text("turn.edit"), turn.text, label_visibility="collapsed", key=f"edited-{turn.id}"
        )
        _enter_hint(turn)
        with st.container(horizontal=True):
            saved = st.form_submit_button(text("turn.save"), type="primary")
            cancelled = st.form_submit_button(text("turn.cancel"))
    if saved and (note := asking.note_on(words)):
        st.warning(note)
    elif saved:
        _try_to(lambda: chats().ask_again(owner(), turn.id, words, sampling_params()))
    if cancelled:
        del st.session_state.editing
        st.rerun()


def _enter_hint(turn: Turn) -> None:
    """Say what Enter does in a form: see box.js."""
    with st.container(key=f"enter-hint-{turn.id}"):
        st.caption(text("turn.enter"))


def _try_to(ask: Callable[[], object]) -> None:
    try:
        ask()
    except VQAError as error:
        st.error(plain(error_text(error)))
        return
    st.session_state.pop("editing", None)
    st.rerun()


def rating(turn: Turn) -> None:
    """Draw the thumbs, which are stored at once."""
    key = f"rating-{turn.id}"

    def rate() -> None:
        thumb = st.session_state[key]  # 0 is down, 1 is up
        chats().history.rate(owner(), turn.id, {0: -1, 1: 1}.get(thumb, 0))

    st.feedback(
        "thumbs",
        key=key,
        default={-1: 0, 1: 1}.get(turn.rating),
        on_change=report_errors(rate),
    )


def _correct(key: str) -> None:
    """Draw the window for what an answer should have been. Raises VQAError where it is gone."""
    turn = chats().history.turn(owner(), key)
    st.text(turn.text)
    with st.form(f"correction-{key}", border=False):
        correction = st.text_area(
            text("turn.correction"), turn.correction, key=f"corrected-{turn.id}"
        )
        _enter_hint(turn)
        if st.form_submit_button(text("turn.keep"), type="primary"):
            report_errors(chats().history.correct)(owner(), key, correction)
            window.close()
            st.rerun()
