"""Pictures in the middle of a text: ids and mask against plain transformers."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import LlavaProcessor

from tests import tiny_text as tiny
from tests.inputs.test_prompts import harmless
from vqa.errors import InputError
from vqa.inputs.placeholders import (
    PLACEHOLDER,
    join_with_pictures,
    message_parts,
    split_at_pictures,
)
from vqa.inputs.prompts import Message, encode, tokens_per_image

PICTURE = Image.new("RGB", (40, 30), "red")
IN_ORDER = {
    "byte-level parts": (tiny.byte_level_tokenizer, tiny.PARTS_CHATML),
    "llama parts": (tiny.llama_tokenizer, tiny.PARTS_INST),
    "unigram parts": (tiny.unigram_tokenizer, tiny.PARTS_INST),
}
PICTURES_FIRST = {
    "byte-level chatml": (tiny.byte_level_tokenizer, tiny.CHATML),
    "byte-level interleave": (tiny.byte_level_tokenizer, tiny.INTERLEAVE),
    "byte-level vicuna": (tiny.byte_level_tokenizer, tiny.VICUNA),
    "llama vicuna": (tiny.llama_tokenizer, tiny.VICUNA),
    "llama not legacy inst": (lambda: tiny.llama_tokenizer(legacy=False), tiny.INST),
    "unigram inst": (tiny.unigram_tokenizer, tiny.INST),
    "word piece vicuna": (tiny.word_piece_tokenizer, tiny.VICUNA),
}
KINDS = IN_ORDER | PICTURES_FIRST
Turns = list[tuple[int, list[str]]]  # pictures before a question, and its texts with one between
texts = st.lists(harmless, min_size=1, max_size=4)
turns = st.lists(st.tuples(st.integers(0, 2), texts), min_size=1, max_size=3)
SAME: Turns = [(0, ["Is ", " the same as ", "?"])]
ODD: Turns = [
    (1, ["", " then", "", "\n", "?"]),  # one after the other, one at the beginning
    (0, ["what is this?\n", ""]),  # at the end
    (2, ["a", "b"]),  # beside a letter
]


@cache
def made(kind: str) -> LlavaProcessor:
    tokenizer, template = KINDS[kind]
    return tiny.processor(tokenizer(), template)


def conversation(asked: Turns, answered: bool) -> list[Message]:
    messages = [Message("system", "Look.")]
    for number, (before, pieces) in enumerate(asked):
        text, places = join_with_pictures(pieces)
        images = (PICTURE,) * (before + len(places))
        messages.append(Message("user", text, images, places))
        if answered or number < len(asked) - 1:
            messages.append(Message("assistant", f"yes {number}"))
    return messages


def reference(
    processor: LlavaProcessor, messages: list[Message], in_order: bool, prompt: bool
) -> tuple[list[int], list[bool]]:
    """What plain transformers makes of it: parts in their order, or `<image>` in the text."""
    written: list[dict[str, Any]] = []
    for message in messages:
        before = len(message.images) - len(message.places)
        pieces = split_at_pictures(message.text, message.places) if in_order else [message.text]
        content = [
            {"type": "image"} if part is None else {"type": "text", "text": part}
            for part in message_parts(before, pieces)
        ]
        written.append({"role": message.role, "content": content})
    images = [image for message in messages for image in message.images]
    generation = "generation %}" in processor.chat_template and not prompt
    out = processor.apply_chat_template(
        written,
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=generation,
        add_generation_prompt=prompt,
        processor_kwargs={"images": images} if images else {},
    )
    mask = out["assistant_masks"][0] if generation else []
    return list(out["input_ids"][0]), [bool(learned) for learned in mask]


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=20)
@given(asked=turns)
@example(asked=SAME)
@example(asked=ODD)
def test_the_ids_are_those_of_apply_chat_template(kind: str, asked: Turns) -> None:
    processor = made(kind)
    messages = conversation(asked, answered=False)
    expected, _ = reference(processor, messages, kind in IN_ORDER, prompt=True)
    got = encode(processor, messages, add_generation_prompt=True)
    assert got.input_ids == expected


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "vicuna" not in kind])
@settings(deadline=None, max_examples=20)
@given(asked=turns)
@example(asked=SAME)
@example(asked=ODD)
def test_the_mask_is_that_of_generation_blocks(kind: str, asked: Turns) -> None:
    processor = made(kind)
    messages = conversation(asked, answered=True)
    expected, mask = reference(processor, messages, kind in IN_ORDER, prompt=False)
    got = encode(processor, messages, add_generation_prompt=False)
    assert got.input_ids == expected
    if mask:
        assert got.loss_mask == mask


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_stand_where_the_text_has_them(kind: str) -> None:
    processor = made(kind)
    got = encode(processor, conversation(SAME, answered=False), add_generation_prompt=True)
    shown = "".join(processor.tokenizer.decode(got.input_ids).split())
    token = processor.image_token * tokens_per_image(processor)
    same = f"Is{token}thesameas{token}?"
    assert same.lower() in shown.lower()  # some tokenizers know no capitals


def test_a_template_of_strings_gets_them_in_the_text() -> None:
    tokenizer = tiny.byte_level_tokenizer()
    tokenizer.chat_template = tiny.TEXT_CHATML
    processor = tiny.processor(tokenizer, None)
    asked: Turns = [(1, ["Is it ", " or ", "?"])]
    got = encode(processor, conversation(asked, answered=False), add_generation_prompt=True)
    token = "<image>" * 4
    assert f"user\n{token}\nIs it {token} or {token}?<|im_end|>" in tokenizer.decode(got.input_ids)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=20)
@given(pieces=st.lists(st.sampled_from(["<image>", "<im", "age>", "</s>", "a ", "\n"]) | st.text()))
def test_only_a_place_makes_a_picture(kind: str, pieces: list[str]) -> None:
    processor = made(kind)
    text, places = join_with_pictures(pieces or [""])
    for chosen in (places, ()):
        images = (PICTURE,) * len(chosen)
        got = encode(processor, [Message("user", text, images, chosen)], add_generation_prompt=True)
        expected = len(chosen) * tokens_per_image(processor)
        assert got.input_ids.count(processor.image_token_id) == expected


def test_another_place_is_another_prompt_of_the_same_shape() -> None:
    """What is remembered of a rendered template holds for all texts of its shape, and no others."""
    processor = made("byte-level parts")

    def asked(*pieces: str) -> list[int]:
        messages = conversation([(0, list(pieces))], answered=False)
        got = encode(processor, messages, add_generation_prompt=True)
        assert got.input_ids == reference(processor, messages, True, prompt=True)[0]
        return got.input_ids

    prompts = [asked("a", "b c"), asked("a b", "c"), asked("a b ", "c"), asked("a b c", "")]
    assert len({tuple(ids) for ids in prompts}) == 4


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (Message("user", "Is <image> red?", (PICTURE,), (2,)), "no <image> begins at character 2"),
        (Message("user", "Is <image> red?", (), (3,)), "1 places for 0 pictures"),
        (Message("user", "<image>", (PICTURE,) * 2, (0, 0)), "no <image> begins at character 0"),
        (Message("user", "<image>", (PICTURE,), (-7,)), "no <image> begins at character -7"),
        (Message("system", "<image>", (PICTURE,), (0,)), "a picture in a text of system"),
    ],
)
def test_wrong_places_are_refused(message: Message, says: str) -> None:
    with pytest.raises(InputError, match=says):
        encode(made("llama vicuna"), [message, Message("user", "a")], add_generation_prompt=True)


@given(st.lists(st.text(), min_size=1))
def test_what_is_joined_is_split_again(pieces: list[str]) -> None:
    text, places = join_with_pictures(pieces)
    assert split_at_pictures(text, places) == pieces
    assert text == PLACEHOLDER.join(pieces)
