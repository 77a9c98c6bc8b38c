import pytest

from vqa.metrics import Item, get_metric
from vqa.metrics.anls import anls, edits, explain


@pytest.mark.parametrize(
    ("first", "second", "count"),
    [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "abc", 0), ("ab", "ba", 2), ("a", "", 1)],
)
def test_edits(first: str, second: str, count: int) -> None:
    assert edits(first, second) == edits(second, first) == count


# worked out after the evaluation script of ST-VQA and DocVQA
@pytest.mark.parametrize(
    ("prediction", "answers", "score"),
    [
        ("Coca Cola", ["coca  cola"], 1.0),
        ("coca cole", ["coca cola"], 8 / 9),
        ("coca", ["coca cola"], 0.0),  # 4 / 9 is below the threshold
        ("abcd", ["ab"], 0.5),  # the threshold itself counts
        ("cole", ["pepsi", "cola"], 0.75),
        ("", ["cola"], 0.0),
        ("cola", [], 0.0),
    ],
)
def test_golden_vectors(prediction: str, answers: list[str], score: float) -> None:
    assert anls(prediction, answers) == pytest.approx(score)


def test_the_length_is_that_of_the_given_texts() -> None:
    # one edit, 8 characters with the spaces; so do lmms-eval 0.7.3 and ms-vlmeval 0.0.20
    assert anls("  cole  ", ["cola"]) == 1 - 1 / 8
    item = [Item("  cole  ", ("cola",))]
    for profile in ("official", "lmms-eval", "vlmevalkit"):
        assert get_metric("anls", profile).of(item)["score"] == 1 - 1 / 8


# scores of both kits' functions
@pytest.mark.parametrize(
    ("prediction", "answers", "score"),
    [
        ("cat  = ", ["the cat  =."], 6 / 11),
        ("2000\n", ["20P00\n"], 5 / 6),
        ("stra\u00dfe", ["strasse"], 1 - 2 / 7),
        ("a  b", ["a b"], 1.0),
        ("TWO", ["two", "2"], 1.0),
        ("abc", ["abd efgh", "xyz"], 0.0),
    ],
)
def test_kits(prediction: str, answers: list[str], score: float) -> None:
    for profile in ("lmms-eval", "vlmevalkit"):
        values = get_metric("anls", profile).of([Item(prediction, tuple(answers))])
        assert values["score"] == pytest.approx(score)


def test_explanation() -> None:
    lines = explain(Item("Cole", ("cola",)))
    assert lines[1] == "answer 'cola': 1 edits, similarity 0.75"
    assert lines[-1].endswith("0.75")
