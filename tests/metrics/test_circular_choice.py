import pytest

from vqa.errors import InputError
from vqa.metrics import Item, get_metric


def row(prediction: str, answer: str, index: object) -> Item:
    return Item(prediction, (answer,), "Which?", {"index": index, "choices": ["cat", "dog"]})


@pytest.mark.parametrize("profile", ["official", "vlmevalkit", "lmms-eval"])
def test_a_question_is_right_in_all_orders(profile: str) -> None:
    items = [
        row("A", "A", 241), row("A", "A", 242),
        row("B", "B", 1000241), row("A", "B", "1000242"),
        row("B.", "B", 7),
    ]  # fmt: skip
    assert get_metric("circular_choice", profile).of(items) == {
        "score": pytest.approx(2 / 3), "accuracy": pytest.approx(4 / 5)
    }  # fmt: skip
    assert get_metric("circular_choice", profile).rows(items).tolist() == [1, 1, 1, 0, 1]


@pytest.mark.parametrize("index", [None, "first", ""])
def test_rows_need_an_index(index: object) -> None:
    with pytest.raises(InputError, match=r"index is .*; it needs a whole number"):
        get_metric("circular_choice").of([row("A", "A", index)])


def test_explanation() -> None:
    lines = get_metric("circular_choice").explain(row("A", "A", 1))
    assert lines[-1] == "the question is right where the rows of all orders of its choices are"
