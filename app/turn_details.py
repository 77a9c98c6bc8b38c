"""What is behind an answer: model, times and tokens, hints, and the pictures as they reached it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st
from PIL.Image import Image

from app.state import chats, host, owner
from app.texts import text
from vqa.answering import SupportsEncoderView, word_count
from vqa.chat.turn import StoredPicture, Turn, model_parts, model_turns
from vqa.errors import InputError, VQAError
from vqa.inputs.boxes import Box

_WIDTH = 150  # pixels of a picture


def figures(turn: Turn, text: Callable[..., str] = text) -> str:
    """Say in one line how long the answer took, how fast it was written, and how sure it is."""
    about = turn.about
    seconds = about["seconds"]
    parts = []
    if seconds["total"]:
        parts.append(text("turn.seconds", seconds=f"{seconds['total']:.1f}"))
    writing = seconds["total"] - seconds["first_token"]
    if 0 < writing < about["new_tokens"] - 1:  # 1 token a second at least
        parts.append(text("turn.speed", tokens=f"{(about['new_tokens'] - 1) / writing:.0f}"))
    if about["probability"] is not None and turn.text:
        key = "turn.sure" if word_count(turn.text) == 1 else "turn.sure_each"
        parts.append(text(key, percent=percent(about["probability"])))
    return " · ".join(parts)


def percent(probability: float) -> str:
    """Write a probability in percent; what is not impossible is not 0."""
    return f"{probability:.0%}" if probability >= 0.005 else "<1%"


def show(key: str) -> None:
    """Draw the details of an answer. Raises VQAError where it is gone."""
    turn = chats().history.turn(owner(), key)
    about: dict[str, Any] = turn.about
    rows = {text("turn.model"): turn.model}
    rows[text("turn.first_token")] = text(
        "turn.seconds", seconds=f"{about['seconds']['first_token']:.2f}"
    )
    rows[text("turn.tokens")] = text(
        "turn.token_counts",
        pictures=about["image_tokens"],
        prompt=about["prompt_tokens"],
        answer=about["new_tokens"],
    )
    rows |= _hints(about.get("hints", ()))
    for name, value in rows.items():
        st.caption(name)
        st.text(value)
    _encoder_views(turn)


def _hints(blocks: Sequence[str]) -> dict[str, str]:
    """Say what stood before the question of each picture, by its kind; a line for each picture."""
    marks = {text("turn.names"): "[names:", text("turn.text"): "[text:"}
    lines = [line for block in blocks for line in block.splitlines()]
    rows = {
        name: "\n".join(line[len(mark) : -1].strip() for line in lines if line.startswith(mark))
        for name, mark in marks.items()
    }
    return {name: value for name, value in rows.items() if value}


@st.cache_resource(max_entries=64, show_spinner=False)
def _view(
    path: str, model: str, box: Box | None, _answerer: SupportsEncoderView, _picture: StoredPicture
) -> Image:
    """Show a picture as it reaches a model; small, and asked for at every click."""
    return _answerer.encoder_view(chats().pictures.load_stored(_picture, box))


def _encoder_views(turn: Turn) -> None:
    """Draw the pictures of the conversation so far, as they reach the model that is loaded now."""
    try:
        answerer = host().worker().answerer
    except VQAError:
        return
    if not isinstance(answerer, SupportsEncoderView):
        return
    branch = chats().history.branch(owner(), turn.conversation, turn.id)
    pictures = [
        (picture, box)
        for before in model_turns(branch[:-1])
        for picture in before.pictures
        for box in model_parts(picture.mark)
    ]
    if pictures:
        st.caption(text("turn.as_seen"))
    with st.container(horizontal=True):
        for picture, box in pictures:
            try:
                view = _view(str(picture.path), answerer.name, box, answerer, picture)
            except InputError:
                continue  # beside its question stands that it is gone
            st.image(view, width=min(_WIDTH, view.width), alt=picture.name)
