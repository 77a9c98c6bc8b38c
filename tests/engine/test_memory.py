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


def cache(rows: int = 1, length: int = 6) -> KeyValues:
    made = KeyValues(2)
    for layer in range(2):
        new = torch.randn(rows, 1, length, 4)
        made.update(new, new + 1, layer)
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
    prefixes.add(array(1, 2, 3), Span(one, 0, 0, 3))
    prefixes.add(array(1, 2, 7, 8), Span(two, 0, 2, 4))
    found = prefixes.find(array(1, 2, 7, 9))
    assert found == Span(two, 0, 2, 3)
    assert prefixes.find(array(4)) is None
    prefixes.add(array(1, 2, 3, 4), Span(two, 0, 0, 4))
    assert prefixes.find(array(1, 2, 3)) == Span(two, 0, 0, 3)
    prefixes.clear()
    assert prefixes.find(array(1, 2, 3)) is None


def test_prefixes_stay_within_their_bytes() -> None:
    size = cache().row_bytes()
    prefixes = Prefixes(2 * size)
    for first in (1, 2, 3):
        prefixes.add(array(first, 5), Span(cache(), 0, 0, 2))
    assert prefixes.find(array(1, 5)) is None
    assert prefixes.find(array(2, 5)) is not None
    assert prefixes.find(array(3, 5)) is not None


def test_spans_are_copied_to_where_rows_end() -> None:
    source = cache(rows=2)
    spans = [Span(source, 1, 2, 3), None, Span(source, 0, 0, 5)]
    made = KeyValues.of_spans(2, spans, 5)
    assert made.length == 5
    for old, new in zip(source.layers, made.layers, strict=True):
        assert torch.equal(new.keys[0, :, 2:5], old.keys[1, :, 2:5])
        assert torch.equal(new.values[2, :, 0:5], old.values[0, :, 0:5])
        assert not new.keys[1].any()
    picked = made.select([2, 0], 2)
    assert picked.length == 3
    assert torch.equal(picked.layers[1].values[1, :, :3], source.layers[1].values[1, :, 2:5])


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
