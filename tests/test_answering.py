"""How sure an answer is."""

from __future__ import annotations

import math

import pytest

from vqa.answering import answer_probability


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("yes", 1),
        ("skateboarding", 1),  # of several tokens
        ("black stork", 2),
        ("A dog, brown and wet, runs.", 6),
        ("一只猫", 3),
        ("一只 cat 在跑", 5),
        ("", 1),  # nothing but an end of turn
    ],
)
def test_it_is_the_geometric_mean_over_the_words(text: str, words: int) -> None:
    assert answer_probability(math.log(0.5), text) == pytest.approx(0.5 ** (1 / words))


def test_it_is_never_above_1_nor_below_0() -> None:
    assert answer_probability(1e-9, "yes") == 1  # a sum of rounded numbers
    assert answer_probability(-math.inf, "yes") == 0
