"""Rows of a data set of Hugging Face are measured before they are built, as those of Parquet."""

from __future__ import annotations

import re
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.batches.painter import png
from tests.data.written import bad_of
from vqa.data import row_limits
from vqa.data.formats import arrow_rows
from vqa.data.reading import read

datasets = pytest.importorskip("datasets")
PICTURE = {"bytes": png("red"), "path": None}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(arrow_rows, "ROW", 4 << 20)
    monkeypatch.setattr(row_limits, "VALUES", 50_000)
    monkeypatch.setenv("VQA_CACHE", str(tmp_path / "cache"))


def saved(folder: Path, **columns: Any) -> Path:
    rows = len(next(iter(columns.values())))
    plain = {"image": pa.array([PICTURE] * rows), "question": pa.array(["What?"] * rows),
             "answer": pa.array(["cat"] * rows)}  # fmt: skip
    datasets.Dataset(pa.table(plain | columns)).save_to_disk(folder / "saved")
    return folder / "saved"


@pytest.mark.parametrize(
    ("column", "large", "message"),
    [
        ("other", "x" * (5 << 20), "more than"),
        ("image", {"bytes": b"x" * (5 << 20), "path": None}, "more than"),
        ("other", ["x" * 1000] * 5_000, "more than"),
        ("other", [{"a": 1}] * 60_000, "50,000 values"),
        ("question", "x" * 1_100_000, "1,100,000 characters"),
    ],
)
def test_a_large_row_hides_no_other(tmp_path: Path, column: str, large: Any, message: str) -> None:
    small = {"image": PICTURE, "question": "What?"}.get(column)
    path = saved(tmp_path, **{column: pa.array([small, large, small])})
    good, bad = bad_of(path)
    assert [row.line for row in good] == [1, 3] and [row.line for row in bad] == [2]
    assert re.search(message, bad[0].reason)


def test_many_rows_are_not_built_together(tmp_path: Path) -> None:
    path = saved(tmp_path, other=pa.array(["x" * 900_000] * 200))
    tracemalloc.start()
    try:
        assert sum(1 for _ in read(path, bad=lambda bad: None)) == 200
        assert tracemalloc.get_traced_memory()[1] < 40 << 20  # of 180
    finally:
        tracemalloc.stop()


def test_texts_that_show_the_same_bytes_are_counted_each(tmp_path: Path) -> None:
    text = "x" * 900_000
    length, start = len(text).to_bytes(4, "little"), text[:4].encode()
    views = (length + start + bytes(8)) * 10
    shared = pa.Array.from_buffers(
        pa.string_view(), 10, [None, pa.py_buffer(views), pa.py_buffer(text.encode())]
    )
    (size, values) = arrow_rows._size(shared.slice(2, 5))
    assert (size, values) == (5 * len(text), 5)


def test_a_damaged_file(tmp_path: Path) -> None:
    path = saved(tmp_path, other=pa.array(["unlikely", "longer than it was", "third"]))
    (file,) = path.glob("*.arrow")
    data = file.read_bytes()
    for at, new in ((data.index(b"unlikely"), b"\xff\xfe"), (None, b"")):
        if at is None:  # offsets that lead out of the text
            offsets = b"".join(n.to_bytes(4, "little") for n in (0, 8, 26, 31))
            at, new = data.index(offsets) + 8, (1 << 30).to_bytes(4, "little")
        file.write_bytes(data[:at] + new + data[at + len(new) :])
        good, bad = bad_of(path)
        assert len(good) + len(bad) == 3 and bad
        assert all(re.search("UTF-?8|ffset|length", row.reason) for row in bad)
