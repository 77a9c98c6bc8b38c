"""Two answers to a question side by side, by another model if wanted, and which one is better."""

from __future__ import annotations

import time
from dataclasses import replace

import streamlit as st

from app import model_picker, window
from app.error_text import message_text
from app.flash_message import report_errors
from app.sampling_panel import sampling_params
from app.state import answer_maps, chats, host, is_local, owner, second_host
from app.texts import formatted, plain, text
from app.turn_details import figures
from vqa.chat.page_options import ModelChoice
from vqa.chat.turn import Turn
from vqa.chat.worker import Worker
from vqa.errors import VQAError

_ANOTHER = ""  # the choice of a model that has not answered yet
_EVERY = 0.2  # seconds between two looks at what is being loaded or written


def is_offered(turn: Turn) -> bool:
    """Return whether there is something to compare an answer with, or may be."""
    return bool(turn.text) and (is_local() or len(turn.siblings) > 1)


def show(key: str) -> None:
    """Draw the window that compares an answer. Raises VQAError where it is gone."""
    service = chats()
    conversation = service.history.turn(owner(), key).conversation
    answer = service.history.branch(owner(), conversation, key)[-1]
    versions = [one for one in answer.siblings if one != key]
    options = [*versions, _ANOTHER] if is_local() else versions
    with_model = {one: service.history.turn(owner(), one).model for one in versions}

    def name(one: str) -> str:
        if one == _ANOTHER:
            return text("compare.another")
        number = answer.siblings.index(one) + 1
        return text("compare.version", number=number, model=with_model[one])

    other = st.selectbox(
        text("compare.other"), options, index=max(len(versions) - 1, 0), format_func=name,
        key=f"compared-{key}-{len(versions)}",  # anew with each version: the latest is chosen
    )  # fmt: skip
    if other == _ANOTHER:
        _ask(answer)
    elif other is not None:
        _side_by_side(answer, other)


def _ask(answer: Turn) -> None:
    """Draw the choice of a second model, and let it answer the same question."""
    st.caption(text("compare.memory"))
    usual = replace(second_host().choice, read=host().choice.read)
    choice = model_picker.choose(usual, "second")
    if st.button(text("compare.ask"), type="primary", disabled=choice is None) and choice:
        answer_maps().drop_in_advance()
        worker = _loaded(choice)
        chats().compare(owner(), answer.id, worker, sampling_params())
        # until one of them is chosen the conversation goes on behind the first
        report_errors(chats().history.choose)(owner(), answer.id)
        st.rerun()


def _loaded(choice: ModelChoice) -> Worker:
    """Return the second model, once it is loaded. Raises VQAError where it cannot be."""
    rival = second_host()
    if rival.choice != choice or not rival.begun or rival.error is not None:
        rival.load(choice)
    with st.spinner(text("model.loading", name=choice.name)):
        while rival.loading:
            time.sleep(_EVERY)
    return rival.worker()


def _side_by_side(answer: Turn, other: str) -> None:
    """Draw both answers, the other as it is written, and a button below each."""
    places = []
    for column, key in zip(st.columns(2), (answer.id, other), strict=True):
        with column, st.container(border=True):
            places.append(st.container())
            if st.button(text("compare.better"), key=f"better-{key}", icon=":material/check:"):
                worse = other if key == answer.id else answer.id
                report_errors(chats().history.prefer)(owner(), key, worse)
                window.close()
                st.rerun()
    with places[0]:
        _answer(answer, answer.siblings.index(answer.id))
    with places[1]:
        job = chats().job(other)
        if job is not None:
            place = st.empty()
            try:
                for _ in job.follow(_EVERY):
                    words = job.text or text("chat.looking")
                    place.markdown(formatted(words), anchors=False)
            except VQAError:
                pass  # the turn says why
            place.empty()
            chats().wait(other)
        _answer(chats().history.turn(owner(), other), answer.siblings.index(other))


def _answer(turn: Turn, position: int) -> None:
    st.caption(plain(text("compare.version", number=position + 1, model=turn.model)))
    st.markdown(formatted(turn.text), anchors=False)
    if turn.notice:
        st.error(plain(message_text(turn.notice)))
    if turn.about:
        st.caption(figures(turn))
