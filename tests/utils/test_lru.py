"""A cache bounded in bytes."""

from __future__ import annotations

from vqa.utils.lru import LRUCache


def test_the_longest_unused_goes_first() -> None:
    cache: LRUCache[int] = LRUCache(10)
    cache.put("a", 1, 4)
    cache.put("b", 2, 4)
    assert cache.get("a") == 1
    cache.put("c", 3, 4)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (1, None, 3)
    cache.put("d", 4, 11)  # larger than all: the others stay
    assert (cache.get("a"), cache.get("d"), cache.bytes) == (1, None, 8)
    cache.put("a", 5, 2)
    assert (cache.get("a"), cache.bytes) == (5, 6)
