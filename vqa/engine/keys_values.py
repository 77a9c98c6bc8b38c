"""Keys and values of a batch, in buffers with room to grow, and spans of them for reuse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

_GROW = (
    64  # slots that a full buffer gains: some tokens later, so that growing costs next to nothing
)


class GrowingLayer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped
    """One layer's keys and values [B, H, room, D], of which the first `length` slots are filled.

    transformers' own layers copy all they hold for every token; this one writes into its buffer. A
    sliding window is left to the attention mask: all slots stay, so that any prefix can be reused.
    """

    def __init__(self) -> None:
        super().__init__()
        self.keys: Tensor | None = None
        self.values: Tensor | None = None
        self.length = 0

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Add slots [B, H, n, D] and return all filled ones [B, H, length, D]."""
        end = self.length + key_states.shape[2]
        if self.keys is None or self.values is None:
            self.keys = _with_room(key_states[:, :, :0], end + _GROW)
            self.values = _with_room(value_states[:, :, :0], end + _GROW)
            self.is_initialized = True
        elif end > self.keys.shape[2]:
            room = end + max(_GROW, end // 4)
            self.keys = _with_room(self.keys[:, :, : self.length], room)
            self.values = _with_room(self.values[:, :, : self.length], room)
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_seq_length(self) -> int:
        """Count the filled slots; transformers sizes its masks by it."""
        return self.length


def _with_room(filled: Tensor, room: int) -> Tensor:
    """Copy [B, H, length, D] into a new buffer [B, H, room, D]."""
    batch, heads, length, size = filled.shape
    # zeros: a masked slot has weight 0, but 0 times what lies in fresh memory may be NaN
    buffer = filled.new_zeros(batch, heads, room, size)
    buffer[:, :, :length] = filled
    return buffer


class KeyValues(Cache):  # type: ignore[misc]
    """Keys and values of all layers; rows end together, so shorter ones start at a later slot."""

    def __init__(self, layers: int) -> None:
        super().__init__(layers=[GrowingLayer() for _ in range(layers)])

    @classmethod
    def of_spans(cls, layers: int, spans: Sequence[Span | None], length: int) -> KeyValues:
        """Make a cache of `length` filled slots whose row i ends with a copy of `spans[i]`."""
        made = cls(layers)
        source = next((span.source for span in spans if span), None)
        if source is None:
            return made
        for number, layer in enumerate(made.layers):
            for name in ("keys", "values"):
                shape = getattr(source.layers[number], name)
                buffer = shape.new_zeros(len(spans), shape.shape[1], length + _GROW, shape.shape[3])
                for row, span in enumerate(spans):
                    if span:
                        found = getattr(span.source.layers[number], name)
                        buffer[row, :, length - span.length : length] = found[
                            span.row, :, span.start : span.start + span.length
                        ]
                setattr(layer, name, buffer)
            layer.length = length
            layer.is_initialized = True
        return made

    def select(self, rows: Sequence[int], first: int) -> KeyValues:
        """Copy some rows, without the slots before `first`."""
        made = type(self)(len(self.layers))
        for old, new in zip(self.layers, made.layers, strict=True):
            index = torch.tensor(rows, device=old.keys.device)
            length = old.length - first
            new.keys = _with_room(old.keys[index, :, first : old.length], length + _GROW)
            new.values = _with_room(old.values[index, :, first : old.length], length + _GROW)
            new.length = length
            new.is_initialized = True
        return made

    @property
    def length(self) -> int:
        """Count the filled slots."""
        return int(self.layers[0].length)

    def row_bytes(self) -> int:
        """Count the bytes that one row's buffers take."""
        total = sum(layer.keys.nbytes + layer.values.nbytes for layer in self.layers)
        return total // self.layers[0].keys.shape[0]


@dataclass(frozen=True)
class Span:
    """Some slots of one row, filled for good: a cache only ever writes behind them."""

    source: KeyValues
    row: int
    start: int
    length: int

    def first(self, length: int) -> Span | None:
        """Cut it down to its first `length` slots; None where nothing is left."""
        return replace(self, length=min(length, self.length)) if length > 0 else None
