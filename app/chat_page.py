"""The chat: conversations, their turns, the answer as it is written, and what to ask with."""

from __future__ import annotations

import time
from functools import partial

import streamlit as st

from app import composer, history_list, model_picker, trouble, turns
from app.clips import taken_apart
from app.pictures import examples, upload_of
from app.settings import generation_settings, settings_panel, system_prompt
from app.state import chats, host, owner
from app.texts import language_picker, text
from vqa.answering import Answer
from vqa.chat import Job
from vqa.chat.kept import Upload
from vqa.chat.languages import is_foreign
from vqa.chat.turn import NotThere, Turn
from vqa.errors import VQAError

HEARTBEAT = 0.2  # seconds between looks at the queue while no text comes
LARGER = "llava-hf/llava-1.5-7b-hf"  # what to load for more than the model that ships can do


def show() -> None:
    """Draw the page for this run of the script."""
    branch = _branch()
    with st.sidebar:
        history_list.show(branch)
        with st.expander(text("model.heading"), icon=":material/memory:"):
            model_picker.show()
        with st.expander(text("settings.heading"), icon=":material/tune:"):
            settings_panel()
        language_picker()
    if not branch:
        st.title(text("title"))
    for turn in branch:
        turns.show(turn)
    if not branch and not composer.pending():
        _welcome()
    running = next((turn for turn in branch if turn.state == "running"), None)
    composer.show(
        _ask,
        has_pictures=any(turn.pictures for turn in branch),
        disabled=not model_picker.is_ready() or running is not None,
        stop=partial(trouble.told(chats().stop), owner(), running.id) if running else None,
    )
    model_picker.show_state()
    if running is not None:
        _follow(running)


def _branch() -> list[Turn]:
    """The turns of the conversation that the address names; empty where it names none."""
    key = st.query_params.get("c")
    if not key:
        return []
    try:
        return chats().history.branch(owner(), key)
    except NotThere:
        del st.query_params["c"]
        st.info(text("chat.deleted"))
        return []


def _welcome() -> None:
    """What to do, and pictures to try it with."""
    choice = host().choice
    st.write(text("chat.hint"))
    if choice.name == "embedded":
        st.caption(text("chat.small"))
    st.caption(text("chat.examples"))
    with st.container(horizontal=True):
        for example in examples():
            with st.container(width=150):
                name = text(f"examples.{example.name}")
                st.image(example.thumbnail(), alt=name)
                st.button(
                    name,
                    key=f"example-{example.name}",
                    width="stretch",
                    on_click=composer.add,
                    args=(upload_of(example.path),),
                )


def _ask(question: str, pictures: list[Upload]) -> None:
    """Ask, or keep why it cannot be asked; the run of the script that follows shows it.

    The model begins while the page is drawn: the first word comes so much the sooner.
    """
    kept = chats()
    before = st.query_params.get("c")
    key = before
    try:
        asked, shown = taken_apart(question, pictures)
        if key is None:
            key = kept.history.start(owner(), system_prompt())
        if host().choice.name == "embedded" and is_foreign(question):
            note = text("chat.english_only", larger=LARGER)
            kept.note(owner(), key, asked, note, shown)
        else:
            kept.ask(owner(), key, asked, shown, generation_settings())
    except VQAError as error:
        composer.keep(question, pictures, str(error))
        if key is not None and before is None:
            trouble.told(kept.delete)(owner(), key)
        return
    st.query_params["c"] = key
    composer.clear()


def _follow(turn: Turn) -> None:
    """Show the answer as it grows; the next run takes up where a click interrupts this one."""
    job = chats().job(turn.id)
    with turns.message(turn):
        place = st.empty()
        if job is None:  # another server of this history writes it, or it ended this moment
            place.text(turn.text or text("chat.looking"))
        if job is not None:
            _stream(job, place)
            chats().wait(turn.id)
        else:
            time.sleep(1)
    st.rerun()


def _stream(job: Job, place: st.delta_generator.DeltaGenerator) -> None:
    said = ""
    try:
        for piece in job.follow(HEARTBEAT):
            if isinstance(piece, Answer):
                return
            said += piece
            count = job.ahead
            ahead = text("chat.waiting", count=count) if count else text("chat.looking")
            place.text(said or ahead)
    except VQAError:
        return  # the turn says why
