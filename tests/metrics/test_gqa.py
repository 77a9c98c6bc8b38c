import pytest

from vqa.metrics import Item, get_metric


# official: eval.py compares the texts as they are
@pytest.mark.parametrize(
    ("prediction", "answer", "official", "lmms", "vlmevalkit"),
    [
        ("yes", "yes", 1, 1, 1),
        ("Yes", "yes", 0, 1, 1),
        ("Yes.", "yes", 0, 1, 0),
        (" yes", "yes", 0, 0, 1),
        ("t-shirt", "tshirt", 0, 1, 0),
        ("the cat", "cat", 0, 0, 0),
    ],
)
def test_profiles(prediction: str, answer: str, official: int, lmms: int, vlmevalkit: int) -> None:
    item = [Item(prediction, (answer,))]
    for profile, score in (("official", official), ("lmms-eval", lmms), ("vlmevalkit", vlmevalkit)):
        assert get_metric("gqa", profile).of(item)["score"] == score, profile


def test_explanation() -> None:
    lines = get_metric("gqa", "vlmevalkit").explain(Item("Yes", ("yes",)))
    assert lines[0] == "prediction 'Yes' is compared as 'yes'"
    assert lines[-1] == "it is one of them: 1"
