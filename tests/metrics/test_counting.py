import pytest

from vqa.errors import InputError
from vqa.metrics import Item, get_metric
from vqa.metrics.counting import number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("There are 3 dogs and 4 cats.", 3),
        ("2,000", 2000),
        ("1,2", 1),
        ("2.5", 2.5),
        ("-3", -3),
        ("two", 2),
        ("Twenty-one dogs", 21),
        ("two hundred and five", 205),
        ("one thousand two hundred", 1200),
        ("a dozen", 12),
        ("two dozen", 24),
        ("hundred", 100),
        ("2 dozen eggs", 24),
        ("3 hundred thousand", 300_000),
        ("1.5 million", 1_500_000),
        ("2 dozens", 2),
        (".5", 0.5),
        ("two three", 2),
        ("ninety twelve", 90),
        ("three or four", 3),
        ("none", 0),
        ("There are no dogs.", 0),
        ("No, there are 3", 3),
        ("no one", 0),
        ("no", None),
        ("someone stone", None),
        ("many", None),
        ("", None),
        ("9" * 400, None),
    ],
)
def test_numbers(text: str, value: float | None) -> None:
    assert number(text) == value


def test_values() -> None:
    items = [
        Item("three", ("3",)),  # right
        Item("5 dogs", ("3",)),  # two off
        Item("many", ("4",)),  # no number: as if it were 0
        Item("", ("1",)),
    ]
    assert get_metric("counting").of(items) == {
        "accuracy": 0.25,
        "mean_absolute_error": (0 + 2 + 4 + 1) / 4,
        "numbers": 0.5,
    }


def test_nearest_of_several_answers() -> None:
    values = get_metric("counting").of([Item("5", ("3", "six", "many"))])
    assert (values["accuracy"], values["mean_absolute_error"]) == (0.0, 1.0)


def test_silence_is_wrong_even_where_zero_is_right() -> None:
    assert get_metric("counting").of([Item("", ("0",))])["accuracy"] == 0.0


def test_answers_must_have_a_number() -> None:
    with pytest.raises(InputError, match="no answer to 'How many\\?' is a number"):
        get_metric("counting").of([Item("3", ("many",), "How many?")])


def test_explanation() -> None:
    lines = get_metric("counting").explain(Item("two dogs", ("3",)))
    assert lines == ["prediction 'two dogs' is 2", "answers are 3", "correct: 0; error: 1"]
