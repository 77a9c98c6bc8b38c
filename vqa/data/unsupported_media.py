"""Videos and sound in data: nothing here reads them, so a row about them is refused.

Trained on without what it asks about, a row would teach to guess.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from vqa.data.embedded_pictures import picture_store
from vqa.data.example import Columns
from vqa.data.formats.messages import conversation
from vqa.inputs import signatures

_COLUMN = re.compile(r"(video|audio)s?(_?(path|url|file)s?)?", re.I)
_PART = re.compile(r"(?:input_)?(video|audio)s?(?:_url)?", re.I)
# As LLaVA and LLaMA-Factory write them, and Qwen's; an HTML element is closed later on.
_PLACEHOLDER = re.compile(r"<(video|audio)>|<\|(video|audio)(?:_pad)?\|>", re.I)
_KINDS = {
    "video": (
        ".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp",
        ".ts", ".ogv",
    ),
    "audio": (".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac", ".wma", ".aiff"),
}  # fmt: skip
_KIND_OF = {ending: kind for kind, endings in _KINDS.items() for ending in endings}
_NAMES = 4096  # cached names of columns: files have the same in every row
_LONGEST = 60  # characters of a name in a message, and of a column about media


def check_row(row: Columns) -> None:
    """Raise ValueError where a row, as its file has it, is about a video or a sound."""
    for name, value in row.items():
        kind = _column_kind(name) if len(name) <= _LONGEST else None
        if kind is not None and _is_filled(value):
            raise _refusal(kind, value)
    parts: list[Any] = []
    for message in conversation(row) or ():
        if isinstance(message, dict):
            content = message.get("content") or message.get("value")
            if isinstance(content, list):
                parts += content
            elif isinstance(content, str) and "<" in content and _is_of_user(message):
                _check_text(content)
    question = row.get("question")
    if isinstance(question, str) and "<" in question:
        _check_text(question)
    for part in parts:
        _check_part(part)


def _is_of_user(message: Columns) -> bool:
    return (message.get("role") or message.get("from")) in ("user", "human")


@lru_cache(_NAMES)
def _column_kind(name: str) -> str | None:
    """Return what a column of this name holds: video, audio, or None."""
    match = _COLUMN.fullmatch(name)
    return match[1] if match is not None else None


def check_pictures(images: Iterable[str | Path]) -> None:
    """Raise ValueError where a row names a video or a sound as a picture.

    What a file holds counts; its name where that is no picture, or the file is not there. A name
    with the ending of a picture is left to whoever opens it.
    """
    for name in images:
        if f".{str(name).rpartition('.')[2].lower()}" in signatures.SUFFIXES:  # most: fast
            continue
        image = Path(name)
        ending = image.suffix.lower()
        kind = _KIND_OF.get(ending)
        if kind is None and (ending or not image.is_relative_to(picture_store())):
            continue
        from vqa.inputs.video import is_video  # it is rarely needed, and brings numpy

        if is_video(image):
            raise _refusal("video", image.name)
        if kind is not None and not _is_picture(image):
            raise _refusal(kind, image.name)


def _check_text(text: str) -> None:
    """Raise ValueError for a text with the place of a video or sound."""
    closed: dict[str, int] = {}  # where the last element of a kind ends
    for match in _PLACEHOLDER.finditer(text):
        kind = (match[1] or match[2]).lower()
        if match[1] and kind not in closed:
            ends = re.finditer(f"</{kind}>", text, re.I)
            closed[kind] = max((end.start() for end in ends), default=-1)
        if match[2] or match.end() > closed[kind]:
            raise _refusal(kind, match[0])


def _is_filled(value: Any) -> bool:
    """Return whether a cell names or holds anything: programs write an empty one in many ways."""
    if isinstance(value, dict):
        return any(map(_is_filled, value.values()))
    if isinstance(value, list):
        return any(map(_is_filled, value))
    if isinstance(value, float):
        return not math.isnan(value)
    return bool(value) and value is not True


def _check_part(part: object) -> None:
    if not isinstance(part, dict):
        return
    kind = part.get("type")
    named = _PART.fullmatch(kind) if isinstance(kind, str) else None
    if named is not None:
        raise _refusal(named[1], part.get(str(kind)))
    for name, value in part.items():
        if name != "type" and (named := _PART.fullmatch(name)) and _is_filled(value):
            raise _refusal(named[1], value)
    for name in ("image", "image_url", "url", "path"):
        value = part.get(name)
        value = value.get("url") if isinstance(value, dict) else value
        if isinstance(value, str):
            match = re.match(r"data:(video|audio)/", value, re.I)
            if match is not None:
                raise _refusal(match[1], "a data: URL")


def _is_picture(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return signatures.detect_format(file.read(signatures.HEAD_BYTES)) is not None
    except (OSError, ValueError):
        return False


def _refusal(kind: str, value: Any) -> ValueError:
    kind = kind.lower()
    advice = {
        "video": "take frames out of it as pictures, or leave the row out",
        "audio": "leave the row out",
    }
    name = _name(value)
    return ValueError(
        f"{kind}{f' ({name})' if name else ''} is not read, only pictures: {advice[kind]}"
    )


def _name(value: Any) -> str:
    """Return the first name in a cell, for a message."""
    if isinstance(value, dict):
        value = [value.get(key) for key in ("path", "url", "video", "audio")]
    if isinstance(value, list):
        return next(filter(None, map(_name, value)), "")
    if not isinstance(value, str) or value.startswith("data:"):
        return ""
    line = " ".join(value.split())
    return line if len(line) <= _LONGEST else f"...{line[-_LONGEST:]}"
