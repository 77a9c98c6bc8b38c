"""A conversation as a file: Markdown for people, OpenAI messages for programs."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

from vqa.chat.history import Picture, Turn

_TYPES = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG", "image/png"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
    (b"BM", "image/bmp"),
    (b"II", "image/tiff"),
    (b"MM", "image/tiff"),
)


def as_markdown(branch: Sequence[Turn]) -> str:
    """The branch as Markdown; pictures are named, not contained."""
    parts = [f"# {_line(branch[0].text)}"]
    for turn in branch:
        if turn.role == "user":
            names = ", ".join(_line(picture.name) for picture in turn.pictures)
            parts.append("\n".join([*([f"[{names}]", ""] if names else []), _quoted(turn.text)]))
        elif turn.text:
            parts.append(turn.text)
            if turn.correction:
                parts.append(f"*Corrected:* {turn.correction}")
    return "\n\n".join(parts) + "\n"


def as_json(branch: Sequence[Turn]) -> str:
    """The branch as OpenAI messages, with the pictures in them as data URLs."""
    messages: list[dict[str, Any]] = []
    for turn in branch:
        if turn.role == "user":
            content: list[dict[str, Any]] = [
                {"type": "image_url", "image_url": {"url": _data_url(picture)}}
                for picture in turn.pictures
            ]
            content.append({"type": "text", "text": turn.text})
            messages.append({"role": "user", "content": content})
        elif turn.text:
            messages.append({"role": "assistant", "content": turn.correction or turn.text})
    return json.dumps({"messages": messages}, ensure_ascii=False, indent=1) + "\n"


def _data_url(picture: Picture) -> str:
    content = picture.path.read_bytes()
    kind = next((kind for magic, kind in _TYPES if content.startswith(magic)), "image/heic")
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _line(text: str) -> str:
    return " ".join(text.split())


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}" for line in text.splitlines())
