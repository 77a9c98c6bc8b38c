"""What an engine remembers: keys and values of earlier prompts, features of earlier pictures."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from vqa.engine.keys_values import Span

Value = TypeVar("Value")


class Bounded(Generic[Value]):
    """A dictionary that forgets what was used longest ago when it exceeds `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0
        self._held: OrderedDict[str, tuple[Value, int]] = OrderedDict()

    def get(self, key: str) -> Value | None:
        """Return what is held under `key`, as just used."""
        found = self._held.get(key)
        if found is None:
            return None
        self._held.move_to_end(key)
        return found[0]

    def put(self, key: str, value: Value, size: int) -> None:
        """Hold a value of `size` bytes; one that exceeds the limit alone is not held."""
        self.drop(key)
        if size > self.limit:
            return
        self._held[key] = (value, size)
        self.bytes += size
        while self.bytes > self.limit:
            self.drop(next(iter(self._held)))

    def drop(self, key: str) -> None:
        """Forget `key`, if it is held."""
        found = self._held.pop(key, None)
        if found is not None:
            self.bytes -= found[1]

    def clear(self) -> None:
        """Forget everything."""
        self._held.clear()
        self.bytes = 0

    def items(self) -> list[tuple[str, Value]]:
        """List what is held, last used last."""
        return [(key, value) for key, (value, _) in self._held.items()]


@dataclass(frozen=True)
class _Known:
    identity: np.ndarray  # [L], see `vqa.engine.prompt.Prompt`
    span: Span


class Prefixes:
    """Keys and values by what they stand for: token ids, and the contents of pictures."""

    def __init__(self, limit: int) -> None:
        self._held: Bounded[_Known] = Bounded(limit)
        self._count = 0

    def find(self, identity: np.ndarray) -> Span | None:
        """Find the keys and values of the longest known beginning of `identity` [L]."""
        best, length = None, 0
        for key, known in self._held.items():
            common = common_prefix(known.identity, identity)
            if common >= length > 0 or common > length:  # of equal ones the last used
                best, length = (key, known.span), common
        if best is None:
            return None
        self._held.get(best[0])
        return best[1].first(length)

    def add(self, identity: np.ndarray, span: Span) -> None:
        """Keep keys and values; what they merely extend is forgotten."""
        for key, known in self._held.items():
            if common_prefix(known.identity, identity) == len(known.identity):
                self._held.drop(key)
        self._count += 1
        if len(span.source.lengths) > 1:  # one row would keep the buffers of its whole batch
            span = Span(span.source.select([span.row]), 0, span.length)
        size = span.source.row_bytes()
        self._held.put(str(self._count), _Known(identity, span), size)

    def clear(self) -> None:
        """Forget everything."""
        self._held.clear()


def common_prefix(left: np.ndarray, right: np.ndarray) -> int:
    """Count the equal elements at the beginning of two arrays."""
    size = min(len(left), len(right))
    differ = left[:size] != right[:size]
    first = int(differ.argmax()) if size else 0
    return first if size and differ[first] else size
