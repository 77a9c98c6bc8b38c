"""Rows of data as conversations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from PIL import Image

from tests import tiny
from vqa.checkpoints import look
from vqa.data.example import Example, Turn
from vqa.prompts import EncodedPrompt, Message
from vqa.turns import encode_row, messages

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


def test_answers_that_only_stand_there_are_not_learned(tmp_path: Path) -> None:
    processor = look(str(tiny.llava_interleave(tmp_path)))[1]
    before = encode_row(ROW, processor)
    turns = (replace(ROW.earlier[0], learned=False), ROW.earlier[1])
    found = encode_row(replace(ROW, earlier=turns), processor)
    assert found.input_ids == before.input_ids

    def learned(prompt: EncodedPrompt) -> str:
        pairs = zip(prompt.input_ids, prompt.learned, strict=True)
        return str(processor.tokenizer.decode([token for token, mark in pairs if mark]))

    assert learned(before).split("<|im_end|>") == ["one", "two", "yes", ""]
    assert learned(found).split("<|im_end|>") == ["two", "yes", ""]
