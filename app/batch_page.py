"""Many questions at once: a file of questions and its pictures, answered in the background."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from app import batch_run, model_picker, trouble
from app.state import batches, is_local, owner
from app.texts import language_picker, plain, text
from vqa.batches import Limits, NotThere, Run, ZipLimits
from vqa.batches.background import MAX_NEW_TOKENS
from vqa.errors import VQAError

_DATA = ["csv", "tsv", "txt", "json", "jsonl", "ndjson", "parquet"]
_DATA_MB, _ZIP_MB = 100, 500
# For those who come over the network: the model is shared, and so is the disk.
_FOR_GUESTS = Limits(rows=2000, runs=20, active=1, unpacked=ZipLimits(files=5000, size=1 << 30))


def show() -> None:
    """Draw the page for this run of the script."""
    with st.sidebar:
        with st.expander(text("model.heading"), icon=":material/memory:"):
            model_picker.show()
        language_picker()
    trouble.show()
    key = st.query_params.get("b")
    if key:
        try:
            run = batches().run(owner(), key)
        except NotThere:
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
    """What to begin with; a run that begins is shown in place of this page."""
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
        st.error(plain(str(error)))
        return
    _open(key)
    st.rerun()


def _upload() -> Callable[[int], str] | None:
    """What begins with uploaded files, given the longest answer; None without questions."""
    data = st.file_uploader(
        text("batch.data"), _DATA, key="batch-data", help=text("batch.format"),
        max_upload_size=_DATA_MB,
    )  # fmt: skip
    zipped = st.file_uploader(text("batch.zip"), "zip", key="batch-zip", max_upload_size=_ZIP_MB)
    if data is None:
        return None
    limits = Limits() if is_local() else _FOR_GUESTS
    return lambda tokens: batches().start(
        owner(), data.name, data, zipped, max_new_tokens=tokens, limits=limits
    )


def _here() -> Callable[[int], str] | None:
    """The same with files of this machine."""
    data = st.text_input(text("batch.data_path"), key="batch-data-path").strip()
    images = st.text_input(text("batch.images_path"), key="batch-images-path").strip()
    if not data:
        return None
    root = Path(images).expanduser() if images else None
    return lambda tokens: batches().start_here(
        owner(), Path(data).expanduser(), root, max_new_tokens=tokens
    )


def _open(key: str) -> None:
    st.query_params["b"] = key


def _runs() -> None:
    """The owner's files, the latest first."""
    found = batches().runs(owner())
    if not found:
        st.caption(text("batch.none"))
    for run in found:
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
