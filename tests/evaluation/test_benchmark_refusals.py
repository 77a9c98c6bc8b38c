"""Benchmarks that cannot be asked as they should be are refused before any row is."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.evaluation.test_benchmark_rows import EMBEDDED, images, own, put
from vqa.data import read
from vqa.errors import InputError
from vqa.evaluation.benchmark_rows import write_rows
from vqa.evaluation.benchmark_tasks import load_task

WRONG = {
    "prompt: '{question}'\nmetric: exact_match\n": "title",
    "title: a\nprompt: '{question}'\nmetric: exact_mach\n": "did you mean 'exact_match'",
    "title: a\nprompt: '{question}'\nmetric: bleu\nprofile: mine\n": "no profile 'mine'",
    "title: a\nprompt: '{question}'\nmetric: pope\npromt: x\n": "promt",
    "title: a\nprompt: ''\nmetric: pope\n": "prompt",
    "title: a\nprompt: '{qestion}'\nmetric: exact_match\n": "row 1 has no column of its prompt",
    "title: a\nprompt: |\n  {qestion}\n  {question}\nmetric: pope\n": "qestion}, and no row has it",
    "title: a\nprompt: '{question}'\nmetric: exact_match\n ": "needs a local copy",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_task_is_refused_in_one_line(text: str, tmp_path: Path) -> None:
    put(tmp_path / "data.jsonl", json.dumps(
        {"id": 1, "image": "a.png", "question": "What?", "answer": "x"}
    ))  # fmt: skip
    images(tmp_path, "a.png")
    data = None if text.endswith(" ") else tmp_path / "data.jsonl"
    with pytest.raises(InputError) as raised:
        write_rows(load_task(own(tmp_path, text)), tmp_path / "out/rows.jsonl", data)
    assert WRONG[text] in str(raised.value) and "\n" not in str(raised.value)
    assert not (tmp_path / "out/rows.jsonl").exists()


def test_few_rows_may_lack_what_others_have(tmp_path: Path) -> None:
    row = {"image": EMBEDDED, "question": "Which?", "choices": ["fish", "bird"], "answer": 0}
    rows = [row | {"hint": hint} for hint in ("", "", "Look.")]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "data.parquet")
    task = load_task("scienceqa")
    made = write_rows(task, tmp_path / "out/rows.jsonl", tmp_path / "data.parquet", limit=2)
    assert {row.question.split("\n")[0] for row in read(made.path, made.images)} == {"Which?"}


MMBENCH = "index\tquestion\thint\tA\tB\tC\tD\tanswer\tcategory\timage\n"


@pytest.mark.parametrize(
    ("choices", "shown"),
    [
        ("One Two Three None", "A. One|B. Two|C. Three|D. None"),
        ("None NA null nan", "A. None|B. NA|C. null"),
        ("[3] 1.50 True 007", "A. [3]|B. 1.50|C. True|D. 007"),
    ],
)
def test_cells_of_choices_are_texts(choices: str, shown: str, tmp_path: Path) -> None:
    cells = "\t".join(["1", "Which?", "", *choices.split(), "A", "x", "a.png"])
    put(tmp_path / "data.tsv", f"{MMBENCH}{cells}\n")
    images(tmp_path, "a.png")
    task = load_task("mmbench")
    made = write_rows(task, tmp_path / "out/rows.jsonl", tmp_path / "data.tsv", tmp_path)
    (row,) = read(made.path, made.images)
    assert row.question.split("\n")[1:-1] == shown.split("|")  # nor has any row a hint


def test_columns_of_small_letters_are_no_choices(tmp_path: Path) -> None:
    put(tmp_path / "data.csv", "image,question,answer,a,b\na.png,Which?,x,1.5,2\n")
    images(tmp_path, "a.png")
    (row,) = read(tmp_path / "data.csv", tmp_path)
    assert row.extra == {"a": 1.5, "b": 2}


def test_a_row_without_one_of_its_choices_is_refused(tmp_path: Path) -> None:
    cells = "\t".join(["7", "Which?", "", "a", "", "c", "d", "A", "x", "a.png"])
    put(tmp_path / "data.tsv", f"{MMBENCH}{cells}\n")
    images(tmp_path, "a.png")
    with pytest.raises(InputError, match="row 2 has no choices, or one of them is missing"):
        write_rows(
            load_task("mmbench"), tmp_path / "out/rows.jsonl", tmp_path / "data.tsv", tmp_path
        )


def test_pictures_keep_their_places_where_a_hint_quotes_the_question(tmp_path: Path) -> None:
    question = "What is in <image>?"
    row = {"id": 1, "image": "a.png", "question": question, "hint": f"Asked: {question}"}
    put(tmp_path / "data.jsonl", json.dumps(
        row | {"image_places": [11], "choices": ["fish", "bird"], "answer": "fish"}
    ))  # fmt: skip
    images(tmp_path, "a.png")
    task = load_task("scienceqa")
    made = write_rows(task, tmp_path / "out/rows.jsonl", tmp_path / "data.jsonl")
    (row,) = read(made.path, made.images)
    assert row.places == (row.question.rindex("<image>"),)


def test_what_is_no_task(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no task 'popes'; there are ai2d"):
        load_task("popes")
    with pytest.raises(InputError, match="no such file"):
        load_task(str(tmp_path / "none.yaml"))
    with pytest.raises(InputError, match=r"none of coco_pope_random.json, .* is here"):
        write_rows(load_task("pope"), tmp_path / "rows.jsonl", tmp_path)


def test_rows_that_cannot_be_asked_end_it_all_at_once(tmp_path: Path) -> None:
    rows = [{"id": n, "image": "a.png", "question": "What?"} for n in range(3)]
    rows[1]["answer"] = "x"
    put(tmp_path / "data.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))
    images(tmp_path, "a.png")
    name = own(tmp_path, "title: mine\nprompt: '{question}'\nmetric: exact_match\n")
    with pytest.raises(InputError, match=r"jsonl:1: answer is missing.*jsonl:3: answer is"):
        write_rows(load_task(name), tmp_path / "out/rows.jsonl", tmp_path / "data.jsonl")
