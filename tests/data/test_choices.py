"""Which choice an answer means, where it is a text, a key, a number or a letter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.data.written import bad_of, lines, put
from vqa.data import read
from vqa.data.check import check
from vqa.data.convert import convert

FLAT: dict[str, Any] = {"image": "a.png", "question": "Which?"}


def first_answers(folder: Path, *rows: dict[str, Any]) -> list[str]:
    return [row.answers[0] for row in read(put(folder, lines(*(FLAT | row for row in rows))))]


def from_table(folder: Path, text: str) -> tuple[list[tuple[str, ...]], list[str]]:
    good, bad = bad_of(put(folder, text))
    return [row.answers for row in good], [row.reason for row in bad]


def test_a_wrong_number_says_nothing_about_the_others(tmp_path: Path) -> None:
    row = 'a.png,How many?,"[1, 2, 3, 4]",'
    table = "image,question,choices,answer\n" + f"{row}2\n" * 3 + f"{row}5\n"
    good, bad = from_table(tmp_path, table)
    assert good == [("2",)] * 3
    assert bad == ["the answer 5 is none of the 4 choices, nor the number of one (from 0)"]


@pytest.mark.parametrize("answer", [2, 2.0, "2"])
def test_texts_of_others_contradict_numbers(tmp_path: Path, answer: object) -> None:
    number = {"choices": ["1", "2", "3"], "answer": answer}
    typing_error = {"choices": ["3", "4"], "answer": 1}
    text = {"choices": ["a cat", "a dog"], "answer": "a dog"}
    assert first_answers(tmp_path, number, text, typing_error) == ["2", "a dog", "4"]
    assert first_answers(tmp_path, number, typing_error) == ["3", "4"]


def test_a_number_written_in_another_way_is_that_choice(tmp_path: Path) -> None:
    choices = ["1,000", "2,000", "3"]
    rows = [{"choices": choices, "answer": answer} for answer in (2000, "2000", 2000.0, 3)]
    assert first_answers(tmp_path, *rows) == ["2,000", "2,000", "2,000", "3"]
    table = "image\tquestion\tA\tB\tC\tanswer\na.png\tHow much?\t2.0\t3.0\t1.0\t2.0\n"
    assert from_table(tmp_path, table) == ([("2.0",)], [])


@pytest.mark.parametrize(
    ("options", "answer", "expected"),
    [
        ({"1": "w", "2": "x", "3": "y", "4": "z"}, "1", "w"),
        ({"1": "w", "2": "x", "3": "y", "4": "z"}, 1, "w"),
        ({"text": ["w", "x", "y", "z"], "label": ["1", "2", "3", "4"]}, "1", "w"),
        ({"text": ["w", "x", "y", "z"], "label": [1, 2, 3, 4]}, 4.0, "z"),
        ({"text": ["x", "w"], "label": ["B", "A"]}, "A", "w"),
        ({"text": ["x", "w"], "label": ["B", "A"]}, "(a)", "w"),
        ({"text": ["x", "w"], "label": ["A"]}, "B", "w"),  # labels of something else
        ({"A": "w", "B": "x", "D": "z"}, "D", "z"),
        ({"A": "w", "B": "x", "D": "z"}, "D.", "z"),
        ({"A": "w", "B": "x", "C": None, "D": "z"}, "D", "z"),  # as tables have it
        ({"A": "w", "B": "x", "D": "z"}, "C", "C"),  # of no choice
        ({"A": "w", "B": "x", "D": "z"}, "x", "x"),
        ({"a": "w", "b": "x"}, "B", "x"),
        ({"first": "w", "second": "x"}, "second", "x"),
        ({"1": "3", "2": "1"}, "1", "3"),
    ],
)
@pytest.mark.parametrize("name", ["options", "choices"])
def test_keys_of_choices(
    tmp_path: Path, name: str, options: dict[str, Any], answer: object, expected: str
) -> None:
    assert first_answers(tmp_path, {name: options, "answer": answer}) == [expected]


def test_keys_in_a_cell(tmp_path: Path) -> None:
    table = "image,question,choices,answer\na.png,Which?,\"{'1': 'w', '2': 'x'}\",1\n"
    assert from_table(tmp_path, table) == ([("w",)], [])


def test_keys_in_parquet(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    rows = [
        FLAT | {"options": {"A": "w", "B": "x", "C": None, "D": "z"}, "answer": "D"},
        FLAT | {"options": {"A": "w", "B": "x", "C": "y", "D": "z"}, "answer": "C"},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "data.parquet")
    got = list(read(tmp_path / "data.parquet"))
    assert [row.answers for row in got] == [("z",), ("y",)]
    assert got[0].extra == {"choices": ["w", "x", "z"]}


def test_a_number_that_is_no_key_is_refused(tmp_path: Path) -> None:
    row = FLAT | {"options": {"1": "w", "2": "x"}, "answer": 0}
    good, bad = bad_of(put(tmp_path, lines(row)))
    assert not good
    assert [row.reason for row in bad] == [
        "the answer 0 is none of the 2 choices, nor a key (1, 2)"
    ]


def test_a_key_that_the_question_lists_stays(tmp_path: Path) -> None:
    row = {"options": {"A": "w", "B": "x"}, "answer": "B", "question": "Which? (A) w (B) x"}
    assert first_answers(tmp_path, row) == ["B"]


def test_texts_of_a_file_that_are_keys_too(tmp_path: Path) -> None:
    options = {"1": "3", "2": "1", "3": "5"}
    rows = [{"options": options, "answer": answer} for answer in ("5", "3", "1")]
    assert first_answers(tmp_path, *rows) == ["5", "3", "1"]
    assert first_answers(tmp_path, *rows[1:]) == ["5", "3"]  # nothing shows that they are texts


def test_numbers_as_texts_are_those_of_choices_as_in_the_rest_of_the_file(tmp_path: Path) -> None:
    counted = {"options": ["3", "5", "1", "2"], "answer": "1"}
    named = {"options": ["cat", "dog"], "answer": "1"}
    assert first_answers(tmp_path, counted, named) == ["5", "dog"]
    assert first_answers(tmp_path, counted) == ["1"]
    text = {"options": ["4", "6"], "answer": "6"}  # is the number of none
    assert first_answers(tmp_path, counted, named, text) == ["1", "dog", "6"]


def test_letters_are_those_of_choices_as_in_the_rest_of_the_file(tmp_path: Path) -> None:
    header = "image\tquestion\tA\tB\tC\tD\tanswer\n"
    letters, words = "a.png\tWhich?\tC\tD\tA\tB\tA\n", "a.png\tWhich?\tcat\tdog\tcow\then\tA\n"
    assert from_table(tmp_path, header + letters + words) == ([("C",), ("cat",)], [])
    assert from_table(tmp_path, header + letters) == ([("A",)], [])
    text = "a.png\tWhich?\tX\tY\tZ\tE\tE\n"  # is the letter of none
    assert from_table(tmp_path, header + letters + words + text)[0] == [("A",), ("cat",), ("E",)]


def test_letters_that_stay_say_nothing_about_the_others(tmp_path: Path) -> None:
    letters = {"choices": ["C", "D", "A", "B"], "answer": "A"}
    listed = {"choices": ["cat", "dog"], "answer": "A", "question": "Which? (A) cat (B) dog"}
    twice = {"choices": ["yes", "yes"], "answer": "B"}
    assert first_answers(tmp_path, letters, listed, twice) == ["A", "A", "B"]


def test_what_was_converted_keeps_its_meaning(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"options": ["3", "5", "1", "2"], "answer": "1"},
        {"options": ["cat", "dog"], "answer": "1"},
        {"options": {"1": "2", "2": "1"}, "answer": "2"},
    ]
    source = put(tmp_path, lines(*(FLAT | row for row in rows)))
    expected = [("5",), ("dog",), ("1",)]
    assert [row.answers for row in read(source)] == expected
    for to in ("jsonl", "csv"):
        convert(source, tmp_path / f"out.{to}", to)
        assert [row.answers for row in read(tmp_path / f"out.{to}")] == expected


@pytest.mark.parametrize("answer", [float("inf"), [float("nan"), "x"], {"a": 1}, True, "9" * 5000])
def test_no_answer_stops_the_reading(tmp_path: Path, answer: object) -> None:
    rows = [FLAT | {"choices": ["w", "x"], "answer": given} for given in (answer, 1)]
    good, _ = bad_of(put(tmp_path, lines(*rows)))
    assert good[-1].answers == ("x",)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([1, 2], ("1", "a dog")),
        (["2"], ("2", "a bird")),
        ([1, 0], None),
        (["a dog", "a cat"], None),
        (["B", "C"], None),
    ],
)
def test_a_notice_says_that_choices_are_counted_from_0(
    tmp_path: Path, answers: list[object], expected: tuple[str, str] | None
) -> None:
    """Where no answer is 0, since then a file may count from 1."""
    rows = [FLAT | {"choices": ["a cat", "a dog", "a bird"], "answer": it} for it in answers]
    noticed: list[Any] = []
    path = put(tmp_path, lines(*rows))
    assert len(list(read(path, notice=noticed.append))) == len(answers)
    assert [(notice.number, notice.text) for notice in noticed] == ([expected] if expected else [])
    if expected:
        assert noticed[0].line_about(path) == (
            f"{path}: answers that are numbers are those of choices counted from 0, first "
            f"{expected[0]} as {expected[1]!r}; where the first choice has number 1, write the "
            "texts of choices as answers"
        )


def test_numbers_that_are_texts_of_choices_have_no_notice(tmp_path: Path) -> None:
    rows = [FLAT | {"choices": ["1", "2", "3"], "answer": "2"}] * 2
    noticed: list[Any] = []
    assert [row.answers for row in read(put(tmp_path, lines(*rows)), notice=noticed.append)] == [
        ("2",)
    ] * 2
    assert not noticed


def test_the_check_reports_numbers_of_choices(tmp_path: Path) -> None:
    path = put(tmp_path, lines(FLAT | {"choices": ["a cat", "a dog"], "answer": 1}))
    report = check(path, tmp_path).to_json()
    assert report["numbers_of_choices"] == [{"file": str(path), "number": "1", "text": "a dog"}]
