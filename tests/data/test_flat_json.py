import json
from pathlib import Path

import pytest

from vqa.data import read
from vqa.data.example import Example
from vqa.data.formats.flat_json import write
from vqa.data.row_reader import BadRow, BadRows
from vqa.errors import InputError


def write_lines(path: Path, *rows: object) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_rows_become_examples(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "data.jsonl",
        {"id": 7, "image": "a.png", "question": "What?", "answer": "cat", "task": "names"},
        "",
        {"id": "7", "image": ["a.png", "b/c.png"], "question": "Same?", "answers": ["no", "nope"]},
        {"images": ["a.png"], "question": "How many?", "answer": 2},
    )
    first, second, third = read(path)
    assert first == Example(7, (tmp_path / "a.png",), "What?", ("cat",), {"task": "names"})
    assert second.id == "7"
    assert second.images == (tmp_path / "a.png", tmp_path / "b/c.png")
    assert second.answers == ("no", "nope")
    assert third.id == 4  # its line
    assert third.answers == ("2",)


def test_another_root(tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    root.mkdir()
    path = write_lines(
        tmp_path / "data.jsonl",
        {"id": 1, "image": str(root / "a.png"), "question": "What?", "answer": "cat"},
    )
    (example,) = read(path, root)
    assert example.images == (root / "a.png",)


def test_written_rows_read_back_equal(tmp_path: Path) -> None:
    examples = [
        Example(1, (tmp_path / "a.png",), "What?", ("cat",), {"task": "names"}),
        Example("b", (tmp_path / "a.png", tmp_path / "b.png"), "Grün?", ("ja", "yes")),
    ]
    write(tmp_path / "data.jsonl", examples)
    assert list(read(tmp_path / "data.jsonl")) == examples


def test_all_bad_rows_are_reported_at_once(tmp_path: Path) -> None:
    good = {"id": 1, "image": "a.png", "question": "What?", "answer": "cat"}
    outside = tmp_path.parent / "x.png"
    path = write_lines(
        tmp_path / "data.jsonl",
        good,
        "{",
        "[1]",
        good | {"id": 2, "question": " "},
        good | {"id": 3, "answer": ""},
        good | {"id": 4, "image": [["a.png"]]},
        good | {"id": 5, "image": "../x.png"},
        good | {"id": 6, "image": str(outside)},
        good | {"question": None},
        good | {"id": True},
        good | {"id": 8, "answers": ["cat"]},
        {"id": 9, "question": "What?", "answer": "cat"},
        good | {"id": 10},
    )
    with pytest.raises(BadRows) as caught:
        list(read(path))
    assert [line for line, _ in caught.value.problems] == [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    reasons = dict(caught.value.problems)
    assert "is outside" in reasons[7] and "is outside" in reasons[8]
    assert "question" in reasons[9]
    assert f"{path}:2: not JSON" in str(caught.value)
    assert "and 1 more bad rows" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_rows_are_told_beside_the_good_ones(tmp_path: Path) -> None:
    good = {"id": 1, "image": "a.png", "question": "What?", "answer": "cat"}
    path = write_lines(
        tmp_path / "data.jsonl",
        good,
        "{",
        good | {"id": "x", "question": ""},
        good | {"id": None},
        {"image": "a.png", "answer": "cat"},
        good,
        good | {"id": "x"},
        good | {"id": "x"},
    )
    with path.open("ab") as file:
        file.write(b"\xff\n")
    bad: list[BadRow] = []
    rows = read(path, bad=bad.append)
    assert next(rows).id == 1 and not bad  # they come as they are read
    # null is no id, as an empty cell of a table
    assert [row.id for row in rows] == [4, "1#2", "x#2", "x#3"]
    assert [(row.line, row.id) for row in bad] == [(2, None), (3, "x"), (5, 5), (9, None)]
    assert bad[0].reason == "not JSON" and "question" in bad[1].reason
    assert "not UTF-8" in bad[3].reason


def test_a_link_may_not_lead_out_of_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.png").write_bytes(b"x")
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    path = write_lines(
        root / "data.jsonl", {"id": 1, "image": "link.png", "question": "What?", "answer": "cat"}
    )
    with pytest.raises(InputError, match="is outside"):
        list(read(path))


def test_what_is_not_needed_may_be_missing(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "data.jsonl", {"id": 1, "question": "What?"})
    (example,) = read(path, need_answers=False, need_images=False)
    assert example == Example(1, (), "What?")
    with pytest.raises(InputError, match="answer is missing"):
        list(read(path, need_images=False))


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.jsonl"):
        list(read(tmp_path / "none.jsonl"))
    (tmp_path / "latin.jsonl").write_bytes('{"question": "Grün?"}\n'.encode("latin-1"))
    with pytest.raises(InputError, match=r"latin\.jsonl:1: not UTF-8"):
        list(read(tmp_path / "latin.jsonl"))
    with pytest.raises(InputError, match="no such directory"):
        list(read(tmp_path / "latin.jsonl", tmp_path / "nowhere"))
