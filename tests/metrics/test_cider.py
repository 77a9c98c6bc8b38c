import numpy as np
import pytest

from vqa.metrics import Item, get_metric
from vqa.metrics.cider import cider_d

ROWS = [
    (
        "A dog runs on the grass.",
        ["A brown dog runs through green grass.", "The dog is running on a lawn."],
    ),
    (
        "Two men play soccer",
        ["Two men are playing soccer on a field.", "Men play football, it's raining."],
    ),
    ("a cat", ["A cat sleeps on a sofa.", "The cat is sleeping."]),
    ("A man rides a bike, isn't he?", ["A man isn't riding his bike."]),
]
ITEMS = [Item(prediction, tuple(references)) for prediction, references in ROWS]


# scores of coco-caption's cider_scorer.py on these four rows, after its tokenizer and without it
def test_golden_vectors() -> None:
    official, raw = get_metric("cider_d"), get_metric("cider_d", "vlmevalkit")
    assert official.of(ITEMS)["score"] == pytest.approx(1.8182246368560802, abs=1e-12)
    assert official.rows(ITEMS) == pytest.approx(
        [1.5379949546178682, 1.6338664734970154, 1.8524296565458953, 2.2486074627635415]
    )
    assert raw.of(ITEMS)["score"] == pytest.approx(1.2975224131200216, abs=1e-12)


def test_the_most_is_ten() -> None:
    same = [Item(f"one two three four {word}", (f"one two three four {word}",)) for word in "abc"]
    # only what holds the last word tells the rows apart, and it is all there
    assert get_metric("cider_d").rows(same) == pytest.approx([10.0] * 3)


def test_weights_come_from_all_rows() -> None:
    assert get_metric("cider_d").of(ITEMS[:1])["score"] == 0.0
    two = get_metric("cider_d").rows(ITEMS[:2])
    assert not np.allclose(two, get_metric("cider_d").rows(ITEMS)[:2])


def test_no_words_score_nothing() -> None:
    assert cider_d(["", "..."], [["a dog"], ["a cat"]]).tolist() == [0.0, 0.0]
    assert cider_d([], []).tolist() == []


def test_explanation() -> None:
    lines = get_metric("cider_d").explain(ITEMS[2])
    assert "2, 1, 0, 0 n-grams" in lines[1]
