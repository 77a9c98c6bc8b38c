import pytest

from vqa.metrics import Item, get_metric
from vqa.metrics.rouge import common_subsequence, rouge_l

# scores of coco-caption's rouge.py after its tokenizer, and without it
ROWS = [
    (
        "A dog runs on the grass.",
        ["A brown dog runs through green grass.", "The dog is running on a lawn."],
        0.6069651741293532,
        0.6069651741293532,
    ),
    (
        "Two men play soccer",
        ["Two men are playing soccer on a field.", "Men play football, it's raining."],
        0.47164948453608246,
        0.47164948453608246,
    ),
    (
        "a cat",
        ["A cat sleeps on a sofa.", "The cat is sleeping."],
        0.45864661654135336,
        0.31443298969072164,
    ),
    (
        "A man rides a bike, isn't he?",
        ["A man isn't riding his bike."],
        0.5398230088495575,
        0.4680306905370844,
    ),
]


@pytest.mark.parametrize(("prediction", "references", "official", "raw"), ROWS)
def test_golden_vectors(
    prediction: str, references: list[str], official: float, raw: float
) -> None:
    item = Item(prediction, tuple(references))
    assert get_metric("rouge_l").of([item])["score"] == pytest.approx(official, abs=1e-12)
    assert get_metric("rouge_l", "vlmevalkit").of([item])["score"] == pytest.approx(raw, abs=1e-12)


# scores of pycocoevalcap without its tokenizer, as VLMEvalKit calls it
@pytest.mark.parametrize(
    ("prediction", "reference", "score"),
    [("a dog  runs", "a dog  sits", 0.75), ("a dog\nruns", "a dog runs fast", 0.31443298969072164)],
)
def test_vlmevalkit_parts_words_at_single_spaces(
    prediction: str, reference: str, score: float
) -> None:
    values = get_metric("rouge_l", "vlmevalkit").of([Item(prediction, (reference,))])
    assert values["score"] == pytest.approx(score, abs=1e-12)


def test_common_subsequence() -> None:
    assert common_subsequence(["a", "b", "c", "d"], ["b", "x", "d", "a"]) == 2
    assert common_subsequence([], ["a"]) == 0


def test_no_words() -> None:
    assert rouge_l("", ["a dog"]) == rouge_l("...", ["..."]) == rouge_l("a dog", []) == 0.0


def test_explanation() -> None:
    lines = get_metric("rouge_l").explain(Item("a cat", ("A cat sleeps.",)))
    assert lines[0] == "prediction: a cat"
    assert lines[-1] == "best precision 1, best recall 0.6667: 0.7722"
