"""The chat: conversations, their turns, the answer as it is written, and what to ask with."""

from __future__ import annotations

import time

import streamlit as st

from app import composer, history_list, model_picker, turns
from app.pictures import examples, reduced, upload_of
from app.settings import generation_settings, settings_panel, system_prompt
from app.state import chats, host, owner
from app.texts import language_picker, plain, text
from vqa.answering import Answer
from vqa.chat import Job
from vqa.chat.history import NotThere, Turn
from vqa.chat.kept import Upload
from vqa.chat.languages import is_foreign
from vqa.errors import VQAError

HEARTBEAT = 0.2  # seconds between looks at the queue while no text comes
LARGER = "llava-hf/llava-1.5-7b-hf"  # what to load for more than the model that ships can do


def show() -> None:
    """Draw the page for this run of the script."""
    with st.sidebar:
        history_list.show()
        with st.expander(text("model.heading"), icon=":material/memory:"):
            model_picker.show()
        with st.expander(text("settings.heading"), icon=":material/tune:"):
            settings_panel()
        language_picker()
    branch = _branch()
    if not branch:
        st.title(text("title"))
    ready = model_picker.wait_until_ready()
    for turn in branch:
        turns.show(turn)
    if branch:
        history_list.actions(branch)
    elif not composer.pending():
        _welcome()
    running = next((turn for turn in branch if turn.state == "running"), None)
    asked = composer.show(
        has_pictures=any(turn.pictures for turn in branch),
        disabled=not ready or running is not None,
    )
    if running is not None:
        _follow(running)
    if asked is not None:
        _ask(*asked)


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
                st.image(reduced(example.path.read_bytes()), alt=name)
                st.button(
                    name,
                    key=f"example-{example.name}",
                    width="stretch",
                    on_click=composer.add,
                    args=(upload_of(example.path),),
                )


def _ask(question: str, pictures: list[Upload]) -> None:
    """Ask, and let the next run of the script show it; or say why it cannot be asked."""
    key = st.query_params.get("c")
    kept = chats()
    fresh = key is None
    if key is None:
        key = kept.history.start(owner(), system_prompt())
    try:
        if host().choice.name == "embedded" and is_foreign(question):
            note = text("chat.english_only", larger=LARGER)
            kept.note(owner(), key, question, note, pictures)
        else:
            kept.ask(owner(), key, question, pictures, generation_settings())
    except VQAError as error:
        if fresh:
            kept.delete(owner(), key)
        composer.keep(question, pictures)
        st.error(plain(str(error)))
        return
    st.query_params["c"] = key
    composer.clear()
    st.rerun()


def _follow(turn: Turn) -> None:
    """Show the answer as it grows; the next run takes up where a click interrupts this one."""
    job = chats().job(turn.id)
    with turns.message(turn):
        place = st.empty()
        if job is None:  # another server of this history writes it, or it ended this moment
            place.text(turn.text or text("chat.looking"))
        st.button(
            text("chat.stop"),
            icon=":material/stop:",
            on_click=chats().stop,
            args=(owner(), turn.id),
            key=f"stop-{turn.id}",
        )
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
