"""The messages that bodies of `/v1/chat/completions` make."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image

from vqa.data.formats.messages import with_parts
from vqa.inputs.prompts import Message
from vqa.serve.chat_request import ChatMessage

PICTURE = {"type": "image_url", "image_url": {"url": "data:x"}}
OPEN = Image.new("RGB", (2, 2))


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def message(*parts: dict[str, Any]) -> Message:
    body = ChatMessage.model_validate({"role": "user", "content": list(parts)})
    return body.to_message(iter([OPEN] * len(parts)))


@pytest.mark.parametrize(
    ("parts", "expected", "places"),
    [
        ((text("Look at it."), text("What is it?")), "Look at it.\nWhat is it?", ()),
        ((PICTURE, text("Look."), text("What?")), "Look.\nWhat?", ()),
        ((text("Look."), text("What?"), PICTURE), "Look.\nWhat?", ()),
        ((text("Is"), text("this"), PICTURE, text("red?"), text("Or blue?")),
         "Is\nthis<image>red?\nOr blue?", (7,)),
        ((text("Is "), PICTURE, text(" red?")), "Is <image> red?", (3,)),
        ((PICTURE, text("Is "), PICTURE, PICTURE, text("?")), "Is <image><image>?", (3, 10)),
    ],
)  # fmt: skip
def test_a_line_break_parts_two_texts_as_in_data(
    parts: tuple[dict[str, Any], ...], expected: str, places: tuple[int, ...]
) -> None:
    made = message(*parts)
    assert (made.text, made.places) == (expected, places)
    assert len(made.images) == parts.count(PICTURE)
    answered = [{"role": "user", "content": list(parts)}, {"role": "assistant", "content": "x"}]
    flat = with_parts({"messages": answered})
    if parts[-1] != PICTURE:  # where only a client's picture may stand without meaning anything
        assert (flat["question"], tuple(flat.get("image_places", ()))) == (expected, places)


def test_empty_texts_part_nothing() -> None:
    assert message(text(""), text("What?"), text(""), PICTURE).text == "What?"
    assert message(text("What"), text(""), text("is it?")).text == "What\nis it?"
    assert message(text("")).text == message(PICTURE, text("")).text == ""
