"""Keys and values of a batch, in buffers with room to grow, and what of them is reused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

_GROW = 64  # slots that a full buffer gains at least: growing then costs next to nothing a token


class GrowingLayer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped
    """One layer's keys and values [B, H, room, D]; every row begins at the first slot.

    transformers' own layers copy their whole content for every token; this one writes into a
    buffer. A sliding window is left to the attention mask: all slots stay, so that any prefix can
    be reused.
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
        """Return the number of filled slots; transformers sizes its masks by it."""
        return self.length


def _grown(old: Tensor | None, rows: int, slots: int, like: Tensor) -> Tensor:
    # zeros: a masked slot has weight 0, but 0 times what lies in fresh memory may be NaN
    room = slots + max(_GROW, slots // 4)
    buffer = like.new_zeros(rows, like.shape[1], room, like.shape[3])
    if old is not None:
        buffer[:, :, : old.shape[2]] = old
    return buffer


class KVCache(Cache):  # type: ignore[misc]
    """Keys and values of all layers; row i has filled its first `lengths[i]` slots."""

    def __init__(self, layers: int, rows: int) -> None:
        super().__init__(layers=[GrowingLayer() for _ in range(layers)])
        self.lengths = [0] * rows

    @classmethod
    def of_prefixes(cls, layers: int, prefixes: Sequence[CachedPrefix | None]) -> KVCache:
        """Make a cache whose rows begin with copies of the prefixes, or empty."""
        cache = cls(layers, len(prefixes))
        longest = max((prefix.length for prefix in prefixes if prefix), default=0)
        for row, prefix in enumerate(prefixes):
            if prefix is None:
                continue
            cache.lengths[row] = prefix.length
            for old, new in zip(prefix.source.layers, cache.layers, strict=True):
                new.reserve(len(prefixes), longest, old.keys)
                new.keys[row, :, : prefix.length] = old.keys[prefix.row, :, : prefix.length]
                new.values[row, :, : prefix.length] = old.values[prefix.row, :, : prefix.length]
        return cache

    def select(self, rows: Sequence[int]) -> KVCache:
        """Copy some rows into a new cache."""
        cache = type(self)(len(self.layers), len(rows))
        cache.lengths = [self.lengths[row] for row in rows]
        slots = max(cache.lengths) + _GROW
        for old, new in zip(self.layers, cache.layers, strict=True):
            new.keys, new.values = old.keys[rows, :, :slots], old.values[rows, :, :slots]
            new.is_initialized = True
        return cache

    def reorder(self, sources: Sequence[int], start: int) -> None:
        """Let row i go on as row `sources[i]`, in place; these agree before slot `start`."""
        changed = [row for row, source in enumerate(sources) if row != source]
        taken = [sources[row] for row in changed]
        slots = slice(start, max(self.lengths))
        if changed:
            for layer in self.layers:
                layer.keys[changed, :, slots] = layer.keys[taken, :, slots]
                layer.values[changed, :, slots] = layer.values[taken, :, slots]
        self.lengths = [self.lengths[source] for source in sources]

    def split(self, slots: int) -> list[KVCache]:
        """Return each row as a cache on the same buffers, with room for `slots` slots."""
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

    def join(self, rows: Sequence[KVCache]) -> None:
        """Take back the rows that `split` returned, after each has grown."""
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
class CachedPrefix:
    """The first slots of a row of a cache; they never change: caches write only behind them."""

    source: KVCache
    row: int
    length: int

    def first(self, length: int) -> CachedPrefix | None:
        """Cut it down to `length` slots at most; None where nothing is left."""
        return replace(self, length=min(length, self.length)) if length > 0 else None
