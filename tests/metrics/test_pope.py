import pytest

from vqa.errors import InputError
from vqa.metrics import Item, get_metric
from vqa.metrics.pope import either_word, official


def rows(tp: int, fp: int, tn: int, fn: int) -> list[Item]:
    return (
        [Item("yes", ("yes",))] * tp
        + [Item("yes", ("no",))] * fp
        + [Item("no", ("no",))] * tn
        + [Item("no", ("yes",))] * fn
    )


@pytest.mark.parametrize("profile", ["official", "lmms-eval", "vlmevalkit"])
def test_from_counts(profile: str) -> None:
    values = get_metric("pope", profile).of(rows(1183, 31, 1379, 317))
    assert values["accuracy"] == pytest.approx(0.88041, abs=5e-6)
    assert values["precision"] == pytest.approx(0.97446, abs=5e-6)
    assert values["recall"] == pytest.approx(0.78867, abs=5e-6)
    assert values["f1"] == pytest.approx(0.87178, abs=5e-6)
    # lmms-eval's file counts the answers here
    yes = 1500 if profile == "lmms-eval" else 1214
    assert values["yes_rate"] == pytest.approx(yes / 2910)


# AoiDragon/POPE, evaluate.py: first sentence, no commas, split at spaces
@pytest.mark.parametrize(
    ("text", "yes"),
    [
        ("yes, there is.", True),
        ("Yes", True),
        ("There is a dog.", True),
        ("No", False),
        ("no, there is a cat", False),
        ("There is not.", False),
        ("Yes. There is no cat", True),
        ("No. Yes.", False),
        ("NO", True),  # as the official file has it
        ("no!", True),
        ("nothing", True),
        ("", None),
        (" \n", None),
    ],
)
def test_official_reading(text: str, yes: bool | None) -> None:
    assert official(text) is yes


@pytest.mark.parametrize(
    ("text", "yes"),
    [("NO!", False), ("Yes, it is", True), ("yes and no", None), ("a dog", None), ("", None)],
)
def test_vlmevalkit_reading(text: str, yes: bool | None) -> None:
    assert either_word(text) is yes


def test_no_prediction_says_neither() -> None:
    items = [Item("", ("yes",)), Item("", ("no",)), Item("yes", ("yes",))]
    values = get_metric("pope").of(items)
    assert values == {
        "accuracy": pytest.approx(1 / 3),
        "precision": 1.0,
        "recall": 0.5,
        "f1": pytest.approx(2 / 3),
        "yes_rate": pytest.approx(1 / 3),
    }
    assert get_metric("pope", "lmms-eval").of(items)["recall"] == 1.0


def test_nothing_said_yes_is_zero_not_an_error() -> None:
    values = get_metric("pope").of([Item("no", ("no",))])
    assert (values["precision"], values["recall"], values["f1"]) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("answers", [("red",), ("yes", "no"), ()])
def test_answers_must_be_yes_or_no(answers: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="yes or no"):
        get_metric("pope").of([Item("yes", answers, "Is there a dog?")])


def test_explanation() -> None:
    lines = get_metric("pope").explain(Item("yes, there is.", ("no",)))
    assert "is read as yes" in lines[0]
    assert lines[1:] == ["the answer is no: a false yes", "correct: 0"]
