"""The table of contents of a Parquet file: as pyarrow reads it, and where pyarrow itself ends."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.written import bad_of
from vqa.data.formats.parquet_pages import ColumnChunk, row_groups
from vqa.errors import InputError

ROWS = [
    {"id": n, "image": {"bytes": b"\x89PNG" + bytes([n]), "path": "a.png"}, "question": "What?",
     "answers": ["a cat", "cat"], "more": {"a": [1.5, None]}}
    for n in range(7)
]  # fmt: skip
WRITINGS: list[dict[str, Any]] = [
    {},
    {"row_group_size": 3},
    {"compression": "none", "use_dictionary": False},
    {"compression": "zstd", "data_page_version": "2.0", "write_page_checksum": True},
    {"version": "1.0", "write_statistics": False, "store_schema": False},
    {"write_page_index": True},
]


def written(**options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), file, **options)
    return file.getvalue()


@pytest.mark.parametrize("options", WRITINGS, ids=range(len(WRITINGS)))
def test_chunks_lie_where_pyarrow_reads_them(options: dict[str, Any]) -> None:
    file = io.BytesIO(written(**options))
    metadata = pq.read_metadata(file)
    groups = list(row_groups(file))
    assert len(groups) == metadata.num_row_groups
    for number, chunks in enumerate(groups):
        known = [metadata.row_group(number).column(n) for n in range(metadata.num_columns)]
        assert chunks == [
            ColumnChunk(
                min(c.data_page_offset, c.dictionary_page_offset or c.data_page_offset),
                c.total_compressed_size,
            )
            for c in known
        ]


def test_no_byte_of_the_table_of_contents_ends_the_process(tmp_path: Path) -> None:
    whole = written(store_schema=False)
    path = tmp_path / "data.parquet"
    start = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    for at in range(start, len(whole) - 8):
        changed = bytearray(whole)
        changed[at] = (changed[at] + 1) % 256
        path.write_bytes(changed)
        try:
            good, bad = bad_of(path)
        except InputError:
            continue
        assert len(good) <= len(ROWS) and all(row.reason for row in bad)
