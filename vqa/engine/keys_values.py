"""Keys and values of a batch, in buffers with room to grow, and spans of them for reuse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

_GROW = 64  # slots that a full buffer gains at least: growing then costs next to nothing a token


class GrowingLayer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped
    """One layer's keys and values [B, H, room, D]; every row begins at the first slot.

    transformers' own layers copy all they hold for every token; this one writes into its buffer. A
    sliding window is left to the attention mask: all slots stay, so that any prefix can be reused.
    """

    def __init__(self) -> None:
        super().__init__()
        self.keys: Tensor | None = None
        self.values: Tensor | None = None
        self.length = 0  # filled slots, where transformers runs a single row

    def reserve(self, rows: int, slots: int, like: Tensor) -> None:
        """Make room for `slots` slots; new ones have the heads and size of `like` [*, H, *, D]."""
        if self.keys is not None and self.keys.shape[2] >= slots:
            return
        self.keys = _grown(self.keys, rows, slots, like)
        self.values = _grown(self.values, rows, slots, like)
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Add slots [1, H, n, D] to the only row and return all filled ones [1, H, length, D]."""
        end = self.length + key_states.shape[2]
        self.reserve(1, end, key_states)
        assert self.keys is not None and self.values is not None
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_seq_length(self) -> int:
        """Count the filled slots; transformers sizes its masks by it."""
        return self.length


def _grown(old: Tensor | None, rows: int, slots: int, like: Tensor) -> Tensor:
    # zeros: a masked slot has weight 0, but 0 times what lies in fresh memory may be NaN
    room = slots + max(_GROW, slots // 4)
    buffer = like.new_zeros(rows, like.shape[1], room, like.shape[3])
    if old is not None:
        buffer[:, :, : old.shape[2]] = old
    return buffer


class KeyValues(Cache):  # type: ignore[misc]
    """Keys and values of all layers; row i has filled its first `lengths[i]` slots."""

    def __init__(self, layers: int, rows: int) -> None:
        super().__init__(layers=[GrowingLayer() for _ in range(layers)])
        self.lengths = [0] * rows

    @classmethod
    def of_spans(cls, layers: int, spans: Sequence[Span | None]) -> KeyValues:
        """Make a cache whose rows begin with copies of the spans, or empty."""
        made = cls(layers, len(spans))
        longest = max((span.length for span in spans if span), default=0)
        for row, span in enumerate(spans):
            if span is None:
                continue
            made.lengths[row] = span.length
            for old, new in zip(span.source.layers, made.layers, strict=True):
                new.reserve(len(spans), longest, old.keys)
                new.keys[row, :, : span.length] = old.keys[span.row, :, : span.length]
                new.values[row, :, : span.length] = old.values[span.row, :, : span.length]
        return made

    def select(self, rows: Sequence[int]) -> KeyValues:
        """Copy some rows."""
        spans = [Span(self, row, self.lengths[row]) for row in rows]
        return type(self).of_spans(len(self.layers), spans)

    def split(self, slots: int) -> list[KeyValues]:
        """Give each row as a cache of its own, on the same buffers, with room for `slots` slots."""
        rows = [type(self)(len(self.layers), 1) for _ in self.lengths]
        for number, layer in enumerate(self.layers):
            if layer.keys is None:
                continue
            layer.reserve(len(rows), slots, layer.keys)
            for row, length in enumerate(self.lengths):
                part = rows[row].layers[number]
                part.keys, part.values = layer.keys[row : row + 1], layer.values[row : row + 1]
                part.length, part.is_initialized = length, True
        return rows

    def join(self, rows: Sequence[KeyValues]) -> None:
        """Take back what `split` gave, after each row has grown."""
        lengths = [row.get_seq_length() for row in rows]
        for number, layer in enumerate(self.layers):
            if layer.is_initialized:
                continue  # the rows have written into it
            for row, length in enumerate(lengths):
                part = rows[row].layers[number]
                layer.reserve(len(rows), max(lengths), part.keys)
                layer.keys[row, :, :length] = part.keys[0, :, :length]
                layer.values[row, :, :length] = part.values[0, :, :length]
        self.lengths = lengths

    def row_bytes(self) -> int:
        """Count the bytes that one row's buffers take."""
        total = sum(layer.keys.nbytes + layer.values.nbytes for layer in self.layers)
        return int(total // len(self.lengths))


@dataclass(frozen=True)
class Span:
    """The first slots of one row, filled for good: a cache only ever writes behind them."""

    source: KeyValues
    row: int
    length: int

    def first(self, length: int) -> Span | None:
        """Cut it down to its first `length` slots; None where nothing is left."""
        return replace(self, length=min(length, self.length)) if length > 0 else None
