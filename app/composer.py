"""What the next question is asked with: its pictures, and the box for its text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import streamlit as st

from app import drafts, flash_message, picture_window, uploads, window
from app.drafts import Draft
from app.error_text import error_text
from app.state import chats
from app.texts import entry, plain, text
from app.thumbnails import jpeg
from app.thumbnails import show as show_picture
from vqa.chat import MAX_PICTURES, MAX_QUESTION
from vqa.chat.service import Upload
from vqa.chat.turn import Turn
from vqa.errors import InputError
from vqa.inputs import video
from vqa.inputs.images import ImageError

Ask = Callable[[str, Sequence[Upload]], None]
_WIDTH = 90  # pixels of a picture that waits
_SMALL, _MOST_SMALL = 40, 4  # pixels of a picture that was asked about, and how many are shown


def add(*pictures: Upload) -> None:
    """Add pictures to the next question."""
    draft = drafts.draft()
    drafts.put(replace(draft, pictures=(*draft.pictures, *pictures)))


def _remove(number: int) -> None:
    draft = drafts.draft()
    rest = [picture for at, picture in enumerate(draft.pictures) if at != number]
    drafts.put(replace(draft, pictures=tuple(rest)))


def put_back(question: str, pictures: Sequence[Upload], why: str) -> None:
    """Put what could not be asked back into the box, and say why: of each file.

    Of too many pictures the first are taken, and the others are not even decoded; no video is.
    """
    good, reasons = [], []
    photos = [picture for picture in pictures if not video.is_video(picture.content)]
    for picture in photos[:MAX_PICTURES]:
        try:
            chats().pictures.load(picture.content, picture.name)
        except ImageError as error:
            reasons.append(error_text(error))
        else:
            good.append(picture)
    if not reasons or len(photos) < len(pictures):
        reasons.append(why)
    if pictures:
        reasons.append(text("chat.not_asked"))
    drafts.put(Draft(tuple(good)))
    st.session_state.draft = question
    flash_message.set_message("\n".join(reasons))


def expand_video(question: str, files: Sequence[Upload]) -> tuple[str, list[Upload]]:
    """Replace a video by its frames, whose times go into the question.

    Without a video all stays as it is. Raises InputError for a video among other files, and for one
    that cannot be used.
    """
    if not any(video.is_video(upload.content) for upload in files):
        return question, list(files)
    if len(files) > 1:
        raise InputError("A video is asked about alone, without other files.")
    (clip,) = files
    frames = video.frames(clip.content)
    pictures = [
        Upload(f"{clip.name}, {frame.time:.1f} s", jpeg(frame.picture, 92)) for frame in frames
    ]
    return video.with_times(question, frames) if question.strip() else question, pictures


def _take_files() -> None:
    """Add the files that have arrived to the draft; those that it took before stay hidden there."""
    taken = _taken()
    files = st.session_state.get(_uploader()) or []
    new = [file for file in files if file.file_id not in taken]
    taken.update(file.file_id for file in new)
    if new:
        add(*(Upload(file.name, file.getvalue()) for file in new))


def _taken() -> set[str]:
    """Return the ids of the uploader's files that are in a draft, or were asked about."""
    taken: set[str] = st.session_state.setdefault("taken", set())
    return taken


def _uploader() -> str:
    """Return the key of the uploader: another one has none of its files.

    Each conversation has its own: a file that is on its way comes into no other.
    """
    number = st.session_state.setdefault("uploader", 0)
    return f"files-{number}-{st.query_params.get('c', '')}"


def send(question: str, ask: Ask, has_pictures: bool, waits: Callable[[], bool]) -> None:
    """Ask with the pictures that wait; while another answer is written, as soon as it has ended.

    Whether it `waits` is asked now: another tab may have asked since the page was drawn.
    """
    draft = drafts.draft()
    if not (has_pictures or draft.pictures):
        put_back(question, [], text("chat.no_picture"))
    elif waits() and (question.strip() or draft.question):
        drafts.put(replace(draft, question=f"{draft.question}\n{question}".strip()))
    else:
        ask_next(question, ask)


def ask_next(question: str, ask: Ask) -> None:
    """Ask with the pictures that wait, which then do not wait any more."""
    ask(question, _take().pictures)


def ask_waiting(ask: Ask) -> bool:
    """Ask the question that waits, if there is one; of several tabs only one does."""
    if not drafts.draft().question:
        return False
    draft = _take()
    if draft.question:
        ask(draft.question, draft.pictures)
    elif draft:  # another tab asked it this moment
        drafts.put(draft)
    return True


def _take() -> Draft:
    st.session_state.uploader = st.session_state.get("uploader", 0) + 1
    _taken().clear()
    return drafts.take()


