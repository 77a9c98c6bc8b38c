"""Data files that mean ill."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from tests.hostile.harness import Case, Command

_LONG = "x" * 50_000_000
_ROW = {"image": "photo.png", "question": "What is it?", "answer": "a cat"}
_HEADER = b"image,question,answer\n"
Plant = Callable[[Path, ExitStack], Command]


def _planted(name: str, write: Callable[[Path], None]) -> Plant:
    """Plant a file, and score with it: a row of it, or the file, is refused."""

    def plant(directory: Path, _: ExitStack) -> Command:
        path = directory / name
        write(path)
        prediction = json.dumps({"id": 1, "prediction": "a cat"})
        (directory / "predictions.jsonl").write_text(f"{prediction}\n", encoding="utf-8")
        return Command(["score", "--data", name, "--predictions", "predictions.jsonl"])

    return plant


def _bytes(name: str, *parts: bytes, size: int = 0) -> Plant:
    """A file of these bytes, made `size` bytes long by a hole at its end."""

    def write(path: Path) -> None:
        with path.open("wb") as file:
            file.writelines(parts)
            if size:
                file.truncate(size)

    return _planted(name, write)


def _parquet(**columns: pa.Array) -> Plant:
    def write(path: Path) -> None:
        rows = len(next(iter(columns.values())))
        plain = {name: pa.array([value] * rows) for name, value in _ROW.items()}
        table = pa.table(plain | columns)
        pyarrow.parquet.write_table(
            table, path, compression="zstd", row_group_size=rows, write_statistics=False,
            use_dictionary="unpacked" not in columns,
        )  # fmt: skip

    return _planted("data.parquet", write)


def _shared(rows: int, text: str) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([text]))


def _one_list(values: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)


CASES = [
    Case("parquet-shared", _parquet(question=_shared(64, _LONG)), "50,000,000 characters"),
    Case("parquet-list", _parquet(other=_one_list(_shared(100_000, _LONG[:900_000]))),
         "row of more than 64 MiB"),
    Case("parquet-nulls", _parquet(other=_one_list(pa.nulls(100_000_000, pa.int64()))),
         "100,000,000 values"),
    Case("parquet-page", _parquet(unpacked=pa.array(["\0" * 500_000_000])), "unpacks to"),
    Case("parquet-cut", _bytes("data.parquet", b"PAR1", b"\xff" * 1000, b"\xff\xff\xff\x7fPAR1"),
         "damaged Parquet"),
    Case("jsonl-line", _bytes("data.jsonl", b'{"id": "', size=5 << 30),
         "row of more than 64 MiB"),
    Case("jsonl-values", _bytes("data.jsonl", b'{"x": [', b"[]," * 15_000_000, b"1]}\n"),
         "more than 2,000,000 values"),
    Case("jsonl-deep", _bytes("data.jsonl", b"[" * 30_000_000, b"\n"), "too deep|values"),
    Case("jsonl-bad", _bytes("data.jsonl", b"{}\n" * 400_000), "300,000 rows before it"),
    Case("json-string", _bytes("data.json", b'[{"id": "', b"x" * 200_000_000),
         "no known format"),
    Case("csv-line", _bytes("data.csv", _HEADER, b'photo.png,"', size=5 << 30),
         "row of more than 64 MiB"),
    Case("csv-cells", _bytes("data.csv", _HEADER, b"ab," * 15_000_000, b"\n"),
         "more than 100,000 cells"),
    Case("csv-quotes", _bytes("data.csv", _HEADER, b'"', b'\n","' * 1_000_000), "CSV|values|cells"),
    Case("csv-open", _bytes("data.csv", _HEADER, b'"x\n' * 4_000_000), "300,000 rows before it"),
]  # fmt: skip
