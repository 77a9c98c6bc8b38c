"""Conversations of LLaVA, ShareGPT, OpenAI and TRL: one message list, brought to a flat row.

`{"from": "human" | "gpt", "value"}` and `{"role": "user" | "assistant", "content"}` are equal;
TRL's `prompt` and `completion` are two parts of one list. A picture of the row stands where a text
has `<image>`. In a content of parts, `<image>` in a text is text, and pictures are parts: with
their own address (`image_url`, OpenAI), or `{"type": "image"}` for the row's next one (TRL).
Pictures that come before all words stand before the question, those behind some have a place in
it. An answer with `"weight": 0` is not in the loss, as in OpenAI's fine-tuning.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from vqa.data.cell_values import SCALAR, to_text
from vqa.data.example import PLACES, Columns
from vqa.inputs.placeholders import PLACEHOLDER, join_with_pictures

_ROLES = {
    "system": "system", "developer": "system", "human": "user", "user": "user",
    "gpt": "assistant", "assistant": "assistant",
}  # fmt: skip
_PARTED = ("prompt", "completion")
_TEXT_PARTS = frozenset({"text", "input_text", "output_text"})
_URL_PARTS = frozenset({"image_url", "input_image"})
_OMITTED = frozenset({"messages", "conversations", "image", "images", "answers", "answer"})
_OMITTED_OF_PARTED = _OMITTED | set(_PARTED)
_NEXT = object()  # the place of the row's next picture
_FIRST = re.compile(r"(?:<image>[ \n]?)+")
_BEFORE_WORDS = re.compile(r"(?:\s*<image>)*")
_WITH_SPACE = re.compile(r" ?<image>")


def conversation(row: Columns) -> list[Any] | None:
    """Return the messages of a row that is a conversation."""
    if "messages" in row:
        messages = row["messages"]
    elif "conversations" in row:
        messages = row["conversations"]
    elif isinstance(row.get("prompt"), list):
        parts = [row[part] for part in _PARTED if row.get(part) is not None]
        if not all(isinstance(part, list) for part in parts):
            return None
        return [message for part in parts for message in part]
    else:
        return None
    if not isinstance(messages, list):
        return None
    if len(messages) == 1 and isinstance(messages[0], list):
        return messages[0]  # a list of conversations, of which there is one
    return messages


def with_placeholders(row: Columns) -> Columns:
    """Make the flat row of a conversation in which `<image>` stands for the row's next picture.

    Raises ValueError where the pictures and their places are not equal in number, or where the
    messages are not questions and answers in turn.
    """
    return _flat_row(row, placeholders=True)


def with_parts(row: Columns) -> Columns:
    """Make the flat row of an OpenAI conversation: without pictures beside it, `<image>` is text.

    Raises ValueError as `with_placeholders`.
    """
    return _flat_row(row, placeholders=bool(_beside(row)))


def _flat_row(row: Columns, placeholders: bool) -> Columns:
    beside = _beside(row)
    images: list[Any] = []
    messages: list[_Message] = []
    for number, message in enumerate(_messages(row), start=1):
        role, content = _role_and_content(message, number)
        in_loss = message.get("weight") != 0
        if isinstance(content, str) and not (placeholders and PLACEHOLDER in content):  # most
            messages.append(_Message(role, content, (), 0, in_loss))
            continue
        pictures: list[Any] = []
        places: tuple[int, ...] = ()
        if isinstance(content, list):
            texts, pictures = _parts(content, number)
            text, places = join_with_pictures(["\n".join(piece) for piece in texts])
        else:
            text = _text(content, number)
            if placeholders and PLACEHOLDER in text:
                pictures = [_NEXT] * text.count(PLACEHOLDER)
                text, places = placed(text)
        if pictures and role != "user":
            picture = "a picture" if isinstance(content, list) else PLACEHOLDER
            raise ValueError(f"message {number}: {picture} stands in a text of {role}")
        images += pictures
        messages.append(_Message(role, text, places, len(pictures), in_loss))
    following = iter(beside)
    count = sum([image is _NEXT for image in images])
    if count != len(beside):
        pictures_beside = f"{len(beside)} picture{'s' * (len(beside) != 1)}"
        raise ValueError(f"{count} {PLACEHOLDER} in the text, but {pictures_beside}")
    return _flat(row, messages, [next(following) if i is _NEXT else i for i in images])


def _beside(row: Columns) -> list[Any]:
    """Return the pictures in a column beside the messages."""
    for name in ("image", "images"):
        images = row.get(name)
        if isinstance(images, list):
            return images
        if images is not None and images != "":
            return [images]
    return []


def placed(text: str) -> tuple[str, tuple[int, ...]]:
    """Return the text behind the pictures that precede all words, and the places of the others.

    With a placeholder before the words goes the one white space that parts it from them.
    """
    if text.startswith(PLACEHOLDER):
        text = _FIRST.sub("", text, count=1)
    before = _BEFORE_WORDS.match(text)
    if before is not None:  # it always is
        text = _WITH_SPACE.sub("", before[0]) + text[before.end() :]
    return join_with_pictures(text.split(PLACEHOLDER))


def weight(in_loss: bool) -> Columns:
    """Return what a message of the assistant has besides where its text is not in the loss."""
    return {} if in_loss else {"weight": 0}


class _Message(NamedTuple):
    role: str
    text: str
    places: tuple[int, ...]  # of pictures in the text
    pictures: int
    in_loss: bool


def _messages(row: Columns) -> list[Any]:
    messages = conversation(row)
    if not messages:
        raise ValueError("no messages (a list under messages or conversations)")
    return messages


def _role_and_content(message: object, number: int) -> tuple[str, Any]:
    if not isinstance(message, dict):
        raise ValueError(f"message {number} is not an object")
    name, content = message.get("role"), message.get("content")
    if name is None:  # tables hold null for a name that other rows have
        name = message.get("from")
    role = _ROLES.get(name) if isinstance(name, str) else None
    if role is None:
        raise ValueError(f"message {number}: the role {name!r} is none of system, user, assistant")
    return role, message.get("value") if content is None else content


def _text(content: object, number: int) -> str:
    if not isinstance(content, SCALAR):
        raise ValueError(f"message {number} has no text")
    return to_text(content)


def _parts(content: list[Any], number: int) -> tuple[list[list[str]], list[Any]]:
    """Return the texts of a content in parts, and its pictures, or `_NEXT` for a place of one.

    Between two lists of texts stands a picture; those before all words stand before the first list.
    """
    texts: list[list[str]] = [[]]
    pictures: list[Any] = []
    for part in content:
        kind = str(part.get("type")) if isinstance(part, dict) else ""
        if kind in _TEXT_PARTS and isinstance(part.get("text"), str):
            texts[-1].append(part["text"])
            continue
        if kind in _URL_PARTS:
            pictures.append(_of_url(part.get("image_url"), number))
        elif kind == "image":
            pictures.append(_of_image(part, number))
        else:
            raise ValueError(f"message {number}: a part that is neither a text nor an image_url")
        if any(map(str.strip, texts[0])):
            texts.append([])
    return texts, pictures


def _of_url(part: object, number: int) -> str:
    url = part.get("url") if isinstance(part, dict) else part
    if not isinstance(url, str) or not url.strip():
        raise ValueError(f"message {number}: image_url has no url")
    return url


def _of_image(part: Columns, number: int) -> Any:
    """Return the picture of an `image` part; `_NEXT` where the part only holds a place."""
    source = part.get("source")
    if isinstance(source, dict):  # Anthropic's messages
        if source.get("data") is not None:
            return f"data:{source.get('media_type')};base64,{source['data']}"
        return _of_url(source, number)
    images = (part.get(name) for name in ("image", "url", "path"))
    return next((image for image in images if image is not None), _NEXT)


def _flat(row: Columns, messages: list[_Message], images: list[Any]) -> Columns:
    turns = list(messages)
    system = row.get("system") or ""
    if turns and turns[0].role == "system":
        system = turns.pop(0).text
    for number, turn in enumerate(turns):
        expected = ("user", "assistant")[number % 2]
        if turn.role != expected:
            raise ValueError(
                f"message {number + 1 + len(messages) - len(turns)} is of {turn.role}, where one "
                f"of {expected} belongs"
            )
    answer = turns.pop() if turns and turns[-1].role == "assistant" else None
    if not turns:
        raise ValueError("no question")
    question = turns.pop()
    earlier = [
        {
            "question": user.text, "answer": assistant.text, "pictures": user.pictures,
            "learned": assistant.in_loss, PLACES: list(user.places) or None,
        }
        for user, assistant in zip(turns[::2], turns[1::2], strict=True)
    ]  # fmt: skip
    omitted = _OMITTED if "messages" in row or "conversations" in row else _OMITTED_OF_PARTED
    flat = {name: value for name, value in row.items() if name not in omitted}
    flat |= {"images": images, "question": question.text}
    if earlier:
        flat["earlier"] = earlier
    if question.places:
        flat[PLACES] = list(question.places)
    accepted = row.get("answers")
    answers = [answer.text] if answer is not None else []
    if isinstance(accepted, list) and accepted[:1] == answers:
        answers = accepted
    if answers:
        flat["answers"] = answers
        if answer is not None and not answer.in_loss:
            flat["learned"] = False
    if system:
        flat["system"] = system
    return flat
