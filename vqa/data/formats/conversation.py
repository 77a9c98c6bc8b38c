"""Conversations of LLaVA, ShareGPT and OpenAI: one message list, brought to a flat row.

`{"from": "human" | "gpt", "value"}` and `{"role": "user" | "assistant", "content"}` say the same.
A picture of the row stands where a text has `<image>`; with OpenAI's content in parts the pictures
are parts, and `<image>` in a text is text. An earlier answer with `"weight": 0` is not
learned, as in OpenAI's fine-tuning.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote, urlsplit

from vqa.data.columns import Columns
from vqa.data.stored import from_data_url

PLACEHOLDER = "<image>"
_ROLES = {
    "system": "system", "developer": "system", "human": "user", "user": "user",
    "gpt": "assistant", "assistant": "assistant",
}  # fmt: skip
_FIRST = re.compile(r"(?:<image>[ \n]?)+")
_LAST = re.compile(r"(?:[ \n]?<image>)+$")
_MIDDLE = re.compile(r" ?<image>")


def conversation(row: Columns) -> list[Any] | None:
    """The messages of a row that is a conversation."""
    found = row.get("messages", row.get("conversations"))
    return found if isinstance(found, list) else None


def with_placeholders(row: Columns) -> Columns:
    """The flat row of a conversation in which `<image>` stands for the row's next picture.

    Raises ValueError where the pictures and the placeholders are not equal in number, or where the
    messages are not questions and answers in turn.
    """
    images = row.get("image", row.get("images"))
    images = [] if images is None else images if isinstance(images, list) else [images]
    if not images and any(isinstance(_content(said), list) for said in _messages(row)):
        return with_parts(row)  # a file of both
    turns: list[_Message] = []
    for number, message in enumerate(_messages(row), start=1):
        role, content = _role_and_content(message, number)
        if not isinstance(content, str):
            raise ValueError(f"message {number} has no text")
        count = content.count(PLACEHOLDER)
        if count and role != "user":
            raise ValueError(f"message {number}: {PLACEHOLDER} stands in a text of {role}")
        turns.append((role, without_placeholders(content), count, _is_learned(message)))
    total = sum(count for _, _, count, _ in turns)
    if total != len(images):
        pictures = f"{len(images)} picture{'s' * (len(images) != 1)}"
        raise ValueError(f"{total} {PLACEHOLDER} in the text, but {pictures}")
    return _flat(row, turns, images)


def with_parts(row: Columns) -> Columns:
    """The flat row of an OpenAI conversation. Raises ValueError."""
    if row.get("image") or row.get("images"):
        return with_placeholders(row)  # a file of both
    images: list[Any] = []
    turns: list[_Message] = []
    for number, message in enumerate(_messages(row), start=1):
        role, content = _role_and_content(message, number)
        texts, pictures = _parts(content, number)
        if pictures and role != "user":
            raise ValueError(f"message {number}: a picture in a message of {role}")
        images += pictures
        turns.append((role, "\n".join(texts), len(pictures), _is_learned(message)))
    return _flat(row, turns, images)


def without_placeholders(text: str) -> str:
    """The text alone: with a placeholder goes the one white space that parts it from the text."""
    return _MIDDLE.sub("", _LAST.sub("", _FIRST.sub("", text, count=1) if
                                     text.startswith(PLACEHOLDER) else text))  # fmt: skip


_Message = tuple[str, str, int, bool]  # role, text, pictures before the text, if learned


def _messages(row: Columns) -> list[Any]:
    found = conversation(row)
    if not found:
        raise ValueError("no messages (a list under messages or conversations)")
    return found


def _role_and_content(message: object, number: int) -> tuple[str, Any]:
    if not isinstance(message, dict):
        raise ValueError(f"message {number} is not an object")
    role = message.get("role", message.get("from"))
    if not isinstance(role, str) or role not in _ROLES:
        raise ValueError(f"message {number}: the role {role!r} is none of system, user, assistant")
    return _ROLES[role], _content(message)


def _content(message: object) -> Any:
    return message.get("content", message.get("value")) if isinstance(message, dict) else None


def _is_learned(message: object) -> bool:
    return not (isinstance(message, dict) and message.get("weight") == 0)


def _parts(content: object, number: int) -> tuple[list[str], list[str | bytes]]:
    if isinstance(content, str):
        return [content], []
    if not isinstance(content, list):
        raise ValueError(f"message {number} has no content")
    texts: list[str] = []
    pictures: list[str | bytes] = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind == "image_url":
            pictures.append(_from_url(part.get("image_url"), number))
        else:
            raise ValueError(f"message {number}: a part that is neither a text nor an image_url")
    return texts, pictures


def _from_url(found: object, number: int) -> str | bytes:
    """The path of a local picture, or the bytes that a `data:` URL holds."""
    url = found.get("url") if isinstance(found, dict) else found
    if not isinstance(url, str) or not url.strip():
        raise ValueError(f"message {number}: image_url has no url")
    scheme = url[:10].partition(":")[0].lower()
    if scheme == "data":
        return from_data_url(url)
    if scheme == "file":
        return unquote(urlsplit(url).path)
    if scheme in ("http", "https"):
        raise ValueError(
            f"message {number}: pictures are not fetched from the network; "
            "download it and give its path"
        )
    return url


def _flat(row: Columns, turns: list[_Message], images: list[Any]) -> Columns:
    texts = list(turns)
    system = row.get("system") or ""
    if texts and texts[0][0] == "system":
        system = texts.pop(0)[1]
    for number, (role, *_) in enumerate(texts):
        expected = ("user", "assistant")[number % 2]
        if role != expected:
            raise ValueError(
                f"message {number + 1 + len(turns) - len(texts)} is of {role}, where one of "
                f"{expected} belongs"
            )
    answers = []
    if texts and texts[-1][0] == "assistant":
        answers = [texts.pop()[1]]
    if not texts:
        raise ValueError("no question")
    question = texts.pop()[1]
    earlier = [
        {"question": asked, "answer": answer, "pictures": pictures, "learned": learned}
        for (_, asked, pictures, _), (_, answer, _, learned) in zip(
            texts[::2], texts[1::2], strict=True
        )
    ]
    accepted = row.get("answers")
    if isinstance(accepted, list) and accepted[:1] == answers:
        answers = accepted
    left_out = {"messages", "conversations", "image", "images", "answers", "answer"}
    flat = {name: value for name, value in row.items() if name not in left_out}
    flat |= {"images": images, "question": question, "earlier": earlier or None}
    if answers:
        flat["answers"] = answers
    if system:
        flat["system"] = system
    return flat