def show(
    ask: Ask,
    pictures: Sequence[tuple[Turn, int]],
    waits: Callable[[], bool],
    disabled: bool,
    stop: Callable[[], None] | None,
) -> None:
    """Draw the box. What is sent goes to `ask`, before the script runs again.

    `pictures` are those of the conversation so far: turns, and which of their pictures.
    While it `waits` for the model or for another answer, it is asked later. `stop` ends the answer
    that is being written, where one is. Where no model will come, the box is `disabled`.
    """

    def submit() -> None:
        _take_files()
        sent = st.session_state.question
        add(*(Upload(file.name, file.getvalue()) for file in sent.files))
        send(sent.text, ask, has_pictures, waits)

    draft, has_pictures = drafts.draft(), bool(pictures)
    with st.bottom:
        # the same elements in every run: what stood where nothing stands now would stay for long
        notice, waiting, tools = st.empty(), st.empty(), st.empty()
        with notice.container():
            flash_message.show()
            uploads.notice()
        if draft.pictures or draft.question:
            with waiting.container():
                _waiting(draft, lambda question: send(question, ask, has_pictures, waits))
        elif pictures:
            with waiting.container(key="asked-about", horizontal=True, gap="xsmall"):
                _asked_about(pictures)
        if stop is not None:
            tools.button(
                text("chat.stop"), icon=":material/stop_circle:", on_click=stop, key="stop",
                shortcut="Escape",
            )  # fmt: skip
        with st.container(key="attach"):
            st.file_uploader(
                text("chat.attach"), accept_multiple_files=True, key=_uploader(),
                on_change=_take_files, label_visibility="collapsed",
            )  # fmt: skip
            # uploads.js waits until as many are taken as have come
            here = st.session_state.get(_uploader()) or []  # those of an earlier visit are gone
            taken = sum(file.file_id in _taken() for file in here)
            st.html(f'<span data-taken="{taken}"></span>')
        _camera()
    if "draft" in st.session_state:
        st.session_state.question = st.session_state.draft
    # not `with st.bottom`: a box that places itself there makes the page follow the answer
    st.chat_input(
        text("chat.ask") if has_pictures or draft.pictures else text("chat.ask_first"),
        key="question",
        accept_file="multiple",
        max_chars=MAX_QUESTION,
        disabled=disabled,
        on_submit=submit,
    )
    st.session_state.pop("draft", None)  # only now: a run that was broken off has not shown it


def _asked_about(pictures: Sequence[tuple[Turn, int]]) -> None:
    """Draw the latest pictures of the conversation so far, which a follow-up is asked about."""
    of_file = {turn.pictures[at].path: (turn, at) for turn, at in reversed(pictures)}  # its first
    for turn, at in list(of_file.values())[:_MOST_SMALL][::-1]:
        with suppress(OSError, ImageError):  # beside its question stands that it is gone
            picture_window.thumbnail(turn, at, _SMALL, "asked")


def _waiting(draft: Draft, ask: Callable[[str], None]) -> None:
    """Draw what is asked next, with a way to take it back, and questions to start with."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        for number, picture in enumerate(draft.pictures):
            with st.container(key=f"draft-{number}", width=_WIDTH, gap="xxsmall"):
                _picture(picture)
                st.button(
                    text("chat.remove"),
                    key=f"remove-{number}-{picture.name}",
                    type="tertiary",
                    on_click=_remove,
                    args=(number,),
                )
    if draft.question:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.text(draft.question, width="content")
            st.caption(text("chat.asked_next"), width="content")
            st.button(
                text("chat.take_back"), icon=":material/undo:", type="tertiary",
                on_click=_take_back, key="take-back",
            )  # fmt: skip
        return
    with st.container(horizontal=True, gap="small"):
        for number, question in enumerate(entry("chat.example_questions")):
            st.button(question, key=f"suggested-{number}", on_click=ask, args=(question,))


def _take_back() -> None:
    """Put a question that waits into the box again."""
    draft = drafts.draft()
    drafts.put(replace(draft, question=""))
    st.session_state.draft = draft.question


def _picture(picture: Upload) -> None:
    if video.is_video(picture.content):
        st.caption(f":material/movie: {plain(picture.name)}")
        return
    try:
        show_picture(picture, _WIDTH)
    except ImageError:
        st.caption(f":material/broken_image: {plain(picture.name)}")


def _camera() -> None:
    """Draw the icon that opens the camera, in a window; it begins only then."""
    st.button(
        text("chat.camera"), icon=":material/photo_camera:", help=text("chat.take_picture"),
        type="tertiary", key="camera", on_click=window.open_window,
        args=("chat.take_picture", _take_picture),
    )  # fmt: skip


def _take_picture() -> None:
    photo = st.camera_input(text("chat.take_picture"), label_visibility="collapsed")
    if photo is not None:
        name = text("chat.camera")
        add(Upload(f"{name}.jpg", photo.getvalue()))
        window.close()
        st.rerun()
