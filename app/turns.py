"""One question or answer on the page, and what can be done with it."""

from __future__ import annotations

import streamlit as st
from PIL.Image import Image

from app import looking, trouble
from app.pictures import show as show_picture
from app.settings import generation_settings
from app.state import chats, host, owner
from app.texts import plain, text
from vqa.answering import Viewing
from vqa.chat.turn import Turn
from vqa.cli import page as launcher
from vqa.errors import VQAError
from vqa.images import ImageError, load_image

_ONE, _SEVERAL = 320, 150  # pixels of width for a picture alone, and among others


def message(turn: Turn) -> st.delta_generator.DeltaGenerator:
    """The frame of a turn."""
    icons = {"user": ":material/person:", "assistant": ":material/auto_awesome:"}
    return st.chat_message(turn.role, avatar=icons[turn.role])


def show(turn: Turn) -> None:
    """Draw a turn; one that is being written is left to who follows it."""
    if turn.role == "assistant" and turn.state == "running":
        return
    with message(turn):
        if turn.role == "user":
            _question(turn)
        else:
            _answer(turn)


def _question(turn: Turn) -> None:
    with st.container(horizontal=True):
        for picture in turn.pictures:
            width = _ONE if len(turn.pictures) == 1 else _SEVERAL
            try:
                show_picture(picture.path.read_bytes(), width, picture.name)
            except (OSError, ImageError):
                st.warning(plain(text("trouble.picture_gone", name=picture.name)))
    if st.session_state.get("editing") == turn.id:
        _editor(turn)
        return
    st.text(turn.text)
    with _actions():
        _versions(turn)
        if _button("edit", turn):
            st.session_state.editing = turn.id
            st.rerun()
        _deletion(turn)


def _answer(turn: Turn) -> None:
    if turn.text:
        st.text(turn.text)
    for note in _notes(turn):
        st.caption(note)
    if turn.state == "note":
        st.info(turn.notice)
    elif turn.state == "failed":
        st.error(plain(text("chat.failed", reason=turn.notice)))
    if turn.correction:
        st.success(plain(text("turn.corrected", text=turn.correction)))
    with _actions():
        _versions(turn)
        if turn.state != "note":
            rating(turn)
            if _button("again", turn):
                _try_to(lambda: chats().answer_again(owner(), turn.id, generation_settings()))
            _correction(turn)
            _details(turn)
            if turn.text and _button("look", turn):
                looking.show(turn)
        _deletion(turn)


def _notes(turn: Turn) -> list[str]:
    notes = []
    if turn.state == "stopped":
        notes.append(text("chat.stopped"))
    if turn.about.get("finish") == "length":
        notes.append(text("chat.cut"))
    least, sure = launcher.page_options().min_confidence, turn.about.get("probability")
    if turn.text and least is not None and sure is not None and sure < least:
        notes.append(text("chat.not_sure", percent=f"{sure:.0%}"))
    return notes


def _actions() -> st.delta_generator.DeltaGenerator:
    return st.container(horizontal=True, vertical_alignment="center", gap="small")


def _button(name: str, turn: Turn) -> bool:
    icons = {"edit": "edit", "again": "refresh", "look": "visibility"}
    return st.button(
        text(f"turn.{name}"),
        icon=f":material/{icons[name]}:",
        help=text(f"turn.{name}_help"),
        type="tertiary",
        key=f"{name}-{turn.id}",
    )


def _deletion(turn: Turn) -> None:
    st.button(
        text("turn.delete"),
        icon=":material/delete:",
        help=text("turn.delete_help"),
        type="tertiary",
        key=f"delete-{turn.id}",
        on_click=trouble.told(chats().delete_turn),
        args=(owner(), turn.id),
    )


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
            on_click=trouble.told(chats().history.choose),
            args=(owner(), turn.siblings[other] if inside else turn.id),
        )
        if name == "previous":
            st.caption(
                text("turn.version", number=at + 1, count=len(turn.siblings)), width="content"
            )


def _editor(turn: Turn) -> None:
    with st.form(f"edit-{turn.id}", border=False):
        said = st.text_area(text("turn.edit"), turn.text, label_visibility="collapsed")
        with st.container(horizontal=True):
            asked = st.form_submit_button(text("turn.save"), type="primary")
            left = st.form_submit_button(text("turn.cancel"))
    if asked:
        _try_to(lambda: chats().ask_again(owner(), turn.id, said, generation_settings()))
    if left:
        del st.session_state.editing
        st.rerun()


def _try_to(ask: object) -> None:
    try:
        ask()  # type: ignore[operator]
    except VQAError as error:
        st.error(plain(str(error)))
        return
    st.session_state.pop("editing", None)
    st.rerun()


def rating(turn: Turn) -> None:
    """Thumbs, which are kept at once."""
    key = f"rating-{turn.id}"

    def rate() -> None:
        thumb = st.session_state[key]  # 0 is down, 1 is up
        chats().history.rate(owner(), turn.id, {0: -1, 1: 1}.get(thumb, 0))

    st.feedback(
        "thumbs", key=key, default={-1: 0, 1: 1}.get(turn.rating), on_change=trouble.told(rate)
    )


def _correction(turn: Turn) -> None:
    with (
        st.popover(
            text("turn.correct"),
            icon=":material/rate_review:",
            help=text("turn.correct_help"),
            type="tertiary",
        ),
        st.form(f"correct-{turn.id}", border=False),
    ):
        said = st.text_area(text("turn.correction"), turn.correction)
        if st.form_submit_button(text("turn.keep"), type="primary"):
            trouble.told(chats().history.correct)(owner(), turn.id, said)
            st.rerun()


def _details(turn: Turn) -> None:
    if not turn.about:
        return
    about, seconds = turn.about, turn.about["seconds"]
    with st.popover(text("turn.details"), icon=":material/info:", type="tertiary"):
        rows = {text("turn.model"): turn.model}
        if about["probability"] is not None:
            rows[text("turn.probability")] = f"{about['probability']:.0%}"
        rows[text("turn.first_token")] = text(
            "turn.seconds", seconds=f"{seconds['first_token']:.2f}"
        )
        writing = seconds["total"] - seconds["first_token"]
        if about["new_tokens"] > 1 and writing > 0:
            rows[text("turn.speed")] = f"{(about['new_tokens'] - 1) / writing:.0f}"
        rows[text("turn.tokens")] = text(
            "turn.token_counts",
            pictures=about["image_tokens"],
            prompt=about["prompt_tokens"],
            answer=about["new_tokens"],
        )
        for name, value in rows.items():
            st.caption(name)
            st.text(value)
        _as_seen(turn)


@st.cache_resource(max_entries=64, show_spinner=False)
def _view(path: str, model: str, _answerer: Viewing) -> Image:
    """A picture as it reaches a model; small, and asked for at every click."""
    return _answerer.view(load_image(path))


def _as_seen(turn: Turn) -> None:
    """The pictures of the conversation so far, as they reach the model that is loaded now."""
    try:
        answerer = host().worker().answerer
    except VQAError:
        return
    if not isinstance(answerer, Viewing):
        return
    branch = chats().history.branch(owner(), turn.conversation, turn.id)
    pictures = [picture for before in branch for picture in before.pictures]
    if pictures:
        st.caption(text("turn.as_seen"))
    with st.container(horizontal=True):
        for picture in pictures:
            try:
                seen = _view(str(picture.path), answerer.name, answerer)
            except ImageError:
                continue  # beside its question stands that it is gone
            st.image(seen, width=min(_SEVERAL, seen.width), alt=picture.name)
