"""Put a run's adapter into its base's weights, and measure what that changes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from vqa import checkpoints
from vqa.answering import Request, Settings
from vqa.checkpoints import Loaded, Quantize
from vqa.dtypes import named
from vqa.engine import LocalEngine
from vqa.errors import InputError
from vqa.files import atomic_directory, read_jsonl
from vqa.images import ImageError, load_image
from vqa.prompts import Message, encode

_MOST = 16  # questions that are compared
_TOKENS = 16
_PLAIN = ("What is in the picture?", "Is there a person in the picture?", "Describe the picture.")


@dataclass(frozen=True)
class Difference:
    """How far a model is from another on the same questions."""

    questions: int
    logits: float  # the largest difference of any logit behind any prompt
    same_answers: int  # greedy, of up to 16 tokens


@dataclass(frozen=True)
class Merged:
    """What `merge` did: `exact` is the merging itself in float32, `stored` what was written."""

    base: str
    dtype: str
    quantize: Quantize | None  # how the base was quantized in training
    exact: Difference
    stored: Difference


def merge(run: str, out: str | Path, dtype: str = "auto") -> Merged:
    """Write the model that `run` (a directory with an adapter) makes of its base into `out`.

    The weights are merged in float32 and stored in `dtype`; `auto` is that of the base. Compared is
    the base with the adapter on top, before and after: the one it was trained on, quantized if it
    was so then, with the one in `out`. The questions are those of the run's validation while their
    pictures are there, else plain ones about made pictures.

    Raises InputError where `run` has no adapter, its base is not here, or `out` exists.
    """
    if not checkpoints.is_adapter(run):
        raise InputError(f"{run}: no adapter here (adapter_config.json is missing)")
    base = checkpoints.base_of(run)
    quantize = _quantized(Path(run))
    requests = _requests(Path(run))
    stored = _stored_type(base) if dtype == "auto" else dtype
    # one model at a time: they may be large
    with atomic_directory(out) as directory:
        before = _seen(checkpoints.load(base, adapter=run, dtype="float32", merge=False), requests)
        exact = _write(base, run, stored, directory, before, requests)
        if quantize is not None:
            trained = checkpoints.load(base, adapter=run, dtype="float32", quantize=quantize)
            before = _seen(trained, requests)
            del trained
        after = _seen(checkpoints.load(str(directory), dtype=stored), requests)
    return Merged(base, stored, quantize, exact, _difference(before, after))


def _write(
    base: str, run: str, dtype: str, directory: Path, before: _Seen, requests: Sequence[Request]
) -> Difference:
    loaded = checkpoints.load(base, adapter=run, dtype="float32")
    found = _difference(before, _seen(loaded, requests))
    loaded.model.to(named(dtype))
    checkpoints.save(loaded, directory)
    return found


@dataclass(frozen=True)
class _Seen:
    logits: list[Tensor]  # [V] behind each prompt
    answers: list[str]


def _seen(loaded: Loaded, requests: Sequence[Request]) -> _Seen:
    logits = [_logits(loaded, request) for request in requests]
    answers = [answer.text for answer in LocalEngine(loaded).answer(requests)]
    return _Seen(logits, answers)


@torch.inference_mode()
def _logits(loaded: Loaded, request: Request) -> Tensor:
    """Logits [V] of the first token of the answer, by transformers' own forward pass."""
    model, processor = loaded.model, loaded.processor
    ids = torch.tensor([encode(processor, request.messages, add_generation_prompt=True).input_ids])
    pictures = [image for message in request.messages for image in message.images]
    pixels = processor.image_processor(pictures, return_tensors="pt")["pixel_values"]
    output = model(
        input_ids=ids.to(model.device),
        pixel_values=pixels.to(model.device, model.dtype),
        logits_to_keep=1,
    )
    found: Tensor = output.logits[0, -1].float().cpu()
    return found


def _difference(one: _Seen, other: _Seen) -> Difference:
    pairs = zip(one.logits, other.logits, strict=True)
    return Difference(
        questions=len(one.logits),
        logits=max(float((a - b).abs().max()) for a, b in pairs),
        same_answers=sum(a == b for a, b in zip(one.answers, other.answers, strict=True)),
    )


def _quantized(run: Path) -> Quantize | None:
    path = run / "run.json"
    if not path.is_file():  # an adapter that others made
        return None
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))["settings"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: cannot be read as the record of a run") from error
    found: Quantize | None = settings.get("quantize")
    return found


def _stored_type(base: str) -> str:
    config, _ = checkpoints.look(base)
    stored = config.dtype or config.text_config.dtype or torch.float32
    return str(stored).removeprefix("torch.")


def _requests(run: Path) -> list[Request]:
    pairs: list[tuple[str, tuple[Image.Image, ...]]] = []
    for file in sorted((run / "validation").glob("step-*.jsonl"))[-1:]:
        for _, row in islice(read_jsonl(file), _MOST):
            try:
                pictures = tuple(load_image(path) for path in row["image"])
            except ImageError:  # moved since
                continue
            if pictures:
                pairs.append((row["question"], pictures))
    if not pairs:
        pairs = [(text, (picture,)) for picture in _made() for text in _PLAIN]
    settings = Settings(max_new_tokens=_TOKENS)
    return [Request((Message("user", text, shown),), settings) for text, shown in pairs]


def _made() -> list[Image.Image]:
    """Pictures that need no file: colours that change from side to side."""
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
