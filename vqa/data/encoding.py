"""Put a row of data to a model: its messages, its token ids and the loss mask."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING

from vqa.data.example import Example
from vqa.inputs.hints import with_hints
from vqa.inputs.images import ImageError, load_image
from vqa.inputs.prompts import EncodedPrompt, Message, encode
from vqa.inputs.tiles import has_tiles

if TYPE_CHECKING:
    from PIL import Image
    from transformers import LlavaProcessor


def to_messages(
    example: Example, pictures: Sequence[Image.Image], with_answer: bool
) -> tuple[Message, ...]:
    """Make the messages of a row, each with its pictures; `with_answer` adds the last answer.

    `pictures` are those of `example.images`, in their order. The answer is the first accepted one.
    """
    messages = [Message("system", example.system)] if example.system else []
    start = 0
    for turn in example.earlier:
        images = tuple(pictures[start : start + turn.pictures])
        messages.append(Message("user", turn.question, images, turn.places))
        messages.append(Message("assistant", turn.answer))
        start += turn.pictures
    messages.append(Message("user", example.question, tuple(pictures[start:]), example.places))
    if with_answer:
        messages.append(Message("assistant", example.answers[0]))
    return tuple(messages)


def encode_row(
    example: Example, processor: LlavaProcessor, hints: Sequence[str] = ()
) -> EncodedPrompt:
    """Encode a row with its answers and their loss mask.

    Pictures are opened only for a model with tiles, where the number of tokens depends on a
    picture's size.

    `hints` are the blocks that stand before the questions, one for each picture of the row.

    The mask has the answers whose turn is `in_loss`, each with what ends it.
    """
    messages = to_messages(example, stand_ins(example, processor), True)
    if any(hints):
        messages = with_hints(messages, hints)
    prompt = encode(processor, messages, add_generation_prompt=False)
    return EncodedPrompt(prompt.input_ids, row_mask(prompt.loss_mask, example))


def row_mask(loss_mask: Sequence[bool], example: Example) -> list[bool]:
    """Unset the answers of a row that are not in the loss: each run of set positions is one."""
    in_loss = [*(turn.in_loss for turn in example.earlier), example.in_loss]
    if all(in_loss):
        return list(loss_mask)
    answers = iter(in_loss)
    mask: list[bool] = []
    for is_set, run in groupby(loss_mask):
        mask += [is_set and next(answers)] * len(list(run))
    if next(answers, None) is not None:
        raise ValueError("the template leaves out an answer")  # encode would have refused it
    return mask


def stand_ins(example: Example, processor: LlavaProcessor) -> Sequence[Image.Image]:
    """Give pictures that take as many tokens as those of a row: blanks, or themselves for tiles."""
    if has_tiles(processor.image_processor):
        return open_or_blank(example)
    return (_blank(1),) * len(example.images)


def open_or_blank(example: Example) -> list[Image.Image]:
    """Open a row's pictures; return blanks for all if one cannot be opened.

    Other checks report that.
    """
    try:
        return [load_image(path) for path in example.images]
    except ImageError:
        return [_blank(64)] * len(example.images)


@cache
def _blank(side: int) -> Image.Image:
    from PIL import Image

    return Image.new("RGB", (side, side))
