"""Parquet: what a row group takes is known before it is unpacked; a bad row hides no other."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.data.written import bad_of
from vqa.errors import InputError

LONG = "x" * 5_000_000


def written(path: Path, columns: dict[str, Any], **how: Any) -> Path:
    rows = len(next(iter(columns.values())))
    plain = {"image": ["a.png"] * rows, "question": ["What?"] * rows, "answer": ["cat"] * rows}
    plain = {name: values for name, values in plain.items() if f"{name}s" not in columns}
    pyarrow.parquet.write_table(pa.table(plain | columns), path, **({"compression": "zstd"} | how))
    return path


def shared(rows: int, text: str = LONG) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([text]))


def lists(lengths: list[int], values: pa.Array) -> pa.Array:
    ends = [sum(lengths[:n]) for n in range(len(lengths) + 1)]
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), values)


def test_rows_that_share_a_long_text(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", {"question": shared(64), "other": shared(64, "y" * 9)})
    assert path.stat().st_size < 4000
    started = time.process_time()
    good, bad = bad_of(path)
    assert not good and len(bad) == 64 and "5,000,000 characters" in bad[0].reason
    assert time.process_time() - started < 5


def test_lists_that_share_a_long_text(tmp_path: Path) -> None:
    answers = lists([10] * 3 + [20_000] + [1], shared(20_031))
    path = written(tmp_path / "a.parquet", {"answers": answers})
    _, bad = bad_of(path)
    assert [one.line for one in bad] == [1, 2, 3, 4, 5]
    assert bad[3].reason.startswith("a row of more than") and "characters" in bad[4].reason


@pytest.mark.parametrize("nested", [False, True])
def test_short_texts_in_long_dictionaries_are_read(tmp_path: Path, nested: bool) -> None:
    texts = [f"answer {n} {'y' * 900}" for n in range(5000)]
    column = {"answers": lists([3, 2] * 1000, pa.array(texts))} if nested else {"question": texts}
    path = written(tmp_path / "a.parquet", column, dictionary_pagesize_limit=64 << 20)
    good, bad = bad_of(path)
    assert not bad and len(good) == (2000 if nested else 5000)
    assert good[7].answers == tuple(texts[18:20]) if nested else good[7].question == texts[7]


@pytest.mark.parametrize("codec", ["zstd", "gzip", "snappy", "brotli"])
def test_a_page_that_unpacks_to_gigabytes(tmp_path: Path, codec: str) -> None:
    path = written(
        tmp_path / "a.parquet",
        {"question": ["What?", "\0" * 70_000_000]},
        compression=codec,
        use_dictionary=False,
        row_group_size=1,
    )
    good, bad = bad_of(path)
    assert [one.line for one in good] == [1] and [one.line for one in bad] == [2]
    if codec != "snappy":  # which never packs so well
        assert "unpacks to 70,000," in bad[0].reason


def test_more_rows_than_bytes(tmp_path: Path) -> None:
    nulls = pa.nulls(5_000_000)
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pa.table({"question": nulls}), path, row_group_size=5_000_000)
    with pytest.raises(InputError, match=r"a\.parquet: it says that 5,000,000 rows are in"):
        bad_of(path)


def test_one_row_of_millions_of_nothing(tmp_path: Path) -> None:
    column = lists([40_000_000, 1], pa.nulls(40_000_001, pa.int64()))
    good, bad = bad_of(written(tmp_path / "a.parquet", {"other": column}))
    assert not good and "40,000,001 values in 2 rows (and all rows up to 2)" in bad[0].reason


def test_a_table_of_contents_larger_than_the_file(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", {"question": ["What?"]})
    data = path.read_bytes()
    for length in (len(data), 0x7FFFFFFF, 0xFFFFFFFF, 0):
        path.write_bytes(data[:-8] + struct.pack("<I", length) + b"PAR1")
        with pytest.raises(InputError, match=r"a\.parquet: damaged Parquet"):
            bad_of(path)


def test_a_schema_that_is_too_deep(tmp_path: Path) -> None:
    kind = pa.string()
    for _ in range(1000):
        kind = pa.struct([("a", kind)])
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pa.table({"question": pa.nulls(1, kind)}), path)
    with pytest.raises(InputError, match="damaged Parquet"):
        bad_of(path)


@pytest.mark.parametrize("nested", [False, True])
def test_a_text_that_is_not_utf8_makes_its_row_bad(tmp_path: Path, nested: bool) -> None:
    texts = pa.array([b"cat", b"Gr\xf6\xdfe", b"dog"]).view(pa.string())
    column = {"answers": lists([1, 1, 1], texts)} if nested else {"answer": texts}
    path = written(tmp_path / "a.parquet", column)
    good, bad = bad_of(path)
    assert [one.answers for one in good] == [("cat",), ("dog",)]
    assert [(one.line, one.reason) for one in bad] == [
        (2, f"column {'answers' if nested else 'answer'}: not UTF-8")
    ]


def test_a_time_that_is_none_makes_its_row_bad(tmp_path: Path) -> None:
    times = pa.array([0, 1 << 62, 0]).cast(pa.timestamp("us"))
    good, bad = bad_of(written(tmp_path / "a.parquet", {"time": times}, version="2.6"))
    assert len(good) == 2 and [one.line for one in bad] == [2]


def test_a_damaged_row_group_hides_no_other(tmp_path: Path) -> None:
    texts = [f"{n} {os.urandom(50).hex()}" for n in range(300)]
    path = written(
        tmp_path / "a.parquet", {"question": texts}, row_group_size=100, use_dictionary=False
    )
    whole = pyarrow.parquet.ParquetFile(path).metadata.row_group(1).column(1)
    with path.open("r+b") as file:
        file.seek(whole.data_page_offset + 100)
        file.write(b"\xff" * 2000)
    good, bad = bad_of(path)
    assert [one.line for one in good] == [*range(1, 101), *range(201, 301)]
    assert [one.line for one in bad] == [101]
    assert "damaged Parquet" in bad[0].reason and "(and all rows up to 200)" in bad[0].reason


def test_damage_that_only_a_checksum_shows(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.parquet",
        {"question": [f"What is {n}?" for n in range(20)]},
        row_group_size=10,
        use_dictionary=False,
        compression="none",
        write_page_checksum=True,
    )
    data = path.read_bytes().replace(b"What is 3?", b"What is 8?")
    path.write_bytes(data)
    good, bad = bad_of(path)
    assert [one.line for one in bad] == [1] and [one.line for one in good] == list(range(11, 21))


def test_every_byte_may_be_damaged(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", {"answers": lists([1, 2], pa.array(["a", "b", "c"]))})
    data = bytearray(path.read_bytes())
    for place in range(4, len(data) - 4, 7):
        before, data[place] = data[place], data[place] ^ 0xFF
        path.write_bytes(data)
        try:
            good, bad = bad_of(path)
            assert len(good) + len(bad) <= 100_300
        except InputError as error:
            assert len(str(error).splitlines()) == 1
        data[place] = before
