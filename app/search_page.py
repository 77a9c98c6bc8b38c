"""Finding pictures in a folder of this computer, by words or an example, to ask about them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from app import address, chat_page, composer, drafts, uploads
from app.error_text import error_text, message_text
from app.state import directory
from app.texts import language_picker, plain, text
from app.thumbnails import reduced, upload_of
from vqa.alignment import check_length
from vqa.errors import VQAError
from vqa.inputs.images import ImageError, load_image
from vqa.utils import fingerprint

if TYPE_CHECKING:
    from vqa.alignment.dual_encoder import DualEncoder
    from vqa.alignment.index import Hit

_SHOWN = 24  # pictures
_LONGEST_PATH = 4096  # characters


@st.cache_resource(show_spinner=False)
def _encoder() -> DualEncoder:
    from vqa.alignment.loading import load

    return load()


def show() -> None:
    """Draw the page."""
    with st.sidebar:
        language_picker()
    st.header(text("search.heading"))
    st.write(text("search.hint"))
    named = st.text_input(text("search.folder"), key="search-folder", bind="query-params").strip()
    if not named:
        return
    if len(named) > _LONGEST_PATH:
        st.error(text("search.long_folder", count=f"{len(named):,}", most=f"{_LONGEST_PATH:,}"))
        return
    try:
        index = _index(Path(named).expanduser())
        if index is not None:
            _find(index)
    except (VQAError, OSError, RuntimeError) as error:  # a full disk; no home of that name
        st.error(plain(error_text(error)))


def _index(folder: Path) -> Path | None:
    """Return the index of a folder; None where there is none yet. A button makes or renews it."""
    from vqa.alignment.loading import embedded_directory
    from vqa.data.picture_files import list_pictures

    listing = list_pictures(folder)
    # other weights make another index
    identity = [str(folder.resolve()), fingerprint.of_directory(embedded_directory())]
    index = directory() / "indexes" / fingerprint.of_json(identity)
    exists = index.is_dir()
    left_out = listing.left_out()
    if left_out is not None:
        st.caption(plain(message_text(left_out.line_about(folder))))
    label = text("search.renew" if exists else "search.index", count=len(listing.pictures))
    if st.button(label, icon=":material/refresh:" if exists else ":material/image_search:"):
        _make(folder, index)
        return index
    return index if exists else None


def _make(folder: Path, index: Path) -> None:
    """Stopped in the middle, the next press of the button goes on."""
    from vqa.alignment.search import index_folder

    with st.spinner(text("search.loading")):
        encoder = _encoder()
    bar = st.progress(0.0)

    def tell(done: int, total: int) -> None:
        words = text("search.working", done=done, total=total)
        bar.progress(done / total if total else 1.0, words)

    done = index_folder(folder, index, encoder, tell)
    bar.empty()
    if done.broken:
        with st.expander(text("search.broken", count=len(done.broken))):
            for line in done.broken:
                st.text(line)


def _find(index: Path) -> None:
    from vqa.alignment.search import open_index, search_by_image, search_by_text

    words = st.text_input(
        text("search.words"), key="search-words", icon=":material/search:", bind="query-params"
    )
    example = st.file_uploader(text("search.like"), key="search-like")
    uploads.notice()
    if not words.strip() and example is None:
        return
    check_length(words)
    with st.spinner(text("search.loading")):
        encoder = _encoder()
    opened = open_index(index, encoder)
    if example is not None:
        hits = search_by_image(opened, encoder, load_image(example), _SHOWN)
    else:
        hits = search_by_text(opened, encoder, words.strip(), _SHOWN)
    current = [hit for hit in hits if not opened.has_changed(hit.image)]
    if len(current) < len(hits):
        st.caption(text("search.changed", count=len(hits) - len(current)))
    _results(current)


def _results(hits: list[Hit]) -> None:
    with st.container(horizontal=True):
        for number, hit in enumerate(hits):
            path = hit.image
            try:
                thumbnail = reduced(path.read_bytes())
            except (OSError, ImageError):
                continue  # gone since it was indexed
            with st.container(width=200):
                st.image(thumbnail, alt=path.name)
                st.caption(plain(f"{hit.similarity:.2f}  {path.name}"))
                if st.button(text("search.ask"), key=f"ask-{number}", width="stretch"):
                    address.forget("c")
                    drafts.take()
                    composer.add(upload_of(path))
                    st.switch_page(st.Page(chat_page.show, url_path="chat", default=True))
