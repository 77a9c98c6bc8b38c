"""Greedy continuations of questions about pictures, by which one model is compared with another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from vqa.answering import Request, SamplingParams
from vqa.data.encoding import to_messages
from vqa.data.example import PLACES
from vqa.errors import NotFiniteError
from vqa.evaluation.question_rows import read_questions
from vqa.inputs.images import ImageError, load_image
from vqa.inputs.processor_inputs import prepare_inputs
from vqa.inputs.prompts import Message, encode
from vqa.inputs.tiles import prepare_crops
from vqa.models.checkpoints import LoadedModel
from vqa.models.devices import on_device_of
from vqa.models.finite import is_finite
from vqa.utils.files import read_jsonl

_MOST = 16  # questions that are compared
_TOKENS = 16
_PLAIN = ("What is in the picture?", "Is there a person in the picture?", "Describe the picture.")


@dataclass(frozen=True)
class Continuation:
    """What a model writes behind a prompt, and what it computes for each token of that."""

    prompt: list[int]  # [L]
    tokens: list[int]  # [n]
    logits: Tensor  # [n, V], in float32


@dataclass(frozen=True)
class Difference:
    """How far a model is from another on the same questions."""

    questions: int
    logits: float  # the largest difference of any logit, while the tokens before are the same
    same_answers: int  # greedy, of up to 16 tokens


def continue_requests(loaded: LoadedModel, requests: Sequence[Request]) -> list[Continuation]:
    """Continue each request by transformers' `generate`, its prompt encoded as in answering."""
    return [
        continue_prompt(loaded.model, _inputs(loaded, request.messages, request.images))
        for request in requests
    ]


def _inputs(
    loaded: LoadedModel, messages: Sequence[Message], images: Sequence[Image.Image]
) -> dict[str, Any]:
    """Make `input_ids` [1, L], and what else the model takes of the pictures."""
    if not loaded.is_llava:
        return prepare_inputs(loaded.processor, [messages]).tensors
    prompt = encode(loaded.processor, messages, add_generation_prompt=True)
    inputs: dict[str, Any] = {"input_ids": torch.tensor([prompt.input_ids])}
    if images:
        inputs["pixel_values"], _ = prepare_crops(loaded.processor.image_processor, images)
    return inputs


@torch.inference_mode()
def continue_prompt(model: Any, inputs: dict[str, Any]) -> Continuation:
    """Continue `input_ids` [1, L] and what stands beside them, the likeliest token each time."""
    ids = inputs["input_ids"]
    output = model.generate(
        **on_device_of(model, {"attention_mask": torch.ones_like(ids)} | inputs),
        do_sample=False,
        max_new_tokens=_TOKENS,
        output_logits=True,
        return_dict_in_generate=True,
    )
    length = ids.shape[1]
    logits = torch.cat(output.logits).float().cpu()
    if not is_finite(logits):
        raise NotFiniteError(wider=model.dtype != torch.float32)
    return Continuation(ids[0].tolist(), output.sequences[0, length:].tolist(), logits)


def difference(before: Sequence[Continuation], after: Sequence[Continuation]) -> Difference:
    """Measure how far the continuations of the same questions are from each other."""
    pairs = list(zip(before, after, strict=True))
    return Difference(
        questions=len(pairs),
        logits=max(_logits_apart(a, b) for a, b in pairs),
        same_answers=sum(a.tokens == b.tokens for a, b in pairs),
    )


def same_tokens(one: Continuation, other: Continuation) -> int:
    """Count the tokens before the first that differs."""
    pairs = zip(one.tokens, other.tokens, strict=False)
    shorter = min(len(one.tokens), len(other.tokens))
    return next((n for n, (a, b) in enumerate(pairs) if a != b), shorter)


def _logits_apart(one: Continuation, other: Continuation) -> float:
    # behind a token that differs the prompts do, too
    steps = same_tokens(one, other) + 1
    return float((one.logits[:steps] - other.logits[:steps]).abs().max())


def requests_of(model: str, data: Path | None = None, images: Path | None = None) -> list[Request]:
    """Make up to 16 questions: of `data`, of a run's validation, or plain ones on made pictures.

    Those of the validation are taken while their pictures are there. Raises InputError as reading
    data does, and where pictures of `data` cannot be read.
    """
    if data is not None:
        examples = read_questions(data, images).examples[:_MOST]
        return [
            _request(*to_messages(example, [*map(load_image, example.images)], with_answer=False))
            for example in examples
        ]
    questions: list[Message] = []
    for file in sorted((Path(model) / "validation").glob("step-*.jsonl"))[-1:]:
        for _, row in islice(read_jsonl(file), _MOST):
            try:
                pictures = tuple(load_image(path) for path in row["image"])
            except ImageError:  # moved since
                continue
            if pictures:
                places = tuple(row.get(PLACES, ()))
                questions.append(Message("user", row["question"], pictures, places))
    if not questions:
        questions = [
            Message("user", text, (picture,)) for picture in _drawn_pictures() for text in _PLAIN
        ]
    return [_request(message) for message in questions]


def _request(*messages: Message) -> Request:
    return Request(messages, SamplingParams(max_new_tokens=_TOKENS))


def _drawn_pictures() -> list[Image.Image]:
    """Draw pictures: colours that change from side to side."""
    size = (64, 64)
    ramp = Image.linear_gradient("L").resize(size)
    return [
        Image.merge("RGB", channels)
        for channels in (
            (ramp, ramp.rotate(90), ramp.rotate(180)),
            (ramp.rotate(90), ramp, ramp),
            (ramp.rotate(180), ramp.rotate(270), ramp),
        )
    ]
