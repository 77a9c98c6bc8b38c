import pytest

from vqa.errors import InputError
from vqa.metrics import Item, get_metric
from vqa.metrics.mme import lmms_eval, official


def row(prediction: str, answer: str, pair: str, category: str = "color") -> Item:
    return Item(prediction, (answer,), "Is it?", {"pair": pair, "category": category})


# eval_tool/calculation.py: the first four characters, yes before no; what lmms-eval reads otherwise
@pytest.mark.parametrize(
    ("text", "word", "lmms"),
    [
        ("Yes", "yes", "yes"),
        ("YES.", "yes", "yes"),
        ("Yes, there is no cat", "yes", "yes"),
        ("no", "no", "no"),
        ("No, it is not", "no", "no"),
        ("Not at all", "no", "no"),
        ("I know", None, None),
        ("\nYes", "yes", "yes"),
        ("  Yes", None, "yes"),
        ("y", None, "yes"),
        ("N.", None, "no"),
        ("x", None, None),
        ("The answer is yes", None, None),
        ("n.o", None, "no"),
        ("", None, None),
    ],
)
def test_reading(text: str, word: str | None, lmms: str | None) -> None:
    assert official(text) == word
    assert lmms_eval(text) == lmms


def test_values() -> None:
    items = [
        row("yes", "yes", "a"), row("no", "no", "a"),  # both
        row("yes", "yes", "b"), row("yes", "no", "b"),  # one
        row("yes", "yes", "a", "OCR"), row("no", "No.", "a", "OCR"),  # both, of another category
        row("no", "yes", "c", "code_reasoning"), row("", "no", "c", "code_reasoning"),  # none
    ]  # fmt: skip
    values = get_metric("mme").of(items)
    assert values["accuracy"] == pytest.approx(5 / 8)
    assert values["accuracy_plus"] == pytest.approx(2 / 4)
    assert values["perception"] == pytest.approx((75 + 50) + 200)
    assert values["cognition"] == 0
    backwards = get_metric("mme").of(items[::-1])
    assert backwards == pytest.approx(values)


def test_a_picture_with_one_row_has_no_accuracy_plus() -> None:
    values = get_metric("mme").of(
        [row("yes", "yes", "a"), row("no", "no", "a"), row("no", "no", "b")]
    )
    assert values["accuracy"] == values["accuracy_plus"] == 1
    assert get_metric("mme").of([row("no", "no", "b")])["perception"] == 100


@pytest.mark.parametrize(
    ("items", "line"),
    [
        ([row("yes", "maybe", "a")], "needs yes or no"),
        ([row("yes", "yes", "a", "colour")], "the category 'colour' is none of existence, count"),
        ([Item("yes", ("yes",))], "the category None is none of"),
        ([row("yes", "yes", "a")] * 3, "'a' has 3 rows"),
        ([Item("no", ("no",), extra={"category": "OCR"})] * 4, "None has 4 rows"),
    ],
)
def test_what_is_wrong_is_a_line(items: list[Item], line: str) -> None:
    with pytest.raises(InputError, match=line):
        get_metric("mme").of(items)


def test_explanation() -> None:
    lines = get_metric("mme", "lmms-eval").explain(row("N.", "no", "a"))
    assert lines == ["prediction 'N.' is read as no (profile lmms-eval)", "the answer is no: 1"]
