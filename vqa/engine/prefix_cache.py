"""KV caches of the beginnings of earlier prompts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vqa.engine.kv_cache import CachedPrefix
from vqa.utils.lru import LRUCache


@dataclass(frozen=True)
class _Entry:
    identity: np.ndarray  # [L], see `vqa.engine.prompt.Prompt`
    prefix: CachedPrefix


class PrefixCache:
    """Keys and values by the token ids and the picture contents that they were computed for."""

    def __init__(self, max_bytes: int) -> None:
        self._cache: LRUCache[_Entry] = LRUCache(max_bytes)
        self._added = 0

    def longest(self, identity: np.ndarray) -> CachedPrefix | None:
        """Return the keys and values of the longest cached beginning of `identity` [L], if any."""
        best, length = None, 0
        for key, entry in self._cache.items():
            common = common_prefix(entry.identity, identity)
            if common >= length > 0 or common > length:  # of equal ones the last used
                best, length = (key, entry.prefix), common
        if best is None:
            return None
        self._cache.get(best[0])
        return best[1].first(length)

    def add(self, identity: np.ndarray, prefix: CachedPrefix) -> None:
        """Cache keys and values, and drop the entries that they merely extend."""
        for key, entry in self._cache.items():
            if common_prefix(entry.identity, identity) == len(entry.identity):
                self._cache.drop(key)
        self._added += 1
        if len(prefix.source.lengths) > 1:  # one row would keep the buffers of its whole batch
            prefix = CachedPrefix(prefix.source.select([prefix.row]), 0, prefix.length)
        size = prefix.source.row_bytes()
        self._cache.put(str(self._added), _Entry(identity, prefix), size)

    def clear(self) -> None:
        """Drop all entries."""
        self._cache.clear()


def common_prefix(left: np.ndarray, right: np.ndarray) -> int:
    """Count the equal elements at the beginning of two arrays."""
    size = min(len(left), len(right))
    differ = left[:size] != right[:size]
    first = int(differ.argmax()) if size else 0
    return first if size and differ[first] else size
