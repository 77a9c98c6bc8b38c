"""A row of data as a conversation: what the model is asked, and what training learns of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING

from vqa.data.example import Example
from vqa.prompts import EncodedPrompt, Message, encode

if TYPE_CHECKING:
    from PIL import Image
    from transformers import LlavaProcessor


def messages(
    example: Example, pictures: Sequence[Image.Image], answered: bool
) -> tuple[Message, ...]:
    """The turns of a row, each with its pictures; `answered` adds the answer to the last question.

    `pictures` are those of `example.images`, in their order. The answer is the first accepted one.
    """
    found = [Message("system", example.system)] if example.system else []
    start = 0
    for turn in example.earlier:
        shown = tuple(pictures[start : start + turn.pictures])
        found += [Message("user", turn.question, shown), Message("assistant", turn.answer)]
        start += turn.pictures
    found.append(Message("user", example.question, tuple(pictures[start:])))
    if answered:
        found.append(Message("assistant", example.answers[0]))
    return tuple(found)


def encode_row(example: Example, processor: LlavaProcessor) -> EncodedPrompt:
    """Tokens of a row with its answers, and which of them training learns; opens no picture.

    Learned are the answers, with what ends them, but for those of `earlier` that say otherwise.
    """
    # the tokens of a prompt do not depend on what is in its pictures
    placeholders = (_placeholder(),) * len(example.images)
    found = encode(processor, messages(example, placeholders, True), add_generation_prompt=False)
    if all(turn.learned for turn in example.earlier):
        return found
    wanted = [*(turn.learned for turn in example.earlier), True]
    return EncodedPrompt(found.input_ids, _without(found.learned, wanted))


def _without(learned: Sequence[bool], wanted: Sequence[bool]) -> list[bool]:
    """The mask without the answers that are not wanted: each run of marked tokens is an answer."""
    answers = iter(wanted)
    mask: list[bool] = []
    for marked, run in groupby(learned):
        mask += [marked and next(answers)] * len(list(run))
    if next(answers, None) is not None:
        raise ValueError("the template leaves out an answer")  # encode would have refused it
    return mask


@cache
def _placeholder() -> Image.Image:
    from PIL import Image

    return Image.new("RGB", (1, 1))
