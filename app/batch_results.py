"""What was answered: beside the pictures, scored, and to be downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from app import batch_files
from app.batch_files import AnsweredRow, Results
from app.error_text import error_text, message_text
from app.state import batches
from app.texts import plain, text
from app.thumbnails import jpeg
from vqa.batches import Run
from vqa.errors import InputError
from vqa.evaluation.number_text import format_value
from vqa.evaluation.report.report_data import RIGHT_SCORE
from vqa.evaluation.scoring import MetricResult, guess_metric
from vqa.inputs.images import ImageError, load_image
from vqa.metrics import METRICS

_A_PAGE = 20  # rows
_LATEST = 4
_WIDTH = 130  # pixels of a picture in a row
_LARGER = 640  # pixels of its longer side where a click enlarges it


def show(run: Run) -> None:
    """Draw the score, where there is one, and the answered rows in pages."""
    try:
        results = batch_files.results(run)
    except InputError as error:  # files of this machine that were moved or changed
        st.error(plain(message_text(batches().without_paths(run, str(error)))))
        return
    if not results.predictions:
        return
    scores = _scored(run, results)
    _downloads(run, results, scores)
    row_scores = dict(scores.rows) if scores else {}
    kinds = ["all", *(["wrong", "right"] if scores else []), "failed"]
    kind = st.segmented_control(
        text("batch.show"), kinds, default="all", required=True, key=f"batch-show-{run.id}",
        format_func=lambda one: text(f"batch.show_{one}"), label_visibility="collapsed",
    )  # fmt: skip
    rows = [row for row in results.answered() if _is_of_kind(kind, row, row_scores)]
    if not rows:
        st.caption(text("batch.nothing"))
        return
    pages = -(-len(rows) // _A_PAGE)
    number = 1
    place = st.container()
    if pages > 1:
        number = st.pagination(pages, key=f"batch-page-{run.id}-{kind}-{pages}")
    with place:
        for row in rows[(number - 1) * _A_PAGE : number * _A_PAGE]:
            _row(row, row_scores.get(row.example.id))


def latest(run: Run) -> None:
    """Draw the answers that came last, while others are on their way."""
    try:
        rows = batch_files.latest(run, _LATEST)
    except InputError:
        return  # the page says so at the end
    if rows:
        st.caption(text("batch.latest"))
    for row in reversed(rows):
        _row(row, None)


def _is_of_kind(kind: str, row: AnsweredRow, row_scores: dict[str | int, float]) -> bool:
    if kind == "failed":
        return row.prediction.text is None
    value = row_scores.get(row.example.id)
    if kind in ("wrong", "right"):
        return value is not None and (value >= RIGHT_SCORE) == (kind == "right")
    return True


def _scored(run: Run, results: Results) -> MetricResult | None:
    """Show the score by the metric that is chosen, beside what is reached without seeing."""
    rows = results.scorable()
    if not rows:
        return None
    names = list(METRICS)
    guess = guess_metric(rows)
    metric = st.selectbox(
        text("batch.metric"), names, index=names.index(guess), key=f"batch-metric-{run.id}",
        width=260,
    )  # fmt: skip
    try:
        scores = batch_files.scores(run, metric)
    except InputError as error:
        st.warning(plain(text("batch.cannot_score", reason=error_text(error))))
        return None
    main = scores.main
    with st.container(horizontal=True, gap="large"):
        st.metric(text("batch.score"), format_value(main, scores.values[main]), width="content")
        for name in ("commonest", "question_only"):
            answer = plain(scores.commonest_answer)
            st.metric(
                text(f"batch.{name}"),
                format_value(main, scores.baselines[name][main]),
                help=text(f"batch.{name}_help", answer=answer),
                width="content",
            )
    near = scores.intervals.get(main)
    counts = {"rows": scores.count, "pictures": scores.pictures}
    if near:
        low, high = (format_value(main, end) for end in near)
        words = text("batch.interval", low=low, high=high, **counts)
    else:
        words = text("batch.interval_none", **counts)
    others = [
        f"{name} {format_value(name, value)}"
        for name, value in scores.values.items()
        if name != main
    ]
    st.caption(plain("; ".join([words, *others])))
    if len(results.predictions) < run.rows:
        st.caption(text("batch.part"))
    return scores


def _downloads(run: Run, results: Results, scores: MetricResult | None) -> None:
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


def _row(row: AnsweredRow, row_score: float | None) -> None:
    with st.container(border=True, horizontal=True, gap="medium"):
        if row.example.images:
            with st.container(width=_WIDTH, gap="xxsmall"):
                _pictures(row.example.images)
        with st.container(width="stretch", gap="xsmall"):
            st.text(row.example.question)
            if row.prediction.text is None:
                reason = message_text(row.prediction.error or "")
                st.warning(plain(text("batch.no_answer", reason=reason)))
            else:
                _labelled(text("batch.prediction"), row.prediction.text)
            if row.example.answers:
                _labelled(text("batch.given"), " / ".join(dict.fromkeys(row.example.answers)))
            _marks(row, row_score)


def _labelled(label: str, words: str) -> None:
    with st.container(gap=None):
        st.caption(label)
        st.text(words)


def _marks(row: AnsweredRow, row_score: float | None) -> None:
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        if row_score is not None:
            right = row_score >= RIGHT_SCORE
            st.badge(
                text("batch.right") if right else text("batch.wrong"),
                icon=":material/check:" if right else ":material/close:",
                color="green" if right else "red",
            )
        if row.prediction.probability is not None:
            percent = f"{row.prediction.probability:.0%}"
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
    """Encode a small JPEG of a picture that was `changed` then."""
    picture = load_image(path)
    picture.thumbnail((_LARGER, _LARGER))
    return jpeg(picture, 85)
