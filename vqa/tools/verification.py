"""Verify that an exported model, or a server of one, answers as the model does: token by token."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoProcessor, LlavaForConditionalGeneration

from vqa.answering import Request
from vqa.engine import LocalEngine
from vqa.errors import InputError, VQAError, error_line
from vqa.inputs.prompts import Message
from vqa.models import checkpoints
from vqa.models.devices import device_named, dtype_named
from vqa.models.image_text import stored_type
from vqa.models.model_files import load_pretrained
from vqa.remote.answerer import RemoteAnswerer
from vqa.tools.continuations import (
    Continuation,
    continue_prompt,
    continue_requests,
    difference,
    requests_of,
    same_tokens,
)
from vqa.utils import fingerprint

LOGITS = 1e-3  # how far logits may be apart that the same weights give on one machine
LOG_PROBABILITY = 0.1  # and an answer's log probability at an endpoint, whose types may be others


@dataclass(frozen=True)
class Verification:
    """What was compared, all of it the same within the tolerance."""

    questions: int
    tokens: int  # of all answers
    measure: str | None  # of the distance: logits, or what an endpoint gives; None where nothing
    apart: float  # the largest distance
    allowed: float


def verify(
    model: str,
    target: str,
    data: Path | None = None,
    images: Path | None = None,
    device: str = "auto",
    served_as: str | None = None,
    shown: str | None = None,
) -> Verification:
    """Compare `model` with a directory that was exported of it, or with the endpoint of a URL.

    Messages call the directory `shown`: it may not have its name yet.

    Of a directory all weights are compared, and greedy continuations with their logits: a LLaVA
    directory is read by transformers alone, an adapter is put on its base. Of an endpoint, where
    the model is called `served_as`, answers and their probabilities are compared.

    Raises VQAError that says where they differ, and InputError for what cannot be compared.
    """
    requests = requests_of(model, data, images)
    if target.startswith(("http://", "https://")):
        return _verify_endpoint(model, target, served_as, requests, device)
    if not Path(target).is_dir():
        raise InputError(f"{target}: neither an exported directory nor the URL of an endpoint")
    with _faults_of(target, shown or target):
        dtype = stored_type(target)
    here = _of_model(model, dtype, device, requests)
    adapter = checkpoints.is_adapter(target)
    with _faults_of(target, shown or target):
        there = (_of_model if adapter else _of_directory)(target, dtype, device, requests)
        _check_weights(here.weights, there.weights)
        for number, pair in enumerate(zip(here.continuations, there.continuations, strict=True)):
            _check_continuation(_place(requests, number), *pair)
    return Verification(
        questions=len(requests),
        tokens=sum(len(continuation.tokens) for continuation in here.continuations),
        measure="logits",
        apart=difference(here.continuations, there.continuations).logits,
        allowed=LOGITS,
    )


@contextmanager
def _faults_of(target: str, shown: str) -> Iterator[None]:
    """Raise every failure of the block as one of the verified `target`, not of wrong input."""
    try:
        yield
    except VQAError as error:
        text = str(error).replace(target, shown).removeprefix(f"{shown}: ")
        raise VQAError(f"{shown}: {text}") from error


@dataclass(frozen=True)
class _Behaviour:
    weights: dict[str, str]  # name -> fingerprint
    continuations: list[Continuation]


def _of_model(name: str, dtype: str, device: str, requests: Sequence[Request]) -> _Behaviour:
    loaded = checkpoints.load(name, device=device, dtype=dtype)
    weights = _fingerprints(loaded.model)
    _widen(loaded.model)
    return _Behaviour(weights, continue_requests(loaded, requests))


def _of_directory(
    directory: str, dtype: str, device: str, requests: Sequence[Request]
) -> _Behaviour:
    """Load and ask a directory as a program does that has transformers and nothing of ours."""
    try:
        model, info = load_pretrained(
            LlavaForConditionalGeneration.from_pretrained,
            directory,
            dtype=dtype_named(dtype),
            use_safetensors=True,
            output_loading_info=True,
        )
        processor: Any = load_pretrained(AutoProcessor.from_pretrained, directory)
    except InputError as error:
        raise VQAError(f"transformers cannot read it: {error}") from error
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[what]:
            names = sorted(map(str, info[what]))
            raise VQAError(f"{what.replace('_', ' ')} of its weights: {names[0]}")
    weights = _fingerprints(model)
    model.to(device_named(device)).eval()
    _widen(model)
    continuations = []
    for number, request in enumerate(requests):
        messages = [_plain_message(message) for message in request.messages]
        try:
            text = processor.apply_chat_template(messages, add_generation_prompt=True)
            begins = processor.tokenizer.bos_token
            inputs = processor(
                images=request.images or None,
                text=text,
                add_special_tokens=not (begins and text.startswith(begins)),
                return_tensors="pt",
            )
        except Exception as error:  # templates of strangers raise anything
            place = _place(requests, number)
            raise VQAError(f"{place} cannot be asked: {error_line(error)}") from error
        taken = ("input_ids", "pixel_values")
        continuations.append(continue_prompt(model, {n: inputs[n] for n in taken if n in inputs}))
    return _Behaviour(weights, continuations)


def _widen(model: Any) -> None:
    """Compute in float32 on a CPU, which may be slow in 16 bits; the weights stay as stored."""
    if model.device.type == "cpu":
        model.float()


def _plain_message(message: Message) -> dict[str, Any]:
    """Write a message as chat templates take it; pictures in the text are its `<image>` there."""
    before: list[dict[str, str]] = [{"type": "image"}] * (len(message.images) - len(message.places))
    return {"role": message.role, "content": [*before, {"type": "text", "text": message.text}]}


def _fingerprints(model: Any) -> dict[str, str]:
    return {
        name: fingerprint.of_bytes(
            value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        )
        for name, value in model.state_dict().items()
    }


def _check_weights(here: dict[str, str], there: dict[str, str]) -> None:
    other = [name for name in here if there.get(name) != here[name]]
    if other:
        more = f" and {len(other) - 1} more tensors are" if len(other) > 1 else " is"
        raise VQAError(f"{other[0]}{more} not as in the model")


def _check_continuation(where: str, here: Continuation, there: Continuation) -> None:
    if here.prompt != there.prompt:
        raise VQAError(
            f"{where} becomes other tokens ({len(there.prompt)}, here {len(here.prompt)}): the "
            "chat template, the tokenizer or the tiles of pictures differ"
        )
    apart = difference([here], [there]).logits
    same = same_tokens(here, there)
    if here.tokens != there.tokens:
        tokens = [c.tokens[same] if same < len(c.tokens) else "none" for c in (there, here)]
        raise VQAError(
            f"{where}: token {same + 1} of the answer is {tokens[0]}, here {tokens[1]} (logits "
            f"differ by {apart:.1e})"
        )
    if not apart <= LOGITS:
        raise VQAError(f"{where}: logits differ by {apart:.1e}, more than {LOGITS:.0e}")


def _verify_endpoint(
    model: str, url: str, served_as: str | None, requests: Sequence[Request], device: str
) -> Verification:
    # one at a time, here and there: a batch rounds in another way
    engine = LocalEngine(checkpoints.load(model, device=device), max_batch=1)
    key = os.environ.get("OPENAI_API_KEY")
    there = RemoteAnswerer(url, served_as, api_key=key, concurrency=1).answer(requests)
    here = engine.answer(requests)
    distances: list[float] = []
    for number, (one, other) in enumerate(zip(here, there, strict=True)):
        where = f"{url}: {_place(requests, number)}"
        if one.text != other.text:
            raise VQAError(f"{where}: the answer is {other.text!r}, here {one.text!r}")
        if not one.probability or not other.probability:  # an endpoint may give none
            continue
        distance = abs(math.log(one.probability) - math.log(other.probability))
        if not distance <= LOG_PROBABILITY:
            raise VQAError(
                f"{where}: the answer's probability is {other.probability}, here {one.probability}"
            )
        distances.append(distance)
    tokens = sum(answer.new_tokens for answer in here)
    measure = "log probabilities" if distances else None
    return Verification(
        len(requests), tokens, measure, max(distances, default=0.0), LOG_PROBABILITY
    )


def _place(requests: Sequence[Request], number: int) -> str:
    return f"question {number + 1} ({requests[number].messages[-1].text[:60]!r})"
