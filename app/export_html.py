"""A conversation as one HTML file, with its pictures and all its branches, that loads nothing."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from PIL.Image import Image, Resampling

from app.error_text import message_in
from app.texts import text_in
from app.turn_details import figures
from vqa.chat.turn import Mark, StoredPicture, Turn
from vqa.inputs.boxes import draw_box
from vqa.inputs.images import ImageError
from vqa.utils.inert import visible
from vqa.version import __version__

_MOST_BYTES = 24 << 20  # of all pictures as text; further ones are named
_SIDE = 1024  # pixels of the longer side of a picture


def as_html(
    branch: Sequence[Turn],
    turns: Sequence[Turn],
    system: str,
    load: Callable[[StoredPicture], Image],
    language: str,
) -> str:
    """Render the branch, and folded away beside it what else is in `turns`, all of them, as a page.

    Pictures are opened by `load` and drawn small: nothing of a photo's EXIF goes along. No tag,
    link or script of anybody's is one in the page.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = (files(__package__) / "conversation.html.jinja").read_text(encoding="utf-8")
    say = partial(text_in, language)
    page = environment.from_string(template).render(
        places=_places(branch, turns),
        system=system.strip(),
        picture=_Drawn(load).url,
        say=say,
        figures=lambda turn: figures(turn, say) if turn.about else "",
        message=partial(message_in, language),
        language=language,
        version=__version__,
    )
    return visible(page)


def _places(branch: Sequence[Turn], turns: Sequence[Turn]) -> list[tuple[Turn, list[Turn]]]:
    """List the turns of the branch, each with those in place of it and all that follows these."""
    shown = {turn.parent: turn.id for turn in branch}  # by what it follows
    others: dict[str, list[Turn]] = {turn.id: [] for turn in branch}
    place: dict[str | None, str] = {}  # in the branch, of a turn that is not
    for turn in turns:  # parents come first
        if turn.id not in others:
            place[turn.id] = place.get(turn.parent) or shown.get(turn.parent) or branch[-1].id
            others[place[turn.id]].append(turn)
    return [(turn, others[turn.id]) for turn in branch]


class _Drawn:
    """Small pictures as data URLs, until there are too many bytes of them."""

    def __init__(self, load: Callable[[StoredPicture], Image]) -> None:
        self._load = load
        self._urls: dict[tuple[Path, Mark | None], str] = {}
        self._bytes = 0

    def url(self, picture: StoredPicture) -> str:
        """Return a picture, with its bytes each time; empty where it cannot be shown."""
        if self._bytes >= _MOST_BYTES:
            return ""
        key = picture.path, picture.mark
        if key not in self._urls:
            self._urls[key] = self._draw(picture)
        self._bytes += len(self._urls[key])
        return self._urls[key]

    def _draw(self, picture: StoredPicture) -> str:
        try:
            drawn = self._load(picture).copy()  # others have it too
        except (OSError, ImageError):
            return ""
        drawn.thumbnail((_SIDE, _SIDE), Resampling.LANCZOS)
        if picture.mark is not None:
            drawn = draw_box(drawn, picture.mark.box)
        file = io.BytesIO()
        drawn.save(file, "JPEG", quality=82, optimize=True)
        return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
