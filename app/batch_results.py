"""What was answered: beside the pictures, scored, and to be downloaded."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from app import batch_files
from app.batch_files import Result, Results
from app.state import batches
from app.texts import plain, text
from vqa.batches import Run
from vqa.errors import InputError
from vqa.evaluation.guess import guessed_metric
from vqa.evaluation.report.build import RIGHT
from vqa.evaluation.score import Scores
from vqa.evaluation.wording import amount, interval
from vqa.images import ImageError, load_image
from vqa.metrics import METRICS

_A_PAGE = 20  # rows
_LATEST = 4
_WIDTH = 130  # pixels of a picture in a row
_LARGER = 640  # pixels of its longer side where a click enlarges it


def show(run: Run) -> None:
    """The score, where there is one, and the rows in pages; nothing where nothing is answered."""
    try:
        results = batch_files.results(run)
    except InputError as error:  # files of this machine that were moved or changed
        st.error(plain(batches().told(run, str(error))))
        return
    if not results.predictions:
        return
    scores = _scored(run, results)
    _downloads(run, results, scores)
    reached = dict(scores.rows) if scores else {}
    kinds = ["all", *(["wrong", "right"] if scores else []), "failed"]
    kind = st.segmented_control(
        text("batch.show"), kinds, default="all", required=True, key=f"batch-show-{run.id}",
        format_func=lambda one: text(f"batch.show_{one}"), label_visibility="collapsed",
    )  # fmt: skip
    shown = [one for one in results.answered() if _is(kind, one, reached)]
    if not shown:
        st.caption(text("batch.nothing"))
        return
    pages = -(-len(shown) // _A_PAGE)
    number = 1
    place = st.container()
    if pages > 1:
        number = st.pagination(pages, key=f"batch-page-{run.id}-{kind}-{pages}")
    with place:
        for one in shown[(number - 1) * _A_PAGE : number * _A_PAGE]:
            _row(one, reached.get(one.row.id))


def latest(run: Run) -> None:
    """The answers that came last, while others are on their way."""
    try:
        found = batch_files.latest(run, _LATEST)
    except InputError:
        return  # told at the end
    if found:
        st.caption(text("batch.latest"))
    for one in reversed(found):
        _row(one, None)


def _is(kind: str, one: Result, reached: dict[str | int, float]) -> bool:
    if kind == "failed":
        return one.said.text is None
    value = reached.get(one.row.id)
    if kind in ("wrong", "right"):
        return value is not None and (value >= RIGHT) == (kind == "right")
    return True


def _scored(run: Run, results: Results) -> Scores | None:
    """Show the score by the metric that is chosen, beside what is reached without seeing."""
    rows = results.scorable()
    if not rows:
        return None
    names = list(METRICS)
    guess = guessed_metric(rows)
    metric = st.selectbox(
        text("batch.metric"), names, index=names.index(guess), key=f"batch-metric-{run.id}",
        width=260,
    )  # fmt: skip
    try:
        found = batch_files.scores(run, metric)
    except InputError as error:
        st.warning(plain(text("batch.cannot_score", reason=str(error))))
        return None
    main = found.main
    with st.container(horizontal=True, gap="large"):
        st.metric(text("batch.score"), amount(main, found.values[main]), width="content")
        for name in ("commonest", "question_only"):
            answer = plain(found.commonest_answer)
            st.metric(
                text(f"batch.{name}"),
                amount(main, found.baselines[name][main]),
                help=text(f"batch.{name}_help", answer=answer),
                width="content",
            )
    near = found.intervals.get(main)
    key = "batch.interval" if near else "batch.interval_none"
    words = text(key, interval=interval(main, near), rows=found.count, pictures=found.pictures)
    others = [
        f"{name} {amount(name, value)}" for name, value in found.values.items() if name != main
    ]
    st.caption(plain("; ".join([words, *others])))
    if len(results.predictions) < run.rows:
        st.caption(text("batch.part"))
    return found


def _downloads(run: Run, results: Results, scores: Scores | None) -> None:
    stem = Path(run.name).stem or "answers"
    with st.container(horizontal=True):
        st.download_button(
            text("batch.download_jsonl"), lambda: batch_files.as_jsonl(run),
            f"{stem}-answers.jsonl", "application/jsonl", on_click="ignore",
            icon=":material/download:", key="batch-jsonl",
        )  # fmt: skip
        st.download_button(
            text("batch.download_csv"), lambda: batch_files.as_csv(results, scores),
            f"{stem}-answers.csv", "text/csv", on_click="ignore", icon=":material/download:",
            key="batch-csv",
        )  # fmt: skip
        if scores is not None:
            st.download_button(
                text("batch.download_report"), lambda: batch_files.as_report(run, scores.metric),
                f"{stem}-report.html", "text/html", on_click="ignore",
                icon=":material/download:", key="batch-report",
            )  # fmt: skip


def _row(one: Result, reached: float | None) -> None:
    with st.container(border=True, horizontal=True, gap="medium"):
        if one.row.images:
            with st.container(width=_WIDTH, gap="xxsmall"):
                _pictures(one.row.images)
        with st.container(width="stretch", gap="xsmall"):
            st.text(one.row.question)
            if one.said.text is None:
                st.warning(plain(text("batch.no_answer", reason=one.said.error or "")))
            else:
                _labelled(text("batch.said"), one.said.text)
            if one.row.answers:
                _labelled(text("batch.given"), " / ".join(dict.fromkeys(one.row.answers)))
            _marks(one, reached)


def _labelled(label: str, said: str) -> None:
    with st.container(gap=None):
        st.caption(label)
        st.text(said)


def _marks(one: Result, reached: float | None) -> None:
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        if reached is not None:
            right = reached >= RIGHT
            st.badge(
                text("batch.right") if right else text("batch.wrong"),
                icon=":material/check:" if right else ":material/close:",
                color="green" if right else "red",
            )
        if one.said.probability is not None:
            percent = f"{one.said.probability:.0%}"
            st.caption(text("batch.percent", percent=percent), width="content")


def _pictures(images: Sequence[str | Path]) -> None:
    try:
        path = Path(images[0])
        st.image(_thumbnail(str(path), path.stat().st_mtime_ns), width=_WIDTH, alt=path.name)
    except (OSError, ImageError):
        st.caption(text("batch.no_picture"))
    if len(images) > 1:
        st.caption(text("batch.more_pictures", count=len(images) - 1))


@st.cache_data(max_entries=500, show_spinner=False)
def _thumbnail(path: str, changed: int) -> bytes:
    """A small JPEG of a picture that was `changed` then."""
    picture = load_image(path)
    picture.thumbnail((_LARGER, _LARGER))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return file.getvalue()
