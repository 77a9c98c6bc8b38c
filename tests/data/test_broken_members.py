"""A row of JSON that cannot be read hides no other, however the file is laid out."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.data.written import bad_of, put
from vqa.data.check import check
from vqa.data.formats.json_nesting import Nesting

GQA = {"semantic": [{"operation": "select", "dependencies": [], "argument": "cat (1)"}],
       "imageId": "2354786", "question": 'Is it "red", {or} [blue]?', "answer": "red \\ blue",
       "types": {"detailed": "colour"}, "image": "a.png"}  # fmt: skip
LAYOUTS = {"compact": None, "indented": 4, "lines": "", "tabs": "\t"}
BROKEN = {
    "no value": '{"question": , "answer": "x"}',
    "no quotes": '{"question": What?, "answer": [1, "}"]}',
    "half a word": "nul",
    "nothing": "",
    "single quotes": "{'question': 'What', 'answer': 'x'}",
    "a control character": '{"question": "a\x01b", "answer": "x"}',
    "an escape": '{"question": "C:\\users", "answer": "x"}',
    "digits": '{"question": "a", "n": ' + "9" * 5000 + "}",
    "too deep": '{"question": "a", "n": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "a list": "[1, 2]",
    "a text": '"text"',
}


def objects(layout: str, broken: str, by_id: bool = True) -> str:
    """Rows 0 to 5, of which the third is broken."""
    rows = {f"0{n}": GQA | {"image": f"{n}.png"} for n in range(6)}
    rows["02"] = "BROKEN"  # type: ignore[assignment]
    text = json.dumps(rows if by_id else list(rows.values()), indent=LAYOUTS[layout])
    return text.replace('"BROKEN"', broken)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_member_is_one_bad_row(tmp_path: Path, layout: str, what: str) -> None:
    good, bad = bad_of(put(tmp_path, objects(layout, BROKEN[what]), "data.json"))
    assert [row.id for row in good] == ["00", "01", "03", "04", "05"]
    assert [row.line for row in bad] == [3]
    assert "nothing after" not in bad[0].reason and "02" in bad[0].reason


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("what", BROKEN)
def test_so_is_a_broken_element_of_a_list(tmp_path: Path, layout: str, what: str) -> None:
    text = objects(layout, BROKEN[what], by_id=False)
    good, bad = bad_of(put(tmp_path, text, "data.json"))
    names = [Path(row.images[0]).name for row in good]
    assert names == ["0.png", "1.png", "3.png", "4.png", "5.png"] and [r.line for r in bad] == [3]
    good, bad = bad_of(put(tmp_path, f'{{"data": {text}}}', "data.json"))
    assert len(good) == 5 and [row.line for row in bad] == [3]


@pytest.mark.parametrize("layout", ["indented", "tabs"])
@pytest.mark.parametrize("broken", ['{"question": "Wh', '{"question": "What?"]', '{"a": "b}'])
def test_a_row_that_has_no_end_hides_none_that_begins_a_line(
    tmp_path: Path, layout: str, broken: str
) -> None:
    good, bad = bad_of(put(tmp_path, objects(layout, broken), "data.json"))
    assert [row.id for row in good] == ["00", "01", "03", "04", "05"]
    assert [row.line for row in bad] == [3]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_two_values_for_one_key(tmp_path: Path, layout: str) -> None:
    for by_id in (True, False):
        text = objects(layout, json.dumps(GQA) + ' {"question": "b"}', by_id)
        good, bad = bad_of(put(tmp_path, text, "data.json"))
        assert len(good) == 6 and [row.line for row in bad] == [4]


@pytest.mark.parametrize("broken", ['{"question": "Wh', '{"question": "What?", "answer": "x"'])
def test_damage_of_a_file_in_one_line_is_told_by_its_place(tmp_path: Path, broken: str) -> None:
    good, bad = bad_of(put(tmp_path, objects("compact", broken), "data.json"))
    assert [row.id for row in good] == ["00", "01"]
    assert bad[-1].line >= 3 and "nothing after it is read" in bad[-1].reason


@pytest.mark.parametrize("key", ["1", "'02'", "", '"02" "x"', '"\\x"'])
def test_a_broken_key(tmp_path: Path, key: str) -> None:
    text = json.dumps({f"0{n}": GQA for n in range(6)}).replace('"02"', key)
    good, bad = bad_of(put(tmp_path, text, "data.json"))
    assert [row.id for row in good] == ["00", "01", "03", "04", "05"]
    assert [row.line for row in bad] == [3]


def test_the_first_member_may_be_the_broken_one_and_the_last(tmp_path: Path) -> None:
    for number in (0, 5):
        rows: dict[str, object] = {f"0{n}": GQA for n in range(6)}
        rows[f"0{number}"] = "BROKEN"
        text = json.dumps(rows).replace('"BROKEN"', "{'a': 1}")
        good, bad = bad_of(put(tmp_path, text, "data.json"))
        assert len(good) == 5 and [row.line for row in bad] == [number + 1]


def test_bytes_that_are_no_text_in_a_key(tmp_path: Path) -> None:
    text = json.dumps({f"0{n}": GQA for n in range(6)}).encode().replace(b'"02"', b'"\xff"')
    path = tmp_path / "data.json"
    path.write_bytes(text)
    good, bad = bad_of(path)
    assert len(good) == 5 and [row.line for row in bad] == [3] and "UTF-8" in bad[0].reason


def test_a_comma_at_the_end_and_a_second_object(tmp_path: Path) -> None:
    text = json.dumps({f"0{n}": GQA for n in range(3)})
    good, bad = bad_of(put(tmp_path, text[:-1] + ",\n}", "data.json"))
    assert len(good) == 3 and not bad
    for begun in (text, json.dumps([GQA] * 3)):
        good, bad = bad_of(put(tmp_path, f"{begun} {begun}", "data.json"))
        assert len(good) == 3 and "something follows" in bad[0].reason


def test_a_row_that_is_too_large_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vqa.data.formats.json_stream.ROW", 4 << 20)
    large = json.dumps({"question": "x" * (9 << 20), "answer": '\\"{'})
    for by_id in (True, False):
        text = objects("compact", large, by_id)
        good, bad = bad_of(put(tmp_path, text, "data.json"))
        assert len(good) == 5 and [row.line for row in bad] == [3]
        assert "a row of more than" in bad[0].reason


@pytest.mark.parametrize("indent", [None, 1])
def test_thousands_of_broken_rows_take_little_time(tmp_path: Path, indent: int | None) -> None:
    rows = {str(n): GQA if n % 2 == 0 else "BROKEN" for n in range(4_000)}
    for broken in ("{'question': 1}", *(['{"question": "Wh'] if indent else [])):
        text = json.dumps(rows, indent=indent).replace('"BROKEN"', broken)
        path = put(tmp_path, text, "data.json")
        began = time.process_time()
        report = check(path)
        assert time.process_time() - began < 10
        assert report.rows == 2_000


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_the_end_of_a_value_in_pieces(size: int) -> None:
    value = json.dumps([GQA, "\\", '\\"', "ü]{", ["[", {}], "\\\\"], ensure_ascii=False)
    for closer in (",", "]", "}"):
        text = value + closer + value
        nesting, gone = Nesting(), 0
        while (end := nesting.end(text, gone, min(len(text), gone + size))) is None:
            gone += size
        assert end == len(value)
