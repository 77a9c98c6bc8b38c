"""The chat: conversations, their turns, the answer as it is written, and what to ask with."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from itertools import zip_longest

import streamlit as st

from app import (
    address,
    asking,
    composer,
    drafts,
    history_list,
    map_layer,
    model_picker,
    turns,
    welcome,
    window,
)
from app.error_text import error_text
from app.flash_message import report_errors
from app.sampling_panel import settings_panel, system_prompt
from app.state import chats, host, owner
from app.texts import formatted, language_picker, text
from vqa.answering import Answer
from vqa.chat import Job
from vqa.chat.service import Upload
from vqa.chat.turn import NotFoundError, Turn
from vqa.errors import VQAError

HEARTBEAT = 0.2  # seconds between updates of the place in the queue while no text comes
_RUN = 1.0  # seconds of a run that follows an answer


def show() -> None:
    """Draw the page for this run of the script."""
    branch = _branch()
    running = next((turn for turn in branch if turn.state == "running"), None)
    with st.sidebar:
        history_list.show(branch)
        with st.expander(text("model.heading"), icon=":material/memory:"):
            model_picker.show()
        with st.expander(text("settings.heading"), icon=":material/tune:"):
            settings_panel()
        language_picker()
    # behind the settings, which the address brings back where the page was loaded anew
    if running is None and model_picker.is_ready() and composer.ask_waiting(_ask):
        st.rerun()
    if not branch:
        st.title(text("title"))
    for turn, following in zip_longest(branch, branch[1:]):
        turns.show(turn, following)
    if not branch and not drafts.draft():
        welcome.show(lambda question: composer.send(question, _ask, False, _waits))
    composer.show(
        _ask,
        pictures=[(turn, at) for turn in branch for at in range(len(turn.pictures))],
        waits=_waits,
        disabled=host().error is not None,
        stop=partial(report_errors(chats().stop), owner(), running.id) if running else None,
    )
    window.show()
    model_picker.show_state()
    if running is not None:
        st.session_state.whole_page = True
        st.session_state.awaited = running.id
        _follow(running)
    elif "awaited" in st.session_state:
        map_layer.preload(st.session_state.pop("awaited"))


def _waits() -> bool:
    """Return whether a question has to wait: for the model, or for the answer before it."""
    return not model_picker.is_ready() or any(turn.state == "running" for turn in _branch())


def _branch() -> list[Turn]:
    """List the turns of the conversation that the address names; none where it names none."""
    key = st.query_params.get("c")
    if not key:
        return []
    try:
        return chats().history.branch(owner(), key)
    except NotFoundError:
        address.forget("c")
        st.info(text("chat.deleted"))
        return []


def _ask(question: str, pictures: Sequence[Upload]) -> None:
    """Ask, or put the question back with the reason, which the next run of the script shows.

    The model begins while the page is drawn: the first word comes so much the sooner.
    """
    service = chats()
    before = st.query_params.get("c")
    key = before
    try:
        words, images = composer.expand_video(question, pictures)
        if key is None:
            key = service.history.start(owner(), system_prompt(), question)
        asking.ask(key, words, images, question)
    except VQAError as error:
        composer.put_back(question, pictures, error_text(error))
        if key is not None and before is None:
            report_errors(service.delete)(owner(), key)
        return
    st.query_params["c"] = key
    if before is None:  # else it belongs to a conversation that is not begun yet
        address.forget("draft")


@st.fragment(run_every=HEARTBEAT)
def _follow(turn: Turn) -> None:
    """Show the answer as it grows, in short runs of its own: the page is whole and can be clicked.

    The run of the whole page draws only what is there: what it leaves out goes when it ends.
    """
    whole = st.session_state.pop("whole_page", False)
    job = chats().job(turn.id)
    words = (job.text if job else turn.text) or _awaited(job)
    with turns.message(turn):  # no st.empty(): a browser would show nothing for a moment
        place = st.markdown(formatted(words), anchors=False)
    if whole:
        return
    if job is None:  # another server of this history writes it, or it ended this moment
        ended = not _is_running(turn)
    else:
        ended = _stream(job, place, words)
        if ended:
            chats().wait(turn.id)
    if ended:
        st.rerun()


def _is_running(turn: Turn) -> bool:
    try:
        return chats().history.turn(owner(), turn.id).state == "running"
    except VQAError:  # deleted in another tab, or the disk: the next run of the page says so
        return False


def _awaited(job: Job | None) -> str:
    """Say what an answer waits for that has no word yet."""
    if job is not None and (count := job.ahead):
        return text("chat.waiting", count=count)
    return text("chat.looking")


def _stream(job: Job, place: st.delta_generator.DeltaGenerator, shown: str) -> bool:
    """Show what comes for a moment, and tell whether that was the end; some words are `shown`.

    A browser is sent only what has changed, and that at most once in a heartbeat: many people who
    wait must not slow down the answers that they wait for.
    """
    answer, now = "", time.monotonic()
    until, due = now + _RUN, now
    try:
        for piece in job.follow(HEARTBEAT):
            if isinstance(piece, Answer):
                return True
            answer += piece
            now = time.monotonic()
            if now >= due and (words := answer or _awaited(job)) != shown:
                place.markdown(formatted(words), anchors=False)
                shown, due = words, now + HEARTBEAT
            if now > until:
                return False
            st.session_state.get("editing")  # here a click may end this run
    except VQAError:
        pass  # the turn says why
    return True
