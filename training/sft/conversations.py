"""Rows for models of any architecture: conversations, as the model's own processor prepares them.

Nothing is known of how such a model puts pictures among its tokens. So a conversation is not packed
with others but padded, and its encoder runs in every step. What runs at once are the conversations
of a row, in parts: those with pictures, those without, and one alone where the processor takes no
other beside it.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.common.rows import TrainRows
from training.common.views import WHOLE, View
from training.sft.packing import EncodedExample, PrefixGroups, RowLayout
from training.sft.settings import FinetuneSettings
from training.sft.tokens import TokenTable
from training.sft.trainer import AT_ONCE, SftTrainer
from vqa.data.encoding import row_mask, to_messages
from vqa.data.example import Example
from vqa.engine import GenerateAnswerer
from vqa.errors import InputError
from vqa.inputs.images import load_image
from vqa.inputs.processor_inputs import prepare_inputs
from vqa.inputs.prompts import Message
from vqa.models.checkpoints import LoadedModel
from vqa.tools.row_tokens import encode_opened


@dataclass(frozen=True)
class OpenedExample:
    """A row of the data with its pictures opened."""

    example: Example
    messages: tuple[Message, ...]


def encode_conversation(example: Example, processor: Any) -> EncodedExample:
    """Encode one example: a loss is computed for every answer of its conversation."""
    prompt = encode_opened(processor, example)
    return EncodedExample(tuple(map(str, example.images)), prompt.input_ids, prompt.loss_mask)


class ConversationRows(TrainRows):
    """Conversations in the order in which they are trained on, several a row."""

    def __init__(
        self, tokens: TokenTable, groups: PrefixGroups, layout: RowLayout, processor: Any,
        dtype: torch.dtype, view: Callable[[int], View] = lambda index: WHOLE,
    ) -> None:  # fmt: skip
        self.tokens = tokens
        self.groups = groups
        self.layout = layout
        self.processor = processor
        self.dtype = dtype
        self.view = view  # of a conversation's pictures, by its index in `layout.groups`

    def __len__(self) -> int:
        return len(self.layout)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Prepare a row: its `parts`, and the weights [K] of all their targets."""
        groups = enumerate(self.layout[index], int(self.layout.starts[index]))
        conversations = [
            self._open(member, group_index)
            for group_index, number in groups
            for member in self.groups[number].tolist()
        ]
        parts = []
        for seeing in (True, False):
            some = [one for one in conversations if bool(one.example.images) is seeing]
            parts += self._parts(some) if some else []
        return {"parts": parts, "weights": torch.cat([part["weights"] for part in parts])}

    def _open(self, row: int, group_index: int) -> OpenedExample:
        (example,) = self.tokens.examples(np.array([row]))
        view = self.view(group_index) if example.images else WHOLE
        pictures = [view(load_image(Path(path))) for path in example.images]
        return OpenedExample(example, to_messages(example, pictures, True))

    def _parts(self, conversations: Sequence[OpenedExample]) -> list[dict[str, Any]]:
        try:
            return [part_tensors(self.processor, conversations, self.dtype)]
        except InputError:
            if len(conversations) == 1:
                raise
        return [part_tensors(self.processor, [one], self.dtype) for one in conversations]


def part_tensors(
    processor: Any, conversations: Sequence[OpenedExample], dtype: torch.dtype
) -> dict[str, Any]:
    """Prepare conversations that run together: B of L tokens, of which K are predicted.

    inputs: what the model takes; predict_from [K, 2] the conversations and positions whose logits
    are needed; targets [K] the tokens they must give; weights [K] what each counts in the loss, as
    in packed rows.
    """
    prepared = prepare_inputs(processor, [one.messages for one in conversations], answered=True)
    inputs = prepared.tensors
    pairs = zip(prepared.loss_masks, conversations, strict=True)
    masks = [row_mask(mask, one.example) for mask, one in pairs]
    predicting: list[tuple[int, int]] = []
    weights: list[float] = []
    for number, mask in enumerate(masks):
        targets = [position for position, in_loss in enumerate(mask) if in_loss and position]
        predicting += [(number, position - 1) for position in targets]
        weights += [1 / math.sqrt(max(1, len(targets)))] * len(targets)
    predict_from = torch.tensor(predicting, dtype=torch.long).reshape(-1, 2)  # [K, 2]
    rows, columns = predict_from.T
    return {
        "inputs": {
            name: value.to(dtype)
            if isinstance(value, Tensor) and value.is_floating_point()
            else value
            for name, value in inputs.items()
        },
        "predict_from": predict_from,
        "targets": inputs["input_ids"][rows, columns + 1],
        "weights": torch.tensor(weights),
    }


def row_losses(model: nn.Module, inner: nn.Module, row: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Compute the cross entropy of a row's K target tokens; losses and weights, both [K].

    `inner` is the model inside the wrappers of `model`.
    """
    # most models can be asked for the logits of some positions alone
    whole = "logits_to_keep" not in inspect.signature(inner.forward).parameters
    losses = []
    for part in row["parts"]:
        rows, columns = part["predict_from"].T
        options: dict[str, Any] = {}
        if not whole:
            options["logits_to_keep"], columns = torch.unique(columns, return_inverse=True)
        outputs = model(**part["inputs"], use_cache=False, **options)
        logits = outputs.logits[rows, columns].float()  # [K, vocabulary]
        losses.append(F.cross_entropy(logits, part["targets"], reduction="none"))
    return torch.cat(losses), row["weights"]


class ConversationTrainer(SftTrainer):
    """Trains a model of any architecture on conversations."""

    settings: FinetuneSettings

    def row_losses(self, model: nn.Module, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Compute the cross entropy of a row's K target tokens; losses and weights, both [K]."""
        if self.parts.vision is not None and not self.settings.train.vision:
            self.unwrapped.get_submodule(self.parts.vision).eval()  # its statistics stay
        losses, weights = row_losses(model, self.unwrapped, inputs)
        if model.training and self.args.world_size > 1:
            # wrappers for several devices wait for every gradient, those of unused modules too
            losses = losses + 0 * sum(p.sum() for p in model.parameters() if p.requires_grad)
        return losses, weights

    @contextmanager
    def answerer(self) -> Iterator[GenerateAnswerer]:
        """Yield an answerer over the model as it is now."""
        model = self.unwrapped
        before = model.generation_config
        try:
            yield GenerateAnswerer(
                LoadedModel(model, self.processor, "run", (), ()), max_batch=AT_ONCE
            )
        finally:
            model.generation_config = before
