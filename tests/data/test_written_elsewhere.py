"""Values as other programs write them, whose other reading would train or score something wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vqa.data import read
from vqa.data.formats.arrow_rows import _size
from vqa.data.literals import literal


def answers(tmp_path: Path, rows: list[dict[str, Any]]) -> list[list[str]]:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"image": "a.png", **row}) + "\n" for row in rows))
    return [list(example.answers) for example in read(file, tmp_path, need_images=False)]


def test_scalars_of_numpy_in_a_list() -> None:
    assert literal("[np.str_('red'), np.str_('dark blue')]") == ["red", "dark blue"]
    assert literal("{'x': np.float64(1.5), 'y': [numpy.int64(2)]}") == {"x": 1.5, "y": [2]}
    assert literal("[np.str_('red']") is None


def test_the_number_of_a_choice_as_a_text(tmp_path: Path) -> None:
    row = {"question": "Which?", "options": ["cat", "dog"]}
    assert answers(tmp_path, [{**row, "answer": "1"}]) == [["dog"]]
    years = {"question": "Which?", "options": ["1", "2"], "answer": "1"}
    assert answers(tmp_path, [years]) == [["1"]]


@pytest.mark.parametrize(
    "listed",
    [
        "A、猫\nB、狗",
        "A．猫 B．狗",
        "（A）猫 （B）狗",
        "[A] cat [B] dog",
        "**A.** cat **B.** dog",
        "A - cat\nB - dog",
    ],
)
def test_a_letter_that_the_question_lists_stays(tmp_path: Path, listed: str) -> None:
    row = {"question": f"这是什么？\n{listed}\nX", "choices": ["猫", "狗"], "answer": "A"}
    assert answers(tmp_path, [row]) == [["A"]]


def test_choices_by_number_are_in_the_order_of_numbers(tmp_path: Path) -> None:
    options = {str(n): f"opt{n}" for n in range(12)}
    row = {"question": "Which?", "options": options, "answer": 2}
    assert answers(tmp_path, [row]) == [["opt2"]]


def test_an_answer_that_nobody_gave_is_left_out(tmp_path: Path) -> None:
    questions = {"questions": [{"question_id": 1, "image_id": 5, "question": "What?"}]}
    given = [{"answer": None}, {"answer": None}, {"answer": "x"}, {"answer": 2.0}]
    row = {"question_id": 1, "answers": given, "multiple_choice_answer": "x"}
    (tmp_path / "v2_questions.json").write_text(json.dumps(questions))
    (tmp_path / "v2_annotations.json").write_text(json.dumps({"annotations": [row]}))
    (example,) = read(tmp_path / "v2_questions.json", tmp_path, need_images=False)
    assert example.answers == ("x", "2")


def test_a_map_in_parquet_is_no_damage(tmp_path: Path) -> None:
    table = pa.table(
        {
            "image": ["a.png", "b.png"],
            "question": ["What?"] * 2,
            "answer": ["cat", "dog"],
            "meta": pa.array([[("k", "v")], []], pa.map_(pa.string(), pa.string())),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    rows = list(read(tmp_path / "t.parquet", tmp_path, need_images=False))
    assert [row.answers for row in rows] == [("cat",), ("dog",)]


def test_a_part_of_a_map_is_as_large_as_its_own_entries() -> None:
    maps = pa.array([[("k", "v" * 1000)], [("l", "w")], []], pa.map_(pa.string(), pa.string()))
    assert _size(maps.slice(1, 1))[0] < 100 < 1000 < _size(maps)[0]
