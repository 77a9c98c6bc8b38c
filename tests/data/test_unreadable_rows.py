"""A row that cannot be read is reported by its number, and hides no other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.data.written import bad_of, put

HEADER = b"image,question,answer\n"


def row(number: int) -> dict[str, object]:
    return {"id": number, "image": "a.png", "question": f"What is {number}?", "answer": "cat"}


def line(number: int) -> bytes:
    return json.dumps(row(number)).encode()


def read_bytes(folder: Path, content: bytes, name: str) -> tuple[list[object], list[int], str]:
    """Ids of the rows that are read, and lines of the others with their reasons."""
    path = put(folder, "", name)
    path.write_bytes(content)
    good, bad = bad_of(path)
    return [one.id for one in good], [one.line for one in bad], "; ".join(b.reason for b in bad)


@pytest.mark.parametrize("blank", [b"\n", b"\r\n", b"   \n\t\n\n", b"\xef\xbb\xbf\n", b"\n" * 50])
def test_empty_lines_before_json_lines(tmp_path: Path, blank: bytes) -> None:
    content = blank + line(1) + b"\n\n \r\n" + line(2) + b"\n\n"
    assert read_bytes(tmp_path, content, "data.jsonl") == ([1, 2], [], "")
    assert read_bytes(tmp_path, content, "data")[0] == [1, 2]


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (b'{"id": 2, "image": "a.png"', "not JSON"),
        (b'{"id": 2, "question": "W\xe4s?"}', "not UTF-8"),
        (b'{"id": 2, "question": "W\0s?"}', "not JSON"),
        (b"\0" * 100, "not JSON"),
        (b"[" * 100_000, "too deep"),
        (b'{"id": ' + b'{"a":' * 5000, "too deep"),
        (b"null", "not a JSON object"),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_broken_line_of_json(tmp_path: Path, broken: bytes, reason: str, place: int) -> None:
    rows = [line(1), line(3)]
    rows.insert(place, broken)
    ids, bad, reasons = read_bytes(tmp_path, b"\n".join(rows), "data.jsonl")
    assert (ids, bad) == ([1, 3], [place + 1]) and reason in reasons


def test_marks_that_joining_files_leaves_between_lines(tmp_path: Path) -> None:
    content = line(1) + b"\n\xef\xbb\xbf" + line(2) + b",\n" + line(3) + b" , \n"
    assert read_bytes(tmp_path, content, "data.jsonl") == ([1, 2, 3], [], "")


def test_a_lone_surrogate_hides_no_other_line(tmp_path: Path) -> None:
    odd = line(2).replace(b"What", b"\\ud83d")
    ids, bad, _ = read_bytes(tmp_path, b"\n".join([line(1), odd, line(3)]), "data.jsonl")
    assert ids == [1, 2, 3] and not bad


@pytest.mark.parametrize("start", ["[\n", "[\n    ", "["])
@pytest.mark.parametrize("broken", [b'"image": nothing', b'"image" "a.png"', b'"image": "a.png'])
def test_a_broken_element_of_a_list(tmp_path: Path, start: str, broken: bytes) -> None:
    between = f",\n{start[2:]}".encode()
    rows = [line(number) for number in range(1, 6)]
    rows[2] = rows[2].replace(b'"image": "a.png"', broken)
    content = start.encode() + between.join(rows) + b"\n]\n"
    ids, bad, reason = read_bytes(tmp_path, content, "data.json")
    assert ids == [1, 2, 4, 5] and bad == [3] and "not JSON" in reason


def test_a_broken_conversation_among_indented_ones(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "a cat"}]
    rows = [{"id": n, "image": "a.png", "conversations": turns} for n in range(1, 5)]
    content = json.dumps(rows, indent=2).replace('"id": 2,', '"id": 2')
    assert read_bytes(tmp_path, content.encode(), "data.json")[:2] == ([1, 3, 4], [2])


def test_a_list_whose_row_is_not_utf8(tmp_path: Path) -> None:
    rows = [line(number) for number in range(1, 4)]
    rows[1] = rows[1].replace(b"What", b"W\xe4s")
    for between in (b",", b",\n"):
        ids, bad, reason = read_bytes(tmp_path, b"[" + between.join(rows) + b"]", "data.json")
        assert (ids, bad) == ([1, 3], [2]) and "UTF-8" in reason


def test_a_list_with_a_comma_at_its_end(tmp_path: Path) -> None:
    content = b"[" + line(1) + b", " + line(2) + b",\n]"
    assert read_bytes(tmp_path, content, "data.json") == ([1, 2], [], "")


def test_a_list_that_ends_too_early_says_so(tmp_path: Path) -> None:
    ids, bad, reason = read_bytes(tmp_path, b"[\n" + line(1) + b",\n" + line(2)[:-5], "data.json")
    assert (ids, bad) == ([1], [2]) and "nothing after" in reason


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("a.png,Größe?,cat".encode("latin1"), "not UTF-8"),
        (b"a.png,Wh\0t?,cat", "NUL"),
        (b"a.png,What?", "2 cells"),
        (b'a.png,"What?,cat', "quote"),
        (b'a.png,"What"s?,cat', "quote"),
        (b"a.png," + b"x" * 1_000_001 + b",cat", "1,000,001 characters"),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_broken_row_of_a_table(tmp_path: Path, broken: bytes, reason: str, place: int) -> None:
    rows = [b"a.png,What?,cat", b'a.png,"Two\nlines?",dog']
    rows.insert(place, broken)
    path = put(tmp_path, "", "data.csv")
    path.write_bytes(HEADER + b"\n".join(rows) + b"\n")
    good, bad = bad_of(path)
    assert [one.answers for one in good] == [("cat",), ("dog",)]
    assert [one.line for one in bad] == [2 + place + (place == 2)]
    assert reason in bad[0].reason


def test_empty_and_joined_rows_of_a_table(tmp_path: Path) -> None:
    content = (
        b"\n" + HEADER + b"\na.png,What?,cat,\n   \n\xef\xbb\xbfb.png,What?,dog\r\n"
        b'\xef\xbb\xbf"c.png","What?",cow\n\n'
    )
    path = put(tmp_path, "", "data.csv")
    path.write_bytes(content)
    good, bad = bad_of(path)
    assert not bad and [str(*one.images)[-5:] for one in good] == ["a.png", "b.png", "c.png"]


def test_open_quotes_all_over_a_table_take_little_time(tmp_path: Path) -> None:
    path = put(tmp_path, "image,question,answer\n" + 'a.png,"What?,cat\na.png,Which?,dog\n' * 3000)
    good, bad = bad_of(path)
    assert len(good) == 3000 and len(bad) == 3000
