"""What was said of answers: look at it, change it, take it back, and make data of it."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import streamlit as st

from app import chat_page, trouble
from app.clock import local
from app.pictures import show as show_picture
from app.state import chats, directory, is_local, owner
from app.texts import language_picker, plain, text
from app.turns import rating
from vqa.chat.feedback_export import COMMAND, as_zip
from vqa.chat.history import history_directory
from vqa.chat.turn import NotThere, Turn
from vqa.cli.feedback import next_commands
from vqa.errors import VQAError
from vqa.images import ImageError

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
    trouble.show()
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
        st.error(plain(str(error)))


def _use(judged: Sequence[Turn]) -> None:
    """The data as a download, and what to do with it."""
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
    named = "" if directory() == history_directory() else f" --history {_quoted(directory())}"
    return [f"{COMMAND} {out}{named}", *after]


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _list(judged: Sequence[Turn]) -> None:
    counts = {name: sum(map(wanted, judged)) for name, wanted in _FILTERS.items()}
    chosen = st.pills(
        text("corrections.filter"),
        list(_FILTERS),
        default="all",
        required=True,
        format_func=lambda name: text(f"corrections.{name}", count=counts[name]),
        label_visibility="collapsed",
        key="judged-filter",
    )
    found = [answer for answer in judged if _FILTERS[chosen or "all"](answer)]
    if not found:
        st.caption(text("corrections.none"))
    for answer in _page(found):
        try:
            branch = chats().history.branch(owner(), answer.conversation, answer.id)
        except NotThere:  # deleted this moment, in another tab
            continue
        with st.container(border=True, gap="small"):
            _card(branch)


def _page(found: list[Turn]) -> list[Turn]:
    """Those of the page that is chosen."""
    pages = -(-len(found) // _A_PAGE)
    number = 1
    if pages > 1:
        at = min(st.session_state.get("judged-page", 1), pages)
        st.session_state["judged-page"] = at
        number = st.number_input(
            text("corrections.page_number", count=pages), 1, pages, key="judged-page", width=160
        )
    return found[(number - 1) * _A_PAGE : number * _A_PAGE]


def _card(branch: Sequence[Turn]) -> None:
    question, answer = branch[-2:]
    pictures = [picture for turn in branch for picture in turn.pictures]
    with st.container(horizontal=True, gap="small"):
        for picture in pictures[-_MOST_PICTURES:]:
            try:
                show_picture(picture.path.read_bytes(), _WIDTH, picture.name)
            except (OSError, ImageError) as error:
                st.caption(plain(f"{picture.name}: {error}"))
    st.text(question.text)
    st.caption(plain(f"{answer.model}, {_when(answer.judged or answer.created)}"))
    st.text(answer.text or "-")
    with (
        st.form(f"judged-{answer.id}", border=False),
        st.container(horizontal=True, vertical_alignment="bottom", gap="small"),
    ):
        said = st.text_area(text("turn.correction"), answer.correction, height=68)
        kept = st.form_submit_button(text("turn.keep"))
    if kept:
        chats().history.correct(owner(), answer.id, said)
        st.rerun()
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        rating(answer)
        st.button(
            text("corrections.take_back"),
            icon=":material/undo:",
            help=text("corrections.take_back_help"),
            type="tertiary",
            key=f"take-back-{answer.id}",
            on_click=trouble.told(chats().history.take_back),
            args=(owner(), answer.id),
        )
        _link(text("corrections.open_conversation"), answer.conversation)


def _link(label: str, conversation: str | None = None) -> None:
    """A link to the chat, in the language of this page."""
    wanted = {"c": conversation, "lang": st.query_params.get("lang")}
    st.page_link(
        st.Page(chat_page.show, url_path="chat", default=True),
        label=label,
        icon=":material/chat:",
        query_params={name: value for name, value in wanted.items() if value},
    )


def _when(moment: datetime) -> str:
    """A moment of UTC where the browser is."""
    return local(moment.replace(tzinfo=UTC)).strftime("%Y-%m-%d %H:%M")
