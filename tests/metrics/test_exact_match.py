import pytest

from vqa.metrics import Item, get_metric
from vqa.metrics.exact_match import exact_match, normalize


@pytest.mark.parametrize(
    ("prediction", "answers", "score"),
    [
        ("cat", ["cat"], 1),
        ("A cat.", ["cat"], 1),
        ("the  Garbage bin", ["garbage_bin"], 1),
        ("t-shirt", ["tshirt"], 1),
        ("T-Shirt!", ["t-shirt"], 1),
        ("dog", ["cat", "a dog"], 1),
        ("book, lamp", ["book, lamp"], 1),
        ("book", ["book, lamp"], 0),
        ("cats", ["cat"], 0),
        ("athens", ["ens"], 0),  # an article inside a word is part of it
        ("2.5", ["25"], 0),
        ("2.5", ["2.5"], 1),
        ("-3", ["3"], 0),
        ("1,000", ["1000"], 1),
        ("a", ["the"], 0),
        ("A", ["a"], 1),
        ("?", ["!"], 0),
        ("caf\u00e9", ["cafe\u0301"], 1),
        ("«yes»", ["yes"], 1),
        ("", ["yes"], 0),
    ],
)
def test_golden_vectors(prediction: str, answers: list[str], score: int) -> None:
    assert exact_match(prediction, answers) == score


def test_no_answers_match_nothing() -> None:
    assert exact_match("", []) == 0.0


def test_normal_form_is_stable() -> None:
    for text in (" The T-shirt. ", "a", "-2.5 m", "tape_dispenser, an apple"):
        assert normalize(normalize(text)) == normalize(text)


@pytest.mark.parametrize(
    ("prediction", "answer", "lmms", "vlmevalkit"),
    [("The cat", "cat", 0, 0), ("Cat.", "cat", 1, 0), (" CAT", "cat", 0, 1), ("", "", 0, 0)],
)
def test_profiles(prediction: str, answer: str, lmms: int, vlmevalkit: int) -> None:
    item = [Item(prediction, (answer,))]
    assert get_metric("exact_match", "lmms-eval").of(item)["score"] == lmms
    assert get_metric("exact_match", "vlmevalkit").of(item)["score"] == vlmevalkit


def test_explanation() -> None:
    lines = get_metric("exact_match").explain(Item("A cat.", ("cat", "kitten")))
    assert lines[0] == "prediction 'A cat.' is compared as 'cat'"
    assert lines[-1] == "it is one of them: 1"
