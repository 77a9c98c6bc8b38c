"""One file of questions: how far it is, what is wrong with it, and what was answered."""

from __future__ import annotations

import streamlit as st

from app import batch_results
from app.error_text import message_text
from app.flash_message import report_errors
from app.state import batches, owner
from app.texts import local_time, plain, text
from vqa.batches import Progress, Run
from vqa.batches.run_store import ACTIVE

_EVERY = 1.0  # seconds between two drawings of the progress


def show(run: Run) -> None:
    """Draw it; while it is answered, the page follows."""
    st.button(
        text("batch.back"), icon=":material/arrow_back:", type="tertiary", on_click=_close,
        key="batch-back",
    )  # fmt: skip
    st.header(plain(run.name))
    st.caption(plain(about(run)))
    if batches().progress(run.id) is not None:
        _follow(run.id)
    else:
        _ended(batches().run(owner(), run.id))


def _close() -> None:
    st.query_params.pop("b", None)


@st.fragment(run_every=_EVERY)
def _follow(key: str) -> None:
    """Draw how far it is, and the latest answers, again and again until it ends."""
    progress = batches().progress(key)
    if progress is None:
        st.rerun()
    st.progress(progress.done / progress.total if progress.total else 0.0, _words(progress))
    stopping = st.session_state.get("stopping") == key

    def stop() -> None:
        st.session_state.stopping = key
        batches().stop(owner(), key)

    st.button(
        text("batch.stopping") if stopping else text("batch.stop"), icon=":material/stop:",
        on_click=report_errors(stop), disabled=stopping, key="batch-stop",
    )  # fmt: skip
    batch_results.latest(batches().run(owner(), key))


def _words(progress: Progress) -> str:
    if progress.ahead:
        return text("batch.waiting", count=progress.ahead)
    if not progress.total:
        return text("batch.beginning")
    seconds_left = progress.seconds_left
    if seconds_left is None:
        return text("batch.progress", done=progress.done, total=progress.total)
    minutes, seconds = divmod(round(seconds_left), 60)
    return text(
        "batch.rate",
        done=progress.done,
        total=progress.total,
        rate=f"{progress.rate:.1f}",
        left=f"{minutes // 60}:{minutes % 60:02}:{seconds:02}",
    )


def _ended(run: Run) -> None:
    st.session_state.pop("stopping", None)
    if run.state == "failed":
        st.error(plain(text("batch.failed", reason=message_text(run.reason))))
    elif run.state == "stopped":
        st.info(text("batch.state_stopped", done=run.done, rows=run.rows))
    elif run.state in ACTIVE:
        st.info(text("batch.elsewhere"))
    with st.container(horizontal=True):
        if run.state in ("failed", "stopped"):
            st.button(
                text("batch.go_on"), icon=":material/play_arrow:", type="primary",
                on_click=report_errors(batches().go_on), args=(owner(), run.id), key="batch-go-on",
            )  # fmt: skip
        _deletion(run)
    _bad_rows(run)
    batch_results.show(run)


def _deletion(run: Run) -> None:
    def delete() -> None:
        batches().delete(owner(), run.id)
        _close()

    with st.popover(text("batch.delete"), icon=":material/delete:"):
        st.write(text("batch.delete_sure"))
        st.button(text("batch.delete_yes"), on_click=report_errors(delete), key="batch-delete")


def _bad_rows(run: Run) -> None:
    if run.repeated_ids:
        st.caption(text("batch.repeated", count=run.repeated_ids))
    if not run.bad_count:
        return
    with st.expander(text("batch.bad", count=run.bad_count), icon=":material/warning:"):
        for bad in run.bad:
            st.text(text("batch.bad_line", line=bad.line, reason=message_text(bad.reason)))
        if run.bad_count > len(run.bad):
            st.caption(text("batch.bad_more", count=run.bad_count - len(run.bad)))


def about(run: Run) -> str:
    """When a run began, and what has answered it."""
    return text(
        "batch.about",
        date=local_time(run.created).strftime("%Y-%m-%d %H:%M"),
        rows=run.rows,
        model=run.model or text("batch.no_model"),
    )
