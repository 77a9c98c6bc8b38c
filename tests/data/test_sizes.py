"""Rows, lines and texts have a limit, which is checked before they are built."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.data.written import FLAT, bad_of, put
from vqa.data import row_limits
from vqa.data.check import check
from vqa.data.reading import read
from vqa.errors import InputError

ROW = 1 << 22  # bytes; what holds at 4 MiB holds at 64, too


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("table", "json_stream"):
        monkeypatch.setattr(f"vqa.data.formats.{module}.ROW", ROW)
    monkeypatch.setattr("vqa.data.row_limits.ROW", ROW)
    monkeypatch.setattr("vqa.data.formats.probe._LINES_AT_MOST", ROW)


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """Fail where the block has more than `size` bytes of Python's at once."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < size
    finally:
        tracemalloc.stop()


def sparse(path: Path, start: bytes, size: int, end: bytes = b"") -> Path:
    with path.open("wb") as file:
        file.write(start)
        file.seek(size)
        file.write(end)
        file.truncate(size + len(end))
    return path


GOOD = (json.dumps(FLAT) + "\n").encode()


def test_a_line_without_end_hides_no_other(tmp_path: Path) -> None:
    path = sparse(tmp_path / "data.jsonl", GOOD + b'{"id": "', 30 << 20, b'"}\n' + GOOD)
    with at_most(16 * ROW):
        good, bad = bad_of(path)
    assert [one.line for one in good] == [1, 3] and [one.line for one in bad] == [2]
    assert "a row of more than" in bad[0].reason


def test_a_line_that_goes_on_for_ever_ends_the_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vqa.data.row_limits.SKIPPED", 20 << 20)
    path = sparse(tmp_path / "data.jsonl", GOOD, 5 << 30, b"\n" + GOOD)
    with at_most(16 * ROW):
        good, bad = bad_of(path)
    assert len(good) == 1 and "nothing after it is read" in bad[0].reason
    path = sparse(tmp_path / "data.csv", b"image,question,answer\na.png,What?,cat\n", 5 << 30)
    with at_most(16 * ROW):
        good, bad = bad_of(path)
    assert len(good) == 1 and "nothing after it is read" in bad[0].reason


@pytest.mark.parametrize("name", ["data.jsonl", "data.json"])
@pytest.mark.parametrize("filling", ["[],", '"ab",', '{"a":1},'])
def test_a_row_of_millions_of_values(
    tmp_path: Path, name: str, filling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_limits, "VALUES", 100_000)
    many = filling * (2_500_000 // len(filling))
    rows = [json.dumps(FLAT), f'{{"id": 2, "x": [{many} 1]}}', json.dumps(FLAT | {"id": 3})]
    text = "[\n" + ",\n".join(rows) + "\n]" if name.endswith("json") else "\n".join(rows)
    path = put(tmp_path, text, name)
    with at_most(100 << 20):
        good, bad = bad_of(path)
    assert [one.id for one in good] == [1, 3] and "values" in bad[0].reason


def test_an_element_without_end(tmp_path: Path) -> None:
    text = f'[\n{json.dumps(FLAT)},\n{{"id": "{"x" * (10 << 20)}",\n{json.dumps(FLAT)}\n]'
    good, bad = bad_of(put(tmp_path, text, "data.json"))
    assert len(good) == 2 and len(bad) == 1 and "a row of more than" in bad[0].reason


def test_a_quoted_cell_without_end_is_told_with_what_it_hides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vqa.data.formats.table._REREAD", 1000)
    # quotes that open and close for ever: no cell is long, but the row is
    text = 'image,question,answer\n"' + '\n","' * 300_000 + "\na.png,What?,cat\n"
    path = put(tmp_path, text, "data.csv")
    good, bad = bad_of(path)
    assert len(good) <= 1 and "100,000 cells" in bad[0].reason
    assert any("lines after it are lost" in one.reason for one in bad)


def test_a_table_row_of_millions_of_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "image,question,answer\n" + "ab," * 1_000_000 + "\na.png,What?,cat\n"
    path = put(tmp_path, text, "data.csv")
    with at_most(100 << 20):
        good, bad = bad_of(path)
    assert len(good) == 1 and [one.line for one in bad] == [2] and "100,000 cells" in bad[0].reason


@pytest.mark.parametrize("column", ["question", "answer", "system", "other", "id"])
def test_a_text_that_is_no_question(
    tmp_path: Path, column: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path, json.dumps(FLAT | {column: "x" * 1_100_000}) + "\n" + json.dumps(FLAT))
    good, bad = bad_of(path)
    assert len(good) == 1 and "1,100,000 characters" in bad[0].reason
    assert len(bad[0].reason) < 600


def test_reasons_do_not_repeat_long_cells(tmp_path: Path) -> None:
    path = put(tmp_path, json.dumps(FLAT | {"image": "/" + "x" * 1_000_000}) + "\n")
    _, (bad,) = bad_of(path)
    assert len(bad.reason) < 600 and "is outside" in bad.reason


def test_a_file_of_bad_rows_alone_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vqa.data.reading.BAD_ROWS", 100)
    path = put(tmp_path, "{}\n" * 101, "data.jsonl")
    with pytest.raises(InputError, match=r"data\.jsonl:101: .*100 rows before it are bad"):
        bad_of(path)
    with pytest.raises(InputError, match="100 rows before"):
        list(read(path))
    assert len(bad_of(put(tmp_path, "{}\n" * 100, "data.jsonl"))[1]) == 100


@pytest.mark.parametrize("line", ['"x\n', ',"\n', "a,b\n", 'a.png,"What? is "it",cat\n'])
def test_a_table_of_bad_rows_alone_is_given_up_before_it_is_gone_through(
    tmp_path: Path, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("reading", "formats.table_rows"):
        monkeypatch.setattr(f"vqa.data.{module}.BAD_ROWS", 100)
    path = put(tmp_path, "image,question,answer\n" + line * 500_000, "data.csv")
    with at_most(16 << 20), pytest.raises(InputError, match="100 rows before it are bad") as error:
        check(path)
    assert error.value.exit_code == 2 and "\n" not in str(error.value)


def test_the_check_keeps_few_long_answers(tmp_path: Path) -> None:
    rows = [FLAT | {"id": n, "answer": f"{n}{'x' * 800_000}"} for n in range(150)]
    path = put(tmp_path, "\n".join(map(json.dumps, rows)))
    del rows
    with at_most(100 << 20):
        assert check(path).rows == 150
