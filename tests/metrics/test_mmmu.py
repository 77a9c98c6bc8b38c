import pytest

from vqa.metrics import Item, get_metric
from vqa.metrics.mmmu import candidates, choice, free_match

CHOICES = ["a cat", "a dog", "two dogs", "none"]


# eval_utils.py, parse_multi_choice_response; where that guesses, None
@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("B.", "B"),
        ("(B)", "B"),
        ("'B'", "B"),
        ("(A) or rather (C)", "C"),
        ("(A), B and so on", "A"),
        ("A then B follows", "B"),
        ("B then A follows", "A"),
        ("DNA is it", "A"),  # a letter that ends a word is one
        ("Answer:B.Because", "B"),
        ("b", None),
        ("a dog", None),  # up to five words are not compared with the choices
        ("The picture shows that it is a dog", "B"),
        ("It could be a cat, but I see two dogs", "C"),
        ("I cannot tell what this one is, sorry", None),
        ("", None),
    ],
)
def test_choice(text: str, letter: str | None) -> None:
    place = choice(text, CHOICES)
    assert (None if place is None else "ABCD"[place]) == letter


@pytest.mark.parametrize(
    ("text", "answers", "right"),
    [
        ("3.429", ["24/7", "3.429"], True),
        ("It is about 3.43", ["3.429"], True),  # two decimals
        ("the answer is 1,234.00", ["1234"], True),
        ("x = 1e3", ["1000"], True),
        ("12 apples", ["2"], False),
        ("So it is a transformer.", ["Transformer"], True),
        ("no transformers at all", ["transformer"], True),  # contained
        ("b", ["b"], True),
        ("blue", ["b"], False),  # a single letter must have a space beside it
        ("the result is b or c", ["b"], True),
        ("It is blue because it is cold", ["blue"], False),  # what stands behind the last key
        ("first line\nthe sum is 7", ["7"], True),
    ],
)
def test_free_match(text: str, answers: list[str], right: bool) -> None:
    assert free_match(text, answers) is right


def test_candidates() -> None:
    assert candidates("Yes.") == {"yes"}
    assert candidates("Thus the answer is 1,000.5 mm") == {"1,000.5 mm", 1000.0, 0.5}
    assert candidates("it is 7\nso: 8 = 4 + 4") == {7.0, "4 + 4", 4.0}


def test_rows_of_both_kinds() -> None:
    lettered = Item("(B)", ("a dog",), extra={"choices": CHOICES})
    free = Item("it is 4", ("4",), extra={"question_type": "open"})
    wrong = Item("I do not know", ("B",), extra={"choices": CHOICES})
    for profile in ("official", "lmms-eval"):
        assert get_metric("mmmu", profile).of([lettered, free, wrong, Item("", ("4",))]) == {
            "score": 0.5
        }


def test_explanation() -> None:
    lines = get_metric("mmmu").explain(Item("(B)", ("a dog",), extra={"choices": CHOICES}))
    assert lines == ["prediction '(B)' is read as B ('a dog')", "right: B ('a dog')", "score: 1"]
    lines = get_metric("mmmu").explain(Item("it is 4", ("4",)))
    assert lines[0] == "the prediction may have answered 4.0" and lines[-1] == "score: 1"
