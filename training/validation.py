"""What is measured on pictures that are kept from training: the loss, and written answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.nn import functional as F

from training.features import own_tower
from training.rows import TrainRows, Validation
from vqa.answering import Request, Settings
from vqa.checkpoints import Loaded
from vqa.data.example import Example
from vqa.engine import LocalEngine
from vqa.files import atomic_write
from vqa.images import load_image
from vqa.metrics import Item
from vqa.turns import messages

_AT_ONCE = 16  # questions
_KEPT = 64 << 20  # bytes of features, and of keys and values: the training needs the memory


# a model and a row -> the losses of what is learned of it, and their weights; both [K]
Losses = Callable[[nn.Module, dict[str, Tensor]], tuple[Tensor, Tensor]]


def row_losses(model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Cross entropy of the K learned tokens of a row, and their weights; both [K]."""
    inputs = dict(inputs)
    targets, weights = inputs.pop("targets"), inputs.pop("weights")  # [K]
    predict_from = inputs.pop("predict_from")  # [K]: logits are computed for these alone
    outputs = model(**inputs, logits_to_keep=predict_from, use_cache=False)
    logits = outputs.logits[0].float()  # [K, vocabulary]
    return F.cross_entropy(logits, targets, reduction="none"), weights


@torch.no_grad()
def loss(
    model: nn.Module, rows: TrainRows, accelerator: Accelerator, losses_of: Losses = row_losses
) -> float:
    """The weighted mean over all rows, which the processes share."""
    totals = torch.zeros(2, dtype=torch.float64)  # on the CPU: not all devices have that type
    processes = accelerator.num_processes
    for start in range(0, len(rows), processes):
        number = start + accelerator.process_index
        inputs = rows[min(number, len(rows) - 1)]  # all run equally often: sharded models have to
        inputs = {name: value.to(accelerator.device) for name, value in inputs.items()}
        with accelerator.autocast():
            losses, weights = losses_of(model, inputs)
        if number < len(rows):
            totals += torch.stack([(losses * weights).sum(), weights.sum()]).cpu().double()
    if processes > 1:
        totals = totals.to(accelerator.device)
    summed: Tensor = accelerator.reduce(totals, "sum")
    return float(summed[0] / summed[1].clamp(min=1e-9))  # rows may all be of no weight


def answers(
    llava: Any, processor: Any, validation: Validation, tokens: int, accelerator: Accelerator
) -> list[str]:
    """A greedy answer to each question, by the model as it is now."""
    with own_tower(llava), accelerator.autocast():
        # made anew: an engine joins weights that training has changed since
        loaded = Loaded(llava, processor, "run", (), ())
        engine = LocalEngine(loaded, max_batch=_AT_ONCE, feature_bytes=_KEPT, prefix_bytes=_KEPT)
        own = validation.examples[accelerator.process_index :: accelerator.num_processes]
        found: list[str] = []
        for start in range(0, len(own), _AT_ONCE):
            requests = [_request(example, tokens) for example in own[start : start + _AT_ONCE]]
            found += [answer.text for answer in engine.answer(requests)]
    if accelerator.num_processes == 1:
        return found
    parts: list[list[str]] = gather_object([found])
    return [parts[n % len(parts)][n // len(parts)] for n in range(len(validation.examples))]


def _request(example: Example, tokens: int) -> Request:
    pictures = tuple(load_image(path) for path in example.images)
    return Request(messages(example, pictures, answered=False), Settings(max_new_tokens=tokens))


def score(validation: Validation, predictions: Sequence[str]) -> float:
    """The main value of the metric, a fraction."""
    items = [
        Item(prediction, example.answers, example.question, example.extra)
        for prediction, example in zip(predictions, validation.examples, strict=True)
    ]
    return validation.metric.of(items)[validation.metric.main]


def write_answers(path: Path, validation: Validation, predictions: Sequence[str]) -> None:
    """All answers of one validation, a JSON row each."""
    with atomic_write(path) as file:
        for example, prediction in zip(validation.examples, predictions, strict=True):
            row = {
                "id": example.id,
                "image": [str(image) for image in example.images],
                "question": example.question,
                "answers": list(example.answers),
                "prediction": prediction,
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
