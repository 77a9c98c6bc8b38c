"""KV caches grow, divide and join; the prefix cache stays within its limit."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from vqa.engine.kv_cache import CachedPrefix, KVCache
from vqa.engine.prefix_cache import PrefixCache, common_prefix
from vqa.engine.prompt import ImageFingerprints


def array(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def cache(length: int = 6) -> KVCache:
    made = KVCache(2, 1)
    for layer in range(2):
        new = torch.randn(1, 1, length, 4)
        made.update(new, new + 1, layer)
    made.lengths = [length]
    return made


def test_common_prefixes() -> None:
    assert common_prefix(array(1, 2, 3), array(1, 2, 4)) == 2
    assert common_prefix(array(1, 2), array(1, 2, 4)) == 2
    assert common_prefix(array(5), array(1)) == 0
    assert common_prefix(array(), array(1)) == 0


def test_the_longest_beginning_is_returned_and_extended_ones_are_dropped() -> None:
    prefixes = PrefixCache(1 << 20)
    one, two = cache(), cache()
    prefixes.add(array(1, 2, 3), CachedPrefix(one, 0, 3))
    prefixes.add(array(1, 2, 7, 8), CachedPrefix(two, 0, 4))
    assert prefixes.longest(array(1, 2, 7, 9)) == CachedPrefix(two, 0, 3)
    assert prefixes.longest(array(4)) is None
    prefixes.add(array(1, 2, 3, 4), CachedPrefix(two, 0, 4))
    assert prefixes.longest(array(1, 2, 3)) == CachedPrefix(two, 0, 3)
    prefixes.clear()
    assert prefixes.longest(array(1, 2, 3)) is None


def test_prefixes_stay_within_their_bytes() -> None:
    size = cache().row_bytes()
    prefixes = PrefixCache(2 * size)
    for first in (1, 2, 3):
        prefixes.add(array(first, 5), CachedPrefix(cache(), 0, 2))
    assert prefixes.longest(array(1, 5)) is None
    assert prefixes.longest(array(2, 5)) is not None
    assert prefixes.longest(array(3, 5)) is not None


def test_a_row_does_not_keep_its_whole_batch() -> None:
    batch = KVCache.of_prefixes(2, [CachedPrefix(cache(), 0, 6) for _ in range(4)])
    prefixes = PrefixCache(10 * batch.row_bytes())
    prefixes.add(array(1, 2, 3), CachedPrefix(batch, 2, 3))
    prefix = prefixes.longest(array(1, 2, 3))
    assert prefix is not None and len(prefix.source.lengths) == 1
    assert torch.equal(prefix.source.layers[1].keys[0, :, :3], batch.layers[1].keys[2, :, :3])


def test_rows_begin_with_copies_of_prefixes() -> None:
    long, short = cache(), cache(3)
    made = KVCache.of_prefixes(2, [CachedPrefix(short, 0, 3), None, CachedPrefix(long, 0, 5)])
    assert made.lengths == [3, 0, 5]
    for number, layer in enumerate(made.layers):
        assert torch.equal(layer.keys[0, :, :3], short.layers[number].keys[0, :, :3])
        assert torch.equal(layer.values[2, :, :5], long.layers[number].values[0, :, :5])
        assert not layer.keys[0, :, 3:].any() and not layer.keys[1].any()
    picked = made.select([2, 0])
    assert picked.lengths == [5, 3]
    assert torch.equal(picked.layers[1].values[1, :, :3], short.layers[1].values[0, :, :3])
    before = made.layers[0].keys.clone()
    picked.layers[0].keys.zero_()
    assert torch.equal(made.layers[0].keys, before)


def test_rows_run_apart_and_join() -> None:
    whole = KVCache(2, 2)
    for lengths in ([4, 2], [104, 203]):  # the second time beyond the first buffers
        rows = whole.split(max(lengths))
        for number, row in enumerate(rows):
            for layer in range(2):
                new = torch.full((1, 1, lengths[number] - whole.lengths[number], 4), number + 1.0)
                row.update(new, -new, layer)
        whole.join(rows)
        assert whole.lengths == lengths
    for layer in whole.layers:
        assert (layer.keys[0, :, :104] == 1).all()
        assert (layer.values[1, :, :203] == -2).all()


def test_a_picture_is_hashed_once_and_its_entry_ends_with_it() -> None:
    fingerprints = ImageFingerprints()
    picture = Image.new("RGB", (3, 3))
    first = fingerprints.of(picture)
    assert fingerprints.of(picture.copy()) == first
    assert fingerprints.of(Image.new("RGB", (3, 3), "red")) != first
    picture.putpixel((0, 0), (9, 9, 9))  # the same object is not read again
    assert fingerprints.of(picture) == first
    del picture
    assert not fingerprints._cache
