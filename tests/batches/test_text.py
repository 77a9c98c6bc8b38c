"""What the rows of a guest's file may hold together."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.batches.painter import pictures, png
from vqa.batches import Batches, Limits
from vqa.errors import InputError

ROW: dict[str, Any] = {"image": "red.png", "question": "What?"}


def jsonl(*rows: dict[str, Any]) -> io.BytesIO:
    return io.BytesIO("\n".join(map(json.dumps, rows)).encode())


def refused(batches: Batches, name: str, data: io.BytesIO, limits: Limits, why: str) -> None:
    with pytest.raises(InputError, match=f"^{name} has more than {why}") as error:
        batches.start("ann", name, data, pictures(), limits=limits)
    assert "\n" not in str(error.value) and len(str(error.value)) < 200
    assert not list(batches.store.directory.iterdir())


@pytest.mark.parametrize(
    "large",
    [
        {"question": "x" * 900},
        {"answers": ["x" * 300] * 3},
        {"system": "x" * 900},
        {"note": ["x" * 900]},
        {"earlier": [{"question": "x" * 450, "answer": "x" * 450}]},
    ],
)
def test_many_large_rows(batches: Batches, large: dict[str, Any]) -> None:
    rows = [ROW | large | {"id": n} for n in range(20)]
    refused(batches, "a.jsonl", jsonl(*rows), Limits(text=15_000), "15,000 characters of text")
    key = batches.start("ann", "a.jsonl", jsonl(*rows), pictures(), limits=Limits(text=80_000))
    batches.wait(key)
    assert batches.run("ann", key).done == 20


def test_a_small_file_of_one_text_in_every_row(batches: Batches) -> None:
    picture = {"bytes": png("red"), "path": None}
    table = pa.table(
        {
            "image": pa.array([picture] * 300),
            "question": pa.DictionaryArray.from_arrays(
                pa.array([0] * 300, pa.int32()), pa.array(["x" * 900_000])
            ),
        }
    )
    file = io.BytesIO()
    pa.parquet.write_table(table, file, compression="zstd")
    assert len(file.getvalue()) < 100_000
    refused(batches, "a.parquet", file, Limits(text=20_000_000), "20,000,000 characters")


def test_bad_rows_are_counted_before_there_is_a_good_one(batches: Batches) -> None:
    bad = [{"image": "red.png"}] * 30
    refused(batches, "a.jsonl", jsonl(*bad, ROW), Limits(rows=20), "20 rows")
    refused(batches, "a.jsonl", jsonl(ROW, *bad), Limits(rows=20), "20 rows")


def test_the_page_bounds_the_text_of_guests() -> None:
    from app.batch_page import _FOR_GUESTS
    from vqa.data.row_limits import GUEST_TEXT

    assert _FOR_GUESTS.text == GUEST_TEXT
