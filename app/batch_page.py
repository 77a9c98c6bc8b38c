"""Many questions at once: a file of questions and its pictures, answered in the background."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import streamlit as st

from app import batch_run, flash_message, model_picker, uploads
from app.error_text import error_text
from app.state import batches, is_local, owner
from app.texts import language_picker, plain, text
from vqa.batches import Limits, NotFoundError, Run, ZipLimits
from vqa.batches.background import MAX_NEW_TOKENS
from vqa.data.row_limits import GUEST_TEXT
from vqa.errors import VQAError

_DATA_MB, _ZIP_MB = 100, 500
# For those who come over the network: the model is shared, and so is the disk.
_FOR_GUESTS = Limits(
    rows=2000, text=GUEST_TEXT, runs=20, active=1, unpacked=ZipLimits(files=5000, size=1 << 30)
)


def show() -> None:
    """Draw the page for this run of the script."""
    with st.sidebar:
        with st.expander(text("model.heading"), icon=":material/memory:"):
            model_picker.show()
        language_picker()
    flash_message.show()
    key = st.query_params.get("b")
    if key:
        try:
            run = batches().run(owner(), key)
        except NotFoundError:
            del st.query_params["b"]
            st.info(text("batch.deleted"))
        else:
            batch_run.show(run)
            return
    st.header(text("batch.heading"))
    st.write(text("batch.hint"))
    form = st.container()
    st.subheader(text("batch.runs"))
    _runs()
    with form:
        model_picker.show_state()
        if model_picker.is_ready():
            _form()


def _form() -> None:
    """Draw the form that begins a run, which is then shown in place of this page."""
    source = "upload"
    if is_local():
        source = st.segmented_control(
            text("batch.source"), ["upload", "here"], default="upload", required=True,
            format_func=lambda one: text(f"batch.{one}"), key="batch-source",
        )  # fmt: skip
    with st.form("batch"):
        begin = _here() if source == "here" else _upload()
        tokens = st.number_input(
            text("batch.max_new_tokens"), 1, 2048, MAX_NEW_TOKENS, key="batch-tokens"
        )
        if not is_local():
            limits = _FOR_GUESTS
            st.caption(text("batch.limit", rows=limits.rows, runs=limits.runs))
        started = st.form_submit_button(
            text("batch.start"), type="primary", icon=":material/play_arrow:"
        )
    if not started:
        return
    if begin is None:
        st.warning(text("batch.no_data"))
        return
    try:
        with st.spinner(text("batch.reading")):
            key = begin(tokens)
    except VQAError as error:
        st.error(plain(error_text(error)))
        return
    _open(key)
    st.rerun()


def _upload() -> Callable[[int], str] | None:
    """Return what begins a run with uploaded files, given the longest answer; None without any."""
    data = st.file_uploader(
        text("batch.data"), key="batch-data", help=text("batch.format"), max_upload_size=_DATA_MB
    )
    zipped = st.file_uploader(text("batch.zip"), key="batch-zip", max_upload_size=_ZIP_MB)
    uploads.notice(_DATA_MB, _ZIP_MB)
    if data is None:
        return None
    limits = Limits() if is_local() else _FOR_GUESTS
    return lambda tokens: batches().start(
        owner(), data.name, data, zipped, max_new_tokens=tokens, limits=limits
    )


def _here() -> Callable[[int], str] | None:
    """Return the same with files of this machine."""
    data = st.text_input(text("batch.data_path"), key="batch-data-path").strip()
    images = st.text_input(text("batch.images_path"), key="batch-images-path").strip()
    if not data:
        return None
    root = Path(os.path.expanduser(images)) if images else None
    return lambda tokens: batches().start_here(
        owner(), Path(os.path.expanduser(data)), root, max_new_tokens=tokens
    )


def _open(key: str) -> None:
    st.query_params["b"] = key


def _runs() -> None:
    """List the owner's runs, the latest first."""
    runs = batches().runs(owner())
    if not runs:
        st.caption(text("batch.none"))
    for run in runs:
        with st.container(border=True, gap="xxsmall", key=f"batch-row-{run.id}"):
            st.button(
                plain(run.name), key=f"batch-open-{run.id}", type="tertiary", on_click=_open,
                args=(run.id,), icon=":material/table_rows:",
            )  # fmt: skip
            st.caption(f"{_state(run)} · {plain(batch_run.about(run))}")


def _state(run: Run) -> str:
    progress = batches().progress(run.id)
    done = progress.done if progress else run.done
    return text(f"batch.state_{run.state}", done=done, rows=run.rows)
