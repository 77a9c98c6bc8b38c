"""What is kept stays within its limit, and prefixes are found."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from vqa.engine.keys_values import KeyValues, Span
from vqa.engine.memory import Bounded, Prefixes, common_prefix
from vqa.engine.prompt import PictureIdentity


def array(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def cache(length: int = 6) -> KeyValues:
    made = KeyValues(2, 1)
    for layer in range(2):
        new = torch.randn(1, 1, length, 4)
        made.update(new, new + 1, layer)
    made.lengths = [length]
    return made


def test_the_longest_unused_goes_first() -> None:
    held: Bounded[int] = Bounded(10)
    held.put("a", 1, 4)
    held.put("b", 2, 4)
    assert held.get("a") == 1
    held.put("c", 3, 4)
    assert (held.get("a"), held.get("b"), held.get("c")) == (1, None, 3)
    held.put("d", 4, 11)  # larger than all: the others stay
    assert (held.get("a"), held.get("d"), held.bytes) == (1, None, 8)
    held.put("a", 5, 2)
    assert (held.get("a"), held.bytes) == (5, 6)


def test_common_prefixes() -> None:
    assert common_prefix(array(1, 2, 3), array(1, 2, 4)) == 2
    assert common_prefix(array(1, 2), array(1, 2, 4)) == 2
    assert common_prefix(array(5), array(1)) == 0
    assert common_prefix(array(), array(1)) == 0


def test_the_longest_beginning_is_found_and_extended_ones_are_dropped() -> None:
    prefixes = Prefixes(1 << 20)
    one, two = cache(), cache()
    prefixes.add(array(1, 2, 3), Span(one, 0, 3))
    prefixes.add(array(1, 2, 7, 8), Span(two, 0, 4))
    found = prefixes.find(array(1, 2, 7, 9))
    assert found == Span(two, 0, 3)
    assert prefixes.find(array(4)) is None
    prefixes.add(array(1, 2, 3, 4), Span(two, 0, 4))
    assert prefixes.find(array(1, 2, 3)) == Span(two, 0, 3)
    prefixes.clear()
    assert prefixes.find(array(1, 2, 3)) is None


def test_prefixes_stay_within_their_bytes() -> None:
    size = cache().row_bytes()
    prefixes = Prefixes(2 * size)
    for first in (1, 2, 3):
        prefixes.add(array(first, 5), Span(cache(), 0, 2))
    assert prefixes.find(array(1, 5)) is None
    assert prefixes.find(array(2, 5)) is not None
    assert prefixes.find(array(3, 5)) is not None


def test_a_row_does_not_keep_its_whole_batch() -> None:
    batch = KeyValues.of_spans(2, [Span(cache(), 0, 6) for _ in range(4)])
    prefixes = Prefixes(10 * batch.row_bytes())
    prefixes.add(array(1, 2, 3), Span(batch, 2, 3))
    found = prefixes.find(array(1, 2, 3))
    assert found is not None and len(found.source.lengths) == 1
    assert torch.equal(found.source.layers[1].keys[0, :, :3], batch.layers[1].keys[2, :, :3])


def test_rows_begin_with_copies_of_spans() -> None:
    long, short = cache(), cache(3)
    made = KeyValues.of_spans(2, [Span(short, 0, 3), None, Span(long, 0, 5)])
    assert made.lengths == [3, 0, 5]
    for number, layer in enumerate(made.layers):
        assert torch.equal(layer.keys[0, :, :3], short.layers[number].keys[0, :, :3])
        assert torch.equal(layer.values[2, :, :5], long.layers[number].values[0, :, :5])
        assert not layer.keys[0, :, 3:].any() and not layer.keys[1].any()
    picked = made.select([2, 0])
    assert picked.lengths == [5, 3]
    assert torch.equal(picked.layers[1].values[1, :, :3], short.layers[1].values[0, :, :3])
    kept = made.layers[0].keys.clone()
    picked.layers[0].keys.zero_()
    assert torch.equal(made.layers[0].keys, kept)


def test_rows_run_apart_and_join() -> None:
    whole = KeyValues(2, 2)
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


def test_a_picture_is_hashed_once_and_forgotten_with_it() -> None:
    identities = PictureIdentity()
    picture = Image.new("RGB", (3, 3))
    first = identities.of(picture)
    assert identities.of(picture.copy()) == first
    assert identities.of(Image.new("RGB", (3, 3), "red")) != first
    picture.putpixel((0, 0), (9, 9, 9))  # the same object is not read again
    assert identities.of(picture) == first
    del picture
    assert not identities._known
