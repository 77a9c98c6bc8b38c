import pytest

from vqa.metrics import Item, get_metric
from vqa.metrics.relaxed_accuracy import relaxed_accuracy


# worked out after relaxed_correctness of google-research/pix2struct
@pytest.mark.parametrize(
    ("prediction", "answers", "score"),
    [
        ("105", ["100"], 1),
        ("95", ["100"], 1),
        ("105.1", ["100"], 0),
        ("-100", ["100"], 0),
        ("12%", ["0.12"], 1),
        ("12%", ["12"], 0),
        ("12%", ["12.4%"], 1),
        ("0", ["0"], 1),
        ("0.0", ["0"], 0),  # an answer of 0 is compared as a text
        ("1,000", ["1000"], 0),
        ("Red", ["red"], 1),
        ("reds", ["red"], 0),
        ("7", ["3", "7.1"], 1),
        ("nan", ["5"], 0),
        ("5", ["nan"], 0),
        ("", ["5"], 0),
    ],
)
def test_golden_vectors(prediction: str, answers: list[str], score: int) -> None:
    assert relaxed_accuracy(prediction, answers) == score


def test_profiles_differ_in_the_ends() -> None:
    item = [Item(" red\n", ("red",))]
    assert get_metric("relaxed_accuracy").of(item)["score"] == 0
    assert get_metric("relaxed_accuracy", "lmms-eval").of(item)["score"] == 0
    assert get_metric("relaxed_accuracy", "vlmevalkit").of(item)["score"] == 1


def test_explanation() -> None:
    lines = get_metric("relaxed_accuracy").explain(Item("104", ("100", "x")))
    assert lines[1] == "answer '100' is 100: 4.00% away, correct"
    assert lines[2] == "answer 'x': compared as texts, wrong"
