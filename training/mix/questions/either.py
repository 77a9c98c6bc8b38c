"""Yes or no about a value, so that the value itself never gives the answer away."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def yes_and_no(
    items: Sequence[Item],
    value: Callable[[Item], str],
    is_not: Callable[[Item, str], bool],
    rng: random.Random,
) -> list[tuple[Item, str, bool]]:
    """Pair items, each with the value that it is asked about and whether that is right.

    The first of a pair has that value, the second, for which `is_not` must hold, has not. So every
    value is as often right as wrong. Items without a partner are left out; each comes once.
    """
    left = rng.sample(items, k=len(items))
    triples: list[tuple[Item, str, bool]] = []
    while left:
        first = left.pop()
        asked = value(first)
        for place, second in enumerate(left):
            if is_not(second, asked):
                del left[place]
                triples += [(first, asked, True), (second, asked, False)]
                break
    return triples
