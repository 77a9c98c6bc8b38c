"""Rows and tables as programs and people leave them, and not as a format says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.written import FLAT, bad_of, lines, put
from vqa.data import read
from vqa.errors import InputError


def test_empty_lines_before_a_table(tmp_path: Path) -> None:
    path = put(tmp_path, "\n" * 30 + "image,question,answer\na.png,What?,cat\n")
    assert [(row.question, row.answers) for row in read(path)] == [("What?", ("cat",))]


def test_a_damaged_first_line_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.txt:1: not CSV"):
        bad_of(put(tmp_path, 'image,"caption\na.png,A dog.\n'))
    (row,) = read(put(tmp_path, "image,caption\x1c\na.png,A dog.\n"))  # strip() takes it away
    assert row.answers == ("A dog.",)


@pytest.mark.parametrize("odd", [{}, [], 1.5, None])
def test_values_of_other_kinds_are_bad_rows(tmp_path: Path, odd: object) -> None:
    messages = [{"role": odd, "content": "What?"}, {"role": "assistant", "content": "cat"}]
    good, bad = bad_of(put(tmp_path, lines({"image": "a.png", "messages": messages})))
    assert not good and "is none of system, user, assistant" in bad[0].reason
    parts = [{"type": odd, "text": "What?"}]
    asked = [{"role": "user", "content": parts}, {"role": "assistant", "content": "cat"}]
    good, bad = bad_of(put(tmp_path, lines({"messages": asked})))
    assert not good and "neither a text nor an image_url" in bad[0].reason
    images = [{"id": odd, "file_name": "a.jpg"}]
    captions = [{"image_id": 5, "caption": "A cat."}]
    good, bad = bad_of(put(tmp_path, {"images": images, "annotations": captions}))
    assert not good and "id is neither" in bad[0].reason


def test_numbers_that_a_program_made_of_whole_ones(tmp_path: Path) -> None:
    path = put(
        tmp_path,
        lines(FLAT | {"answer": 2.0}, FLAT | {"id": 2, "answer": None, "answers": [0.5, 1e20]}),
    )
    assert [row.answers for row in read(path)] == [("2",), ("0.5", "100000000000000000000")]
    path.write_text('{"id": 1, "image": "a.png", "question": "How many?", "answer": NaN}\n')
    good, bad = bad_of(path)
    assert not good and "answer is missing" in bad[0].reason
    (row,) = read(path, need_answers=False)
    assert row.answers == ()


def test_an_empty_answer_is_none(tmp_path: Path) -> None:
    path = put(tmp_path, lines(FLAT | {"answer": " "}))
    good, bad = bad_of(path)
    assert not good and "answer is missing or empty" in bad[0].reason
    (row,) = read(path, need_answers=False)
    assert row.answers == ()


def test_choices_may_be_numbers(tmp_path: Path) -> None:
    (row,) = read(put(tmp_path, lines(FLAT | {"choices": [1, 2.0, "three", 0.5]})))
    assert row.extra["choices"] == ["1", "2", "three", "0.5"]


@pytest.mark.parametrize("name", ["a" * 300, "a" * 900, "a\0b"])
def test_a_name_that_no_file_can_have_is_no_traceback(tmp_path: Path, name: str) -> None:
    """The system raises for it, where a file is only not there."""
    row = {"question_id": 7, "image_id": 1, "question": "What?"}
    path = put(tmp_path, {"data_subtype": name, "questions": [row]})
    good, bad = bad_of(path, need_answers=False)
    assert len(good) + len(bad) == 1
    asked = {"question": "What?", "answer": "cat"}
    for odd in (asked | {"image_id": name}, FLAT | {"image": name}, FLAT | {"split": name}):
        good, bad = bad_of(put(tmp_path, lines(odd)))
        assert len(good) + len(bad) == 1
    good, bad = bad_of(put(tmp_path, {"x": FLAT | {"image": name}, "y": FLAT | {"split": name}}))
    assert len(good) + len(bad) == 2


@pytest.mark.parametrize("odd", [{"question": None}, "text", 7, True, [], [[]], None])
def test_members_that_are_no_lists_are_no_traceback(tmp_path: Path, odd: object) -> None:
    for member in ("annotations", "questions", "images", "data"):
        for more in ({}, FLAT):
            try:
                good, bad = bad_of(put(tmp_path, {member: odd, **more}), need_answers=False)
            except InputError:
                continue
            assert good or bad
