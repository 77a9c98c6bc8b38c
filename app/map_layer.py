"""What an answer rests on, as a layer over the pictures at its question."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from app import thumbnails
from app.answer_maps import Load, MapJob
from app.error_text import message_text
from app.flash_message import report_errors
from app.state import answer_maps, chats, host, owner
from app.texts import plain, text
from vqa.answering import Request
from vqa.chat.turn import StoredPicture, Turn, model_parts, model_turns
from vqa.errors import VQAError
from vqa.inputs.boxes import Box

if TYPE_CHECKING:
    from vqa.explain import By, Explanation

_EVERY = 0.3  # seconds between two looks at a map on its way
_JOB = "map-layer"  # in the session: the map that is shown, or waited for


def toggle(turn: Turn) -> None:
    """Draw the button that lays the map of an answer over its pictures, and takes it away."""
    shown = _job(turn) is not None
    if not shown and not (turn.text and _ways()):
        return
    st.button(
        text("turn.look_off" if shown else "turn.look"),
        icon=":material/visibility_off:" if shown else ":material/visibility:",
        type="secondary" if shown else "tertiary",
        key=f"look-{turn.id}",
        on_click=_remove if shown else report_errors(_lay),
        args=() if shown else (turn,),
    )


def show(turn: Turn) -> None:
    """Draw below an answer whether the map over its pictures can be trusted, and the scores."""
    job = _job(turn)
    if job is None:
        return
    if job.dropped:
        try:
            job = _begin(turn, job.by)
        except VQAError as error:
            job.error = str(error)
    with st.container():
        if job.error:
            st.error(plain(message_text(job.error)))
        elif job.explanation is None:
            _follow(turn, laid=job.shown is not None)
        else:
            _trust(turn, job, job.explanation)
    ways = _ways()
    with st.expander(text("looking.scores"), icon=":material/query_stats:"):
        if len(ways) > 1:
            st.segmented_control(
                text("looking.by"), ways, default=job.by, required=True,
                format_func=lambda one: text(f"looking.{one}"), key=f"by-{turn.id}",
                on_change=report_errors(_lay), args=(turn,),
            )  # fmt: skip
        if job.explanation is not None:
            _scores(job, job.explanation)


@dataclass(frozen=True)
class MappedPicture:
    """A picture of the conversation, or the part of it that the model was given, and its map."""

    picture: StoredPicture
    box: Box | None
    job: MapJob
    number: int  # of the map, among those of the job


def pictures(question: Turn, answer: Turn | None) -> list[MappedPicture]:
    """List what the map that is shown of a question's answer covers; nothing where none is."""
    job = _job(answer) if answer is not None else None
    if job is None or job.shown is None:
        return []
    branch = chats().history.branch(owner(), question.conversation, question.id)
    given = [
        (picture, box)
        for turn in model_turns(branch)
        for picture in turn.pictures
        for box in model_parts(picture.mark)
    ]
    return [MappedPicture(picture, box, job, at) for at, (picture, box) in enumerate(given)]


def key(answer: Turn | None) -> str | None:
    """Return the key of the pictures with the map of an answer, which layer.js brings into view."""
    job = _job(answer) if answer is not None else None
    return f"layer-{job.answer}" if job is not None and job.shown is not None else None


def show_picture(mapped: MappedPicture, width: int) -> None:
    """Show a picture with the map over it. Raises OSError or ImageError where it is gone."""
    mapped.picture.path.stat()  # one that is cached may be gone
    name = text("looking.picture", name=mapped.picture.name)
    st.image(_drawn(mapped), width=width, alt=name)


def preload(answer: str) -> None:
    """Map an answer that has just ended, if nothing else is to be done: who asks has it at once."""
    if "attention" in _ways():  # covering parts would take a minute
        with suppress(VQAError):  # the model has gone this moment
            answer_maps().begin(answer, "attention", _load(answer), in_advance=True)


def _ways() -> list[By]:
    """List the ways in which the model that is loaded can be explained."""
    from vqa.explain import check_answerer  # its imports need not delay the first screen

    ways: list[By] = []
    by: By
    for by in ("attention", "occlusion"):
        try:
            check_answerer(host().worker().answerer, by)
        except VQAError:
            continue
        ways.append(by)
    return ways


def _job(turn: Turn) -> MapJob | None:
    """Return the map that is shown, if it is of this answer."""
    job: MapJob | None = st.session_state.get(_JOB)
    return job if job is not None and job.answer == turn.id else None


def _lay(turn: Turn) -> None:
    ways = _ways()
    chosen: By = st.session_state.get(f"by-{turn.id}") or ways[0]
    _remove()
    _begin(turn, chosen if chosen in ways else ways[0])


def _begin(turn: Turn, by: By) -> MapJob:
    job = answer_maps().begin(turn.id, by, _load(turn.id))
    st.session_state[_JOB] = job
    return job


def _remove() -> None:
    job: MapJob | None = st.session_state.pop(_JOB, None)
    if job is not None and not job.done.is_set():
        job.stop.set()


def _load(answer: str) -> Load:
    """Make what reads an answer and the conversation before it, in a thread that knows nobody."""
    service, me = chats(), owner()

    def load() -> tuple[Request, str]:
        service.wait(answer)
        conversation = service.history.turn(me, answer).conversation
        *before, turn = service.history.branch(me, conversation, answer)
        return service.conversation(me, before, conversation).request(), turn.text

    return load


@st.fragment(run_every=_EVERY)
def _follow(turn: Turn, laid: bool) -> None:
    """Show how far the map is, in short runs of its own; the whole page once it has changed."""
    job = _job(turn)
    if job is None or job.done.is_set() or (job.shown is not None) != laid:
        st.rerun()
    st.progress(job.progress, text("looking.checking" if laid else "looking.working"))


def _trust(turn: Turn, job: MapJob, explanation: Explanation) -> None:
    if turn.model and turn.model != job.model:
        names = {"answered": turn.model, "loaded": job.model}
        st.info(plain(text("looking.other_model", **names)))
    if explanation.warning:
        st.warning(text("looking.nothing"))
    else:
        st.caption(text("looking.better" if explanation.scores else "looking.not_scored"))


def _scores(job: MapJob, explanation: Explanation) -> None:
    if scores := explanation.scores:
        for name, own, random in (
            ("deletion", scores.deletion, scores.random_deletion),
            ("insertion", scores.insertion, scores.random_insertion),
        ):
            st.caption(text(f"looking.{name}", own=f"{own:.2f}", random=f"{random:.2f}"))
    st.download_button(
        text("looking.download"),
        lambda: _figure(job, explanation),
        "where-it-looked.png",
        "image/png",
        on_click="ignore",
        key=f"download-{job.answer}",
    )


def _figure(job: MapJob, explanation: Explanation) -> bytes:
    from vqa.explain.figure import write_figure

    request, _ = job.load()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "explanation.png"
        write_figure(path, explanation, request.images, request.messages[-1].text)
        return path.read_bytes()


@lru_cache(maxsize=16)
def _drawn(mapped: MappedPicture) -> bytes:
    """Encode a picture with its map over it as a JPEG."""
    from vqa.explain.overlay import overlay

    explanation = mapped.job.shown
    assert explanation is not None
    small = thumbnails.smaller(chats().pictures.load_stored(mapped.picture, mapped.box))
    return thumbnails.jpeg(overlay(small, explanation.relative_maps[mapped.number]), 90)
