"""What pictures inside an uploaded data file may take on the disk."""

from __future__ import annotations

import base64
import io
import json
import os

import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.batches.painter import png
from vqa.batches import Batches, Limits, ZipLimits
from vqa.errors import InputError


def parquet(pictures: list[bytes]) -> io.BytesIO:
    rows = [{"image": {"bytes": picture, "path": None}, "question": "?"} for picture in pictures]
    file = io.BytesIO()
    pa.parquet.write_table(pa.Table.from_pylist(rows), file, compression="zstd")
    return file


def refused(batches: Batches, name: str, data: io.BytesIO, limits: ZipLimits, why: str) -> None:
    with pytest.raises(InputError, match=f"{name}.*{why}|{why}.*{name}") as error:
        batches.start("ann", name, data, limits=Limits(unpacked=limits))
    assert str(batches.store.directory) not in str(error.value)
    assert not list(batches.store.directory.iterdir())


def test_a_small_file_does_not_fill_the_disk(batches: Batches) -> None:
    bomb = parquet([png("red") + bytes(1 << 20) + bytes([n]) for n in range(60)])
    assert len(bomb.getvalue()) < 10_000
    refused(batches, "a.parquet", bomb, ZipLimits(files=5000, size=1 << 30), "200 times its own")


def test_each_limit_of_zip_files_holds(batches: Batches) -> None:
    data = parquet([png("red") + os.urandom(50_000) for _ in range(6)])
    limits = ZipLimits(files=6, size=400_000, free=0)
    key = batches.start("ann", "a.parquet", data, limits=Limits(unpacked=limits))
    batches.wait(key)
    assert batches.run("ann", key).done == 6
    batches.delete("ann", key)
    for tighter, why in (
        (ZipLimits(files=5, free=0), "at most 5 files"),
        (ZipLimits(size=300_000, free=0), "more than can be taken"),
        (ZipLimits(free=1 << 60), "too full"),
    ):
        refused(batches, "a.parquet", data, tighter, why)


def test_small_pictures_take_a_block_each(batches: Batches) -> None:
    data = parquet([png("red") + os.urandom(9) for _ in range(30)])
    refused(batches, "a.parquet", data, ZipLimits(size=100_000), "more than can be taken")


def test_equal_pictures_are_counted_once(batches: Batches) -> None:
    limits = Limits(unpacked=ZipLimits(files=1, size=5000, free=0))
    key = batches.start("ann", "a.parquet", parquet([png("red")] * 40), limits=limits)
    batches.wait(key)
    assert batches.run("ann", key).done == 40


def test_pictures_in_data_urls_are_counted_too(batches: Batches) -> None:
    rows = []
    for color in ("red", "lime", "blue"):
        url = f"data:image/png;base64,{base64.b64encode(png(color)).decode()}"
        parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "?"}]
        rows.append(json.dumps({"messages": [{"role": "user", "content": parts}]}))
    data = io.BytesIO("\n".join(rows).encode())
    refused(batches, "a.jsonl", data, ZipLimits(files=2), "at most 2 files")
