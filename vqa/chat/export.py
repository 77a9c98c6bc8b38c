"""A conversation as a file: Markdown for people, JSON for programs; `export_html` makes a page."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

from vqa.chat.turn import StoredPicture, Turn, model_parts
from vqa.errors import InputError
from vqa.inputs import signatures
from vqa.inputs.boxes import Box, crop
from vqa.inputs.images import load_image
from vqa.utils.files import without_nan
from vqa.utils.inert import markdown, markdown_line
from vqa.version import __version__

MOST_BYTES = 64 << 20  # of the pictures in a file; further ones are named


def as_markdown(branch: Sequence[Turn]) -> str:
    """The branch as Markdown; pictures are named, not contained, and nothing is a link."""
    parts = [f"# {markdown_line(branch[0].text)}"]
    for turn in branch:
        if turn.role == "user":
            names = ", ".join(markdown_line(_label(picture)) for picture in turn.pictures)
            parts.append("\n".join([*([f"[{names}]", ""] if names else []), _quoted(turn.text)]))
        elif turn.text:
            parts.append(markdown(turn.text))
            if turn.correction:
                parts.append(f"*Corrected:* {markdown(turn.correction)}")
    return "\n\n".join(parts) + "\n"


def as_json(
    branch: Sequence[Turn],
    turns: Sequence[Turn] = (),
    system: str = "",
    message: Callable[[str], str] = str,
) -> str:
    """The conversation as JSON: `messages` to go on with, and `turns`, which is all there is.

    `messages` are OpenAI messages of the branch: its pictures as data URLs, and what the model
    answered. `turns` are those of all branches (of this one where none are given), in the order
    they were made, with models, figures, ratings and corrections. They name pictures by SHA-256,
    with the `box` that a question is about; `pictures` has those that are in no message. A notice
    stands there as `message` writes it.
    """
    turns, contents = turns or branch, _Contents()
    shown = {turn.id for turn in branch}
    messages: list[dict[str, Any]] = []
    if system.strip():
        messages.append({"role": "system", "content": system})
    for turn in branch:
        if turn.role == "user":
            content = [
                _part(picture.name, contents.url(picture, box))
                for picture in turn.pictures
                for box in model_parts(picture.mark)
            ]
            content.append({"type": "text", "text": turn.text})
            messages.append({"role": "user", "content": content})
        elif turn.text:
            messages.append({"role": "assistant", "content": turn.text})
    apart = [one for turn in turns for one in turn.pictures]
    pictures = {
        digest: contents.url(one)
        for one in apart
        if (digest := contents.digest(one)) and digest not in contents.written
    }
    conversation = {
        "written_by": f"vqa {__version__}",
        "system": system,
        "messages": messages,
        "turns": [_turn(turn, turn.id in shown, contents, message) for turn in turns],
        "pictures": {digest: url for digest, url in pictures.items() if url},
    }
    return json.dumps(conversation, ensure_ascii=False, indent=1) + "\n"


class _Contents:
    """The bytes of stored pictures as data URLs, until they are too many."""

    def __init__(self) -> None:
        self.written: set[str] = set()  # SHA-256
        self._bytes = 0

    def digest(self, picture: StoredPicture) -> str | None:
        """Return the SHA-256 of a picture; None where its file is gone."""
        content = _read(picture)
        return None if content is None else hashlib.sha256(content).hexdigest()

    def url(self, picture: StoredPicture, box: Box | None = None) -> str | None:
        """Write a picture, or the part in `box`, as a data URL.

        None where its file is gone or broken, or there is no room.
        """
        content = _read(picture) if box is None else _read_part(picture, box)
        if content is None or self._bytes + len(content) > MOST_BYTES:
            return None
        self._bytes += len(content)
        self.written.add(hashlib.sha256(content).hexdigest())
        known = signatures.detect_format(content[: signatures.HEAD_BYTES])
        kind = known.mime if known is not None else "application/octet-stream"
        return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _read(picture: StoredPicture) -> bytes | None:
    try:
        return picture.path.read_bytes()
    except OSError:
        return None


def _read_part(picture: StoredPicture, box: Box) -> bytes | None:
    file = io.BytesIO()
    try:
        crop(load_image(picture.path), box).save(file, "JPEG", quality=95)
    except InputError:
        return None
    return file.getvalue()


def _label(picture: StoredPicture) -> str:
    return picture.name if picture.mark is None else f"{picture.name}: {picture.mark.box}"


def _part(name: str, url: str | None) -> dict[str, Any]:
    if url is None:
        return {"type": "text", "text": f"[{name}: not in this file]"}
    return {"type": "image_url", "image_url": {"url": url}}


def _turn(
    turn: Turn, shown: bool, contents: _Contents, message: Callable[[str], str]
) -> dict[str, Any]:
    about: Any = without_nan(turn.about)
    values: dict[str, Any] = {
        "id": turn.id,
        "parent": turn.parent,
        "role": turn.role,
        "text": turn.text,
        "shown": shown,
        "created": f"{turn.created.isoformat()}Z",  # a history has all times in UTC
    }
    if turn.role == "user":
        return values | {"pictures": [_picture(one, contents) for one in turn.pictures]}
    return {
        **values,
        "state": turn.state,
        "notice": message(turn.notice),
        "model": turn.model,
        **{name: value for name, value in about.items() if name not in values},
        "rating": turn.rating,
        "correction": turn.correction,
        "better_than": turn.better_than,
        "judged": turn.judged and f"{turn.judged.isoformat()}Z",
    }


def _picture(picture: StoredPicture, contents: _Contents) -> dict[str, Any]:
    values = {"name": picture.name, "sha256": contents.digest(picture)}
    mark = picture.mark
    return values if mark is None else {**values, "box": mark.box.values, "alone": mark.alone}


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}" for line in markdown(text).split("\n"))
