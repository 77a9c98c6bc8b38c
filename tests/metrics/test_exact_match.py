import time

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
        ("5", [".5"], 0),
        ("$.50", ["50"], 0),
        ("-.5", [".5"], 0),
        ("...5", ["5"], 1),
        ("no.5", ["no 5.", "no5"], 1),
        ("-$5", ["$5"], 0),
        ("(-5, 3)", ["(5, 3)"], 0),
        ("12", ["1/2"], 0),
        ("34", ["3/4"], 0),
        ("and/or", ["andor"], 1),
        ("1030", ["10:30"], 0),
        ("10：30", ["10:30"], 1),
        ("62", ["6'2"], 0),
        ("6’2”", ["6'2\""], 1),
        ("23", ["2^3"], 0),
        ("11", ["1+1"], 0),
        ("5~7", ["57"], 0),
        ("5~7", ["5~7."], 1),
        ("time: 10:30", ["Time 10:30."], 1),
        ("57", ["5-7"], 0),
        ("5–7", ["5-7"], 1),  # an en dash
        ("−5", ["-5"], 1),  # the sign of mathematics
        ("covid-19", ["covid19"], 1),
        ("1,000", ["1000"], 1),
        ("$12,345,678.90", ["12345678.90"], 1),
        ("25", ["2,5"], 0),
        ("2,5", ["2,5."], 1),
        ("1234,567", ["1234567"], 0),
        ("1,0000", ["10000"], 0),
        ("1,2,300", ["12300", "1,2300"], 0),
        ("0.5,100", ["0.5100"], 0),
        ("B+", ["B-"], 0),
        ("B", ["B+", "B-"], 0),
        ("A-", ["A", "-", "A+"], 0),
        ("the grade A-.", ["grade a-"], 1),
        ("AB+", ["AB-", "AB"], 0),
        ("- a dog", ["dog"], 1),
        ("X-ray", ["xray"], 1),
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
    texts = (
        " The T-shirt. ", "a", "-2.5 m", "tape_dispenser, an apple", "A-, B+", "1,000,00", "x*.5",
        "(-$.5)", "1,000,000", "10：30–11", "C++",
    )  # fmt: skip
    for text in texts:
        assert normalize(normalize(text)) == normalize(text)


@pytest.mark.parametrize(
    ("prediction", "answer", "lmms", "vlmevalkit"),
    [("The cat", "cat", 0, 0), ("Cat.", "cat", 1, 0), (" CAT", "cat", 0, 1), ("", "", 0, 0)],
)
def test_profiles(prediction: str, answer: str, lmms: int, vlmevalkit: int) -> None:
    item = [Item(prediction, (answer,))]
    assert get_metric("exact_match", "lmms-eval").of(item)["score"] == lmms
    assert get_metric("exact_match", "vlmevalkit").of(item)["score"] == vlmevalkit


def test_the_time_grows_with_the_length_alone() -> None:
    for text in ("!" * 200_000, "1," * 200_000, "-" * 200_000, "1,000" * 100_000, "a+" * 100_000):
        began = time.process_time()
        normalize(text)
        assert time.process_time() - began < 5


def test_explanation() -> None:
    lines = get_metric("exact_match").explain(Item("A cat.", ("cat", "kitten")))
    assert lines[0] == "prediction 'A cat.' is compared as 'cat'"
    assert lines[-1] == "it is one of them: 1"
