"""The tokens of a row of data as training makes them, whatever the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from vqa.data.encoding import encode_row, open_or_blank, row_mask, stand_ins, to_messages
from vqa.data.example import Example
from vqa.inputs.processor_inputs import prepare_inputs
from vqa.inputs.prompts import EncodedPrompt, encode
from vqa.models.image_text import is_other_vlm, load_any_config_and_processor


@dataclass(frozen=True)
class RowTokenizer:
    """What encodes rows for a model."""

    processor: Any
    image_token_id: int  # of the tokens that stand for a picture
    context: int | None  # tokens that a row may have
    encode: Callable[[Example], EncodedPrompt]
    of_llava: bool  # of the own engine, whose encoder's input can be shown


def row_tokenizer(model: str) -> RowTokenizer:
    """Make what encodes rows for the model of that name; its weights are not loaded."""
    of_llava = not is_other_vlm(model)
    config, processor = load_any_config_and_processor(model)
    image = None if of_llava else getattr(config, "image_token_id", None)
    return RowTokenizer(
        processor,
        processor.image_token_id if image is None else image,
        getattr(config.get_text_config(), "max_position_embeddings", None),
        partial(_encode_llava if of_llava else encode_opened, processor),
        of_llava,
    )


def encode_opened(processor: Any, example: Example) -> EncodedPrompt:
    """Encode a row with its pictures, opened: how many tokens they take is in their sizes."""
    pictures = open_or_blank(example)
    answered = bool(example.answers)
    inputs = prepare_inputs(
        processor, [to_messages(example, pictures, answered)], answered=answered
    )
    mask = row_mask(inputs.loss_masks[0], example) if answered else inputs.loss_masks[0]
    return EncodedPrompt(inputs.tensors["input_ids"][0].tolist(), mask)


def _encode_llava(processor: Any, example: Example) -> EncodedPrompt:
    if example.answers:
        return encode_row(example, processor)
    messages = to_messages(example, stand_ins(example, processor), with_answer=False)
    return encode(processor, messages, add_generation_prompt=True)
