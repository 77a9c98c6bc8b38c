"""Rows of data as conversations."""

from __future__ import annotations

from PIL import Image

from vqa.data.example import Example, Turn
from vqa.prompts import Message
from vqa.turns import messages

PICTURES = [Image.new("RGB", (n, 1)) for n in (1, 2, 3)]
ROW = Example(
    1, ("a", "b", "c"), "Last?", ("yes", "yeah"),
    earlier=(Turn("First?", "one", 1), Turn("Second?", "two")), system="Be short.",
)  # fmt: skip


def test_each_turn_has_its_pictures() -> None:
    asked = (
        Message("system", "Be short."),
        Message("user", "First?", (PICTURES[0],)),
        Message("assistant", "one"),
        Message("user", "Second?"),
        Message("assistant", "two"),
        Message("user", "Last?", (PICTURES[1], PICTURES[2])),
    )
    assert messages(ROW, PICTURES, answered=False) == asked
    assert messages(ROW, PICTURES, answered=True) == (*asked, Message("assistant", "yes"))


def test_a_plain_row_is_one_question() -> None:
    row = Example(1, ("a",), "What?")
    assert messages(row, PICTURES[:1], answered=False) == (
        Message("user", "What?", (PICTURES[0],)),
    )
