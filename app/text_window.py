"""What was read in a conversation's pictures, over them as text that can be selected."""

from __future__ import annotations

import base64
import html
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

from app import copy_button, thumbnails
from app.state import chats, owner, reader
from app.texts import plain, text
from vqa.errors import InputError
from vqa.inputs.images import ImageError
from vqa.reading import TextLine, reading_order
from vqa.utils.inert import visible

_LETTERS = 0.8  # of a line's height is the size of its letters
_NARROW, _WIDE = 0.55, 1.0  # of that size, the usual width of a letter


def show(key: str) -> None:
    """Draw the pictures up to an answer with their text. Raises VQAError where it is gone."""
    conversation = chats().history.turn(owner(), key).conversation
    branch = chats().history.branch(owner(), conversation, key)
    try:
        text_reader = reader()
    except InputError:  # the extra is not installed
        st.info(text("reading.not_installed"))
        return
    # a picture that was asked about in parts is shown once, and whole
    pictures = [replace(picture, mark=None) for turn in branch for picture in turn.pictures]
    for picture in {picture.path: picture for picture in pictures}.values():
        try:
            image, small = chats().pictures.load_stored(picture), thumbnails.stored(picture)
        except (OSError, ImageError):
            st.warning(plain(text("trouble.picture_gone", name=picture.name)))
            continue
        with st.spinner(text("reading.working")):
            rows = reading_order(text_reader.read(image))
        st.caption(plain(picture.name))
        _show_words(rows)
        st.html(as_html(small, image.size, picture.name, [line for row in rows for line in row]))


def _show_words(rows: Sequence[Sequence[TextLine]]) -> None:
    if not rows:
        st.info(text("reading.nothing"))
        return
    words = visible("\n".join("\t".join(line.text for line in row) for row in rows))
    with st.container(horizontal=True):
        st.text(words, width="stretch")
        copy_button.show(words)


def as_html(jpeg: bytes, size: tuple[int, int], name: str, lines: Sequence[TextLine]) -> str:
    """Write a picture with its lines over it: transparent, each in its place and as large.

    `size` is that of the picture in which the lines were read.
    """
    width, height = size
    address = f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
    spans = "\n".join(_line(line, width, height) for line in lines)
    return (
        f'<div class="read-text" style="max-width:{80 * width / height:.2f}vh">'
        f'<img src="{address}" alt="{html.escape(name)}">'
        f'<div aria-hidden="true">{spans}</div></div>'  # read out is the text above
    )


def _line(line: TextLine, width: int, height: int) -> str:
    """Write a line, from its first corner on along its upper side, in shares of the picture."""
    (x, y), (x1, y1) = line.corners[:2]
    length = max(math.hypot(x1 - x, y1 - y), 1.0)
    size = _LETTERS * line.height  # pixels of the picture, and less where it would be too long
    size = min(size, length / max(sum(map(_width, line.text)), 1.0))
    style = {
        "left": f"{100 * x / width:.3f}%",
        "top": f"{100 * y / height:.3f}%",
        "width": f"{100 * length / width:.3f}%",
        "height": f"{100 * line.height / height:.3f}%",
        "line-height": f"{100 * line.height / width:.3f}cqw",
        "font-size": f"{100 * size / width:.3f}cqw",
        "transform": f"rotate({math.degrees(math.atan2(y1 - y, x1 - x)):.2f}deg)",
    }
    declarations = ";".join(f"{name}:{value}" for name, value in style.items())
    return f'<div style="{declarations}">{html.escape(visible(line.text))}</div>'


def _width(letter: str) -> float:
    return _WIDE if unicodedata.east_asian_width(letter) in "WF" else _NARROW
