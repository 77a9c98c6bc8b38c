"""Rows with one id: distinguished alike by every reading, whatever else is wrong with them."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.data.written import lines, put
from vqa.data import read
from vqa.data.check import check
from vqa.data.convert import convert
from vqa.data.row_reader import BadRow
from vqa.data.split import split
from vqa.data.unique_ids import RepeatedIds
from vqa.evaluation.question_rows import read_questions


def flat(key: object, **more: Any) -> dict[str, Any]:
    return {"id": key, "image": "a.png", "question": "What?", "answer": "cat"} | more


def llava(key: object, image: str = "a.png", answer: str = "cat") -> dict[str, Any]:
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": answer}]
    return {"id": key, "image": image, "conversations": turns}


def ids_of(path: Path, **wanted: Any) -> tuple[list[str | int], list[RepeatedIds]]:
    """The ids in the order of the file, and the notices about them."""
    repeated: list[RepeatedIds] = []
    bad: list[BadRow] = []
    examples = read(path, bad=bad.append, notice=repeated.append, **wanted)
    lines_of = {example.line: example.id for example in examples}
    lines_of |= {row.line: row.id for row in bad if row.id is not None}
    return [lines_of[line] for line in sorted(lines_of)], repeated


@pytest.mark.parametrize(
    ("own", "unique"),
    [
        ([1, 1, 2, 1], [1, "1#2", 2, "1#3"]),
        # a row keeps its own id wherever it stands
        (["1", "1", "1#2"], ["1", "1#3", "1#2"]),
        (["1#2", "1", "1"], ["1#2", "1", "1#3"]),
        (["1", "1#2", "1#2", "1"], ["1", "1#2", "1#2#2", "1#3"]),
        # 7 and "7" are two ids
        ([7, "7"], [7, "7"]),
        ([7, "7", 7, "7"], [7, "7", "7#2", "7#3"]),
        ([7, 7, "7#2", "7", "7"], [7, "7#3", "7#2", "7", "7#4"]),
        (["", ""], ["", "#2"]),
        (["\ud800", "\ud800"], ["\ud800", "\ud800#2"]),
    ],
)
def test_the_second_row_of_an_id_gets_another(
    tmp_path: Path, own: list[object], unique: list[object]
) -> None:
    path = put(tmp_path, lines(*map(flat, own)), "d.jsonl")
    assert ids_of(path)[0] == unique
    assert [example.id for example in read(path)] == unique


def test_ids_do_not_depend_on_what_is_wrong_with_rows(tmp_path: Path) -> None:
    """Rows that are bad for one command and good for another: both call all rows alike."""
    rows = [
        flat("a", answer=""),
        flat("a"),
        flat("a", question=""),
        flat("a", image="../out.png"),
        {"id": "a"},
        flat("a"),
    ]
    path = put(tmp_path, lines(*rows[:3]) + "no JSON\n" + lines(*rows[3:]), "d.jsonl")
    all_of = ["a", "a#2", "a#3", "a#4", "a#5", "a#6"]
    notice = RepeatedIds(5, 2, "a", "a#2")
    for wanted in ({}, {"need_answers": False}, {"need_images": False}):
        assert ids_of(path, **wanted) == (all_of, [notice])
    asked = read_questions(path)
    assert asked.ids == all_of
    assert [example.id for example in asked.examples] == ["a", "a#2", "a#6"]
    assert list(asked.failed) == ["a#3", "a#4", "a#5"] and asked.without_id == 1


@given(st.lists(st.sampled_from([1, 2, "1", "2", "1#2", "1#3", "1#2#2", "2#2"]), max_size=12))
@settings(max_examples=150, deadline=None)
def test_ids_are_unique_and_own_ids_stay(
    tmp_path_factory: pytest.TempPathFactory, own: list[str | int]
) -> None:
    path = put(tmp_path_factory.getbasetemp(), lines(*map(flat, own)), "drawn.jsonl")
    if not own:
        return
    ids, repeated = ids_of(path)
    keys = [(type(key), key) for key in ids]
    assert len(set(keys)) == len(own)
    firsts = {(type(key), key) for key in own}
    assert firsts <= set(keys)
    for place, key in enumerate(own):
        first = all((type(key), key) != (type(other), other) for other in own[:place])
        assert (ids[place] == key and type(ids[place]) is type(key)) == first
        assert str(ids[place]).startswith(str(key))
    again = len(own) - len(firsts)
    assert [ids.rows for ids in repeated] == [again] * bool(again)


def test_tables_and_parquet(tmp_path: Path) -> None:
    table = "id,image,question,answer\n7,a.png,What?,cat\n7,a.png,Who?,dog\n"
    assert ids_of(put(tmp_path, table, "d.csv"))[0] == [7, "7#2"]
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.Table.from_pylist([flat(7), flat(7)]), tmp_path / "d.parquet")
    assert ids_of(tmp_path / "d.parquet")[0] == [7, "7#2"]


@pytest.mark.parametrize("name", ["out.jsonl", "out.json", "out.csv", "out.parquet"])
def test_convert_and_split_take_them(tmp_path: Path, name: str) -> None:
    """What is written has unique ids, and is read as the source is."""
    for n, color in enumerate(("red", "green", "blue")):
        Image.new("RGB", (8, 8 + n), color).save(tmp_path / f"{color}.png")
    rows = [llava(7, f"{color}.png") for color in ("red", "green", "blue")]
    rows += [llava(8, "red.png")]
    path = put(tmp_path, rows, "d.json")
    assert ids_of(path)[0] == [7, "7#2", "7#3", 8]
    repeated: list[RepeatedIds] = []
    made = convert(path, tmp_path / name, to_of(name), notice=repeated.append)
    assert made.written and made.rows == 4 and not made.bad
    assert repeated == [RepeatedIds(2, 2, 7, "7#2")]
    again, notices = ids_of(tmp_path / name)
    as_texts = name == "out.parquet"  # where a column has one type
    assert made.ids_as_texts == as_texts and not notices
    assert again == (["7", "7#2", "7#3", "8"] if as_texts else [7, "7#2", "7#3", 8])
    made_split = split(path, tmp_path / "split", 0.4)
    assert made_split.train[0] + made_split.test[0] == 4
    parts = [ids_of(tmp_path / "split" / f"{side}.jsonl", images_root=tmp_path)[0]
             for side in ("train", "test")]  # fmt: skip
    assert sorted(map(str, chain(*parts))) == ["7", "7#2", "7#3", "8"]


def to_of(name: str) -> Any:
    from vqa.data.convert import format_of_name

    return format_of_name(Path(name))


def test_check_counts_them_in_a_line(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    report = check(put(tmp_path, [llava(1), llava(1), llava(2), llava(1)], "d.json"))
    assert not report.problems and not report.refused
    assert report.to_json()["repeated_ids"] == [
        {"file": str(tmp_path / "d.json"), "rows": 2, "line": 2, "id": 1, "unique": "1#2"}
    ]


def test_what_official_files_join_by_id_must_be_unique(tmp_path: Path) -> None:
    """The answers of a question that comes twice cannot be assigned."""
    asked = [{"question_id": n, "image_id": 1, "question": f"Is it {n}?"} for n in (1, 2, 2, 3, 4)]
    annotations = [{"question_id": n, "image_id": 1, "answers": [{"answer": f"{n}"}]}
            for n in (1, 2, 3, 4, 4)]  # fmt: skip
    questions = put(tmp_path, {"questions": asked}, "questions.json")
    assert ids_of(questions, need_answers=False)[0] == [1, 2, "2#2", 3, 4]
    put(tmp_path, {"annotations": annotations}, "annotations.json")
    bad: list[BadRow] = []
    good = [example.id for example in read(questions, bad=bad.append)]
    assert good == [1, 3]
    assert [row.line for row in bad] == [2, 3, 5]
    assert "question_id 2 comes 2 times" in bad[0].reason
    assert "question_id 4" in bad[2].reason and "annotations" in bad[2].reason
    # without answers nothing is joined
    asked_for = read(questions, need_answers=False, bad=bad.append)
    assert [example.id for example in asked_for] == [1, 2, "2#2", 3, 4]


def test_captions_of_pictures_with_one_id(tmp_path: Path) -> None:
    images = [{"id": n, "file_name": f"{name}.png"} for n, name in ((1, "a"), (2, "b"), (2, "c"))]
    captions = [{"image_id": n, "caption": f"A {n}."} for n in (1, 2, 2)]
    path = put(tmp_path, {"images": images, "annotations": captions}, "captions.json")
    bad: list[BadRow] = []
    assert [example.id for example in read(path, bad=bad.append)] == [1]
    assert [row.line for row in bad] == [2, 3] and "id 2 comes 2 times" in bad[0].reason


def test_a_file_is_not_read_again_without_need(tmp_path: Path) -> None:
    """Only ids that come again cost a second reading."""
    path = put(tmp_path, lines(flat(1), flat(2)), "d.jsonl")
    rows = read(path, bad=lambda _: None)
    next(rows)
    path.write_text(json.dumps(flat("x")) * 3)  # would be read by another look at the file
    list(rows)
