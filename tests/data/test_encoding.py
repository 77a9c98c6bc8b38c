"""Rows of data as conversations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from PIL import Image

from tests import tiny
from vqa.data.encoding import encode_row, to_messages
from vqa.data.example import EarlierTurn, Example
from vqa.inputs.prompts import EncodedPrompt, Message
from vqa.models.checkpoints import load_config_and_processor

PICTURES = [Image.new("RGB", (n, 1)) for n in (1, 2, 3)]
ROW = Example(
    1, ("a", "b", "c"), "Last?", ("yes", "yeah"),
    earlier=(EarlierTurn("First?", "one", 1), EarlierTurn("Second?", "two")), system="Be short.",
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
    assert to_messages(ROW, PICTURES, with_answer=False) == asked
    assert to_messages(ROW, PICTURES, with_answer=True) == (*asked, Message("assistant", "yes"))


def test_pictures_keep_their_places_in_the_texts() -> None:
    first = replace(ROW.earlier[0], question="Is <image> one?", places=(3,))
    row = replace(
        ROW, question="<image> or <image>?", earlier=(first, ROW.earlier[1]), places=(11,)
    )
    asked = to_messages(row, PICTURES, with_answer=True)
    assert asked[1] == Message("user", "Is <image> one?", (PICTURES[0],), (3,))
    assert asked[5] == Message("user", "<image> or <image>?", (PICTURES[1], PICTURES[2]), (11,))


def test_a_plain_row_is_one_question() -> None:
    row = Example(1, ("a",), "What?")
    assert to_messages(row, PICTURES[:1], with_answer=False) == (
        Message("user", "What?", (PICTURES[0],)),
    )


def test_answers_that_only_stand_there_are_not_learned(tmp_path: Path) -> None:
    processor = load_config_and_processor(str(tiny.llava_interleave(tmp_path)))[1]
    before = encode_row(ROW, processor)
    turns = (replace(ROW.earlier[0], in_loss=False), ROW.earlier[1])
    encoded = encode_row(replace(ROW, earlier=turns), processor)
    assert encoded.input_ids == before.input_ids

    def learned(prompt: EncodedPrompt) -> str:
        pairs = zip(prompt.input_ids, prompt.loss_mask, strict=True)
        return str(processor.tokenizer.decode([token for token, mark in pairs if mark]))

    assert learned(before).split("<|im_end|>") == ["one", "two", "yes", ""]
    assert learned(encoded).split("<|im_end|>") == ["two", "yes", ""]
    last = encode_row(replace(ROW, in_loss=False), processor)
    assert learned(last).split("<|im_end|>") == ["one", "two", ""]
