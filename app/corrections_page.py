"""Ratings and corrections of answers: see, change and take them back, and make data of them."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC
from pathlib import Path

import streamlit as st

from app import chat_page, deletion, flash_message, window
from app.error_text import error_text, message_text
from app.state import chats, directory, is_local, owner
from app.texts import language_picker, local_time, plain, text
from app.thumbnails import show_stored
from app.turns import rating
from vqa.chat.feedback_export import COMMAND, as_zip
from vqa.chat.history import history_directory
from vqa.chat.turn import NotFoundError, Turn
from vqa.errors import VQAError
from vqa.inputs.images import ImageError
from vqa.tools.next_commands import next_commands

_A_PAGE = 10  # answers
_MOST_PICTURES, _WIDTH = 4, 120  # of an answer; pixels

_FILTERS: dict[str, Callable[[Turn], bool]] = {
    "all": lambda answer: True,
    "corrected": lambda answer: bool(answer.correction),
    "up": lambda answer: answer.rating > 0,
    "down": lambda answer: answer.rating < 0,
    "open": lambda answer: answer.rating < 0 and not answer.correction,
}


def show() -> None:
    """Draw the page."""
    with st.sidebar:
        language_picker()
    flash_message.show()
    window.show()
    st.header(text("corrections.heading"))
    try:
        judged = [answer for _, answer in chats().history.judged_answers(owner())][::-1]
        if judged:
            _use(judged)
            _list(judged)
        else:
            st.info(text("corrections.empty"), icon=":material/rate_review:")
            _link(text("corrections.to_chat"))
    except VQAError as error:  # the disk, a broken file
        st.error(plain(error_text(error)))


def _use(judged: Sequence[Turn]) -> None:
    """Offer the data as a download, and say what to do with it."""
    good = [answer for answer in judged if answer.correction or answer.rating > 0]
    with st.expander(text("corrections.use"), icon=":material/model_training:"):
        if not good:
            st.write(text("corrections.nothing_to_learn"))
            return
        st.write(text("corrections.use_help"))
        me = owner()  # the function runs later, where nobody is known
        st.download_button(
            text("corrections.export"),
            lambda: as_zip(chats().history, me),
            "feedback.zip",
            "application/zip",
            icon=":material/download:",
            on_click="ignore",
        )
        model = Counter(answer.model for answer in good).most_common(1)[0][0]
        st.code("\n".join(_commands(model, len(good))), language=None, wrap_lines=True)


def _commands(model: str, rows: int) -> list[str]:
    out = Path("feedback")
    after = next_commands(out, model, rows, compare=True)
    if not is_local():
        return ["unzip feedback.zip", *after]
    option = (
        "" if directory() == history_directory() else f" --history {shlex.quote(str(directory()))}"
    )
    return [f"{COMMAND} {out}{option}", *after]


def _list(judged: Sequence[Turn]) -> None:
    counts = {name: sum(map(matches, judged)) for name, matches in _FILTERS.items()}
    chosen = st.pills(
        text("corrections.filter"),
        list(_FILTERS),
        default="all",
        required=True,
        format_func=lambda name: text(f"corrections.{name}", count=counts[name]),
        label_visibility="collapsed",
        key="judged-filter",
    )
    answers = _in_place(judged, chosen or "all")
    if not answers:
        st.caption(text("corrections.none"))
    for answer in _page(answers):
        try:
            branch = chats().history.branch(owner(), answer.conversation, answer.id)
        except NotFoundError:  # deleted this moment, in another tab
            continue
        with st.container(border=True, gap="small"):
            _card(branch)


def _in_place(judged: Sequence[Turn], chosen: str) -> list[Turn]:
    """List the answers of a filter, in the order that they had when filter and page were chosen.

    A card whose answer gets another thumb stays where it is, to be corrected, too.
    """
    view = chosen, st.session_state.get("judged-page", 1)
    before, places = st.session_state.get("judged-places", (None, {}))
    if before != view:
        places = {}
    matching = [each for each in judged if each.id in places or _FILTERS[chosen](each)]
    matching.sort(key=lambda each: places.get(each.id, -1))  # those that are new come first
    st.session_state["judged-places"] = view, {each.id: at for at, each in enumerate(matching)}
    return matching


def _page(answers: list[Turn]) -> list[Turn]:
    """Return the answers of the page that is chosen."""
    pages = -(-len(answers) // _A_PAGE)
    number = 1
    if pages > 1:
        at = min(st.session_state.get("judged-page", 1), pages)
        st.session_state["judged-page"] = at
        number = st.number_input(
            text("corrections.page_number", count=pages), 1, pages, key="judged-page", width=160
        )
    return answers[(number - 1) * _A_PAGE : number * _A_PAGE]


def _card(branch: Sequence[Turn]) -> None:
    question, answer = branch[-2:]
    pictures = [picture for turn in branch for picture in turn.pictures]
    with st.container(horizontal=True, gap="small"):
        for picture in pictures[-_MOST_PICTURES:]:
            try:
                show_stored(picture, _WIDTH)
            except ImageError as error:
                st.caption(plain(error_text(error)))
            except OSError as error:
                reason = message_text(f"{picture.name} cannot be read: {error.strerror}.")
                st.caption(plain(reason))
    st.text(question.text)
    moment = local_time((answer.judged or answer.created).replace(tzinfo=UTC))
    st.caption(plain(f"{answer.model}, {moment:%Y-%m-%d %H:%M}"))
    st.text(answer.text or "-")
    if answer.better_than is not None:
        st.caption(text("compare.preferred"))
    with (
        st.form(f"judged-{answer.id}", border=False),
        st.container(horizontal=True, vertical_alignment="bottom", gap="small"),
    ):
        correction = st.text_area(text("turn.correction"), answer.correction, height=68)
        submitted = st.form_submit_button(text("turn.keep"))
    if submitted:
        chats().history.correct(owner(), answer.id, correction)
        st.session_state.pop("judged-places", None)  # it is done: the next ones move up
        st.rerun()
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        rating(answer)
        st.button(
            text("corrections.take_back"),
            icon=":material/undo:",
            help=text("corrections.take_back_help"),
            type="tertiary",
            key=f"take-back-{answer.id}",
            on_click=deletion.ask,
            args=("judgement", answer.id),
        )
        _link(text("corrections.open_conversation"), answer.conversation)


def _link(label: str, conversation: str | None = None) -> None:
    """Draw a link to the chat, in the language of this page."""
    query = {"c": conversation, "lang": st.query_params.get("lang")}
    st.page_link(
        st.Page(chat_page.show, url_path="chat", default=True),
        label=label,
        icon=":material/chat:",
        query_params={name: value for name, value in query.items() if value},
    )
