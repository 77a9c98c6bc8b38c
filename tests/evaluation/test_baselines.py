from __future__ import annotations

import numpy as np

from vqa.data.example import Example
from vqa.evaluation.baselines import commonest_answer, question_only
from vqa.evaluation.statistics import picture_clusters


def row(image: str, question: str, *answers: str) -> Example:
    return Example(0, (image,), question, answers)


def of(*rows: Example) -> list[str]:
    return question_only(rows, picture_clusters(rows))


def test_commonest_answer_counts_rows() -> None:
    answers = [("dog",), ("cat", "cat", "cat"), ("dog", "cat"), ("dog",)]
    assert commonest_answer(answers) == "dog"
    assert commonest_answer([("b",), ("a",)]) == "b"
    assert commonest_answer([]) == ""


def test_spellings_are_one_answer_and_the_usual_one_is_given() -> None:
    assert commonest_answer([("a",), ("Yes.",), ("yes",), ("yes",), ("a",)]) == "yes"


def test_what_one_of_ten_raters_said_is_no_full_vote() -> None:
    ten = ("red",) * 9 + ("blue",)
    assert commonest_answer([("blue", "red"), ("blue",), ten, ten, ten]) == "red"
    # blue 1/9 + 1/9 + 1; red 1 + 1
    assert commonest_answer([ten, ten, ("blue",)]) == "red"


def test_the_question_alone_by_hand() -> None:
    answers = of(
        row("1", "What animal?", "cat"),  # others with the question: dog, dog, cat
        row("2", "what  animal", "dog"),  # cat, dog, cat: a cat
        row("3", "What animal?", "dog"),
        row("4", "What animal?", "cat"),
        row("5", "What colour?", "red"),  # nobody else: the commonest of the other pictures
    )
    assert answers == ["dog", "cat", "cat", "dog", "cat"]


def test_rows_of_the_same_picture_say_nothing() -> None:
    answers = of(
        row("1", "Is it day?", "yes"),
        row("1", "Is it day?", "yes"),
        row("1", "Is it day?", "yes"),
        row("2", "Is it day?", "no"),
    )
    assert answers == ["no", "no", "no", "yes"]
    assert of(row("1", "One?", "a"), row("1", "Two?", "b")) == ["", ""]


def test_it_equals_counting_anew_for_each_row() -> None:
    random = np.random.default_rng(0)
    rows = [
        row(str(random.integers(30)), f"q{random.integers(4)}?", f"a{random.integers(6)}")
        for _ in range(200)
    ]
    for one, answer in zip(rows, of(*rows), strict=True):
        others = [r.answers[0] for r in rows if r.images != one.images]
        same = [r.answers[0] for r in rows if r.images != one.images and r.question == one.question]
        assert (same or others).count(answer) == max(map((same or others).count, same or others))
