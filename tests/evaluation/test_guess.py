from __future__ import annotations

import pytest

from vqa.data.example import Example
from vqa.evaluation.guess import guessed_metric
from vqa.metrics import METRICS


def rows(*answers: tuple[str, ...], **extra: object) -> list[Example]:
    return [Example(n, ("a.png",), "What?", said, dict(extra)) for n, said in enumerate(answers)]


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ([], "exact_match"),
        (rows(("yes",), ("a cat",)), "exact_match"),
        (rows(("yes",) * 10, ("no",) * 10, ("red",)), "vqa_accuracy"),
        (rows(("A dog runs over green grass.",)), "rouge_l"),
        (rows(("A dog runs over green grass.",) * 5), "cider_d"),
        (rows(("B",), ("a cat",), choices=["a dog", "a cat"]), "multiple_choice"),
        (rows((), ("red",)), "exact_match"),
    ],
)
def test_the_metric_follows_from_the_answers(data: list[Example], name: str) -> None:
    assert guessed_metric(data) == name
    assert name in METRICS
