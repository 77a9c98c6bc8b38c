import pytest

from vqa.errors import InputError
from vqa.metrics import Item, metric
from vqa.metrics.multiple_choice import LETTERS, expected, lmms_eval, official, vlmevalkit

CHOICES = ["a cat", "a dog", "a red bird", "dog house"]


def letter(place: int | None) -> str | None:
    return None if place is None else LETTERS[place]


@pytest.mark.parametrize(
    ("prediction", "chosen"),
    [
        ("B", "B"),
        ("b", "B"),
        ("(B)", "B"),
        ("B.", "B"),
        ("B)", "B"),
        ("B. a dog", "B"),
        ("(B) a dog", "B"),
        ("the answer is B", "B"),
        ("Answer: B", "B"),
        ("The correct answer is **B**.", "B"),
        ("The answer is (C), not (B)", "C"),
        ("Not (C) but (B)", "B"),
        ("I would pick B here", "B"),
        ("A dog.", "B"),  # the text of a choice comes before the letter
        ("It is a red bird", "C"),
        ("It is in the dog house", "D"),
        ("first a cat, then a dog", "B"),
        ("E", None),
        ("answer is E", None),
        ("something else", None),
        ("concatenate", None),
    ],
)
def test_official_reading(prediction: str, chosen: str | None) -> None:
    assert letter(official(prediction, CHOICES)) == chosen


@pytest.mark.parametrize(
    ("prediction", "chosen"),
    [("B", "B"), ("B. a dog", "B"), ("B a dog", None), ("(B)", None), ("b", None), ("E", None)],
)
def test_lmms_eval_reading(prediction: str, chosen: str | None) -> None:
    assert letter(lmms_eval(prediction, CHOICES)) == chosen


# worked out after can_infer of VLMEvalKit's matching_util.py
@pytest.mark.parametrize(
    ("prediction", "chosen"),
    [
        ("B", "B"),
        ("(B).", "B"),
        ("b", None),
        ("The answer is B", "B"),
        ("B is what I see on the left side", None),  # too far from the end
        ("the answer is B since it barks so loud", "B"),
        ("A or B", None),
        ("It is a red bird", "C"),
        ("Cannot determine the answer, B", None),
        ("Z", None),
    ],
)
def test_vlmevalkit_reading(prediction: str, chosen: str | None) -> None:
    assert letter(vlmevalkit(prediction, CHOICES)) == chosen


def test_answers_are_letters_or_texts() -> None:
    extra = {"choices": CHOICES}
    for answer in ("B", "b", "(B)", "A dog."):
        assert expected(Item("", (answer,), extra=extra)) == {1}
    assert metric("multiple_choice").of([Item("B", ("a dog",), extra=extra)]) == {"score": 1.0}
    # where the choices are letters, their text counts
    assert expected(Item("", ("A",), extra={"choices": ["B", "A"]})) == {1}


def test_numbers_may_be_choices() -> None:
    item = Item("3", ("3",), extra={"choices": [2, 3]})
    assert metric("multiple_choice").of([item])["score"] == 1


@pytest.mark.parametrize(
    ("choices", "right"), [(["5", ".5"], ".5"), (["5'", '5"'], '5"'), (["5.", "5"], "5")]
)
def test_marks_count_where_they_alone_tell_choices_apart(choices: list[str], right: str) -> None:
    place = choices.index(right)
    for answer in (right, LETTERS[place]):
        item = Item(right, (answer,), extra={"choices": choices})
        assert expected(item) == {place}
        assert metric("multiple_choice").of([item])["score"] == 1
    assert official(f"I think it is {right}", choices) == place
    assert official(choices[1 - place], choices) == 1 - place


def test_the_other_choices_are_as_they_were() -> None:
    choices = ["5", ".5", "a cat", "A dog."]
    for said, place in (("A cat.", 2), ("a dog", 3), ("It is a cat!", 2), ("It is a dog", 3)):
        assert official(said, choices) == place
    assert expected(Item("", ("A cat.",), extra={"choices": choices})) == {2}


def test_bad_rows_are_named() -> None:
    with pytest.raises(InputError, match="no column `choices`"):
        metric("multiple_choice").of([Item("B", ("B",), "What is it?")])
    with pytest.raises(InputError, match="neither a letter"):
        metric("multiple_choice").of([Item("B", ("Q",), extra={"choices": CHOICES})])


def test_explanation() -> None:
    lines = metric("multiple_choice").explain(Item("(C)", ("B",), extra={"choices": CHOICES}))
    assert "is read as C ('a red bird')" in lines[1]
    assert lines[2:] == ["right: B ('a dog')", "score: 0"]
