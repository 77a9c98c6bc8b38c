"""Classes of Hugging Face's tables, which store numbers and mean names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.written import bad_of
from vqa.data import read
from vqa.data.example import Example

NAMES = ["no", "yes"]


def rows_of(path: Path) -> list[Example]:
    return list(read(path, need_images=False, need_answers=False))


@pytest.mark.parametrize("form", ["directory", "parquet"])
def test_names_of_classes(tmp_path: Path, form: str) -> None:
    datasets = pytest.importorskip("datasets")
    columns = {"image": ["a.png"] * 4, "question": ["Is it red?"] * 4,
               "answer": ["yes", "no", None, -1], "topic": ["color"] * 4}  # fmt: skip
    features = datasets.Features(
        image=datasets.Value("string"), question=datasets.Value("string"),
        answer=datasets.ClassLabel(names=NAMES), topic=datasets.ClassLabel(names=["color"]),
    )  # fmt: skip
    data = datasets.Dataset.from_dict(columns, features=features)
    path = tmp_path / "data"
    data.save_to_disk(path) if form == "directory" else data.to_parquet(path)
    rows = rows_of(path)
    assert [row.answers for row in rows] == [("yes",), ("no",), (), ()]
    assert rows[0].extra == {"topic": "color"}


def test_lists_of_classes(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        image=datasets.Value("string"), question=datasets.Value("string"),
        answers=datasets.Sequence(datasets.ClassLabel(names=NAMES)),
    )  # fmt: skip
    columns = {"image": ["a.png"], "question": ["Is it red?"], "answers": [["yes", "no"]]}
    datasets.Dataset.from_dict(columns, features=features).to_parquet(tmp_path / "data")
    assert [row.answers for row in rows_of(tmp_path / "data")] == [("yes", "no")]


def test_lists_as_older_versions_wrote_them(tmp_path: Path) -> None:
    features = {"answers": [{"names": NAMES, "_type": "ClassLabel"}]}
    metadata = json.dumps({"info": {"features": features}}).encode()
    table = pa.table({"question": ["What?"], "answers": [[1, 0]]})
    pq.write_table(table.replace_schema_metadata({b"huggingface": metadata}), tmp_path / "data")
    assert [row.answers for row in rows_of(tmp_path / "data")] == [("yes", "no")]


def with_metadata(path: Path, metadata: bytes) -> Path:
    columns: dict[str, list[Any]] = {"question": ["What?"] * 2, "answer": [1, 2]}
    table = pa.table(columns).replace_schema_metadata({b"huggingface": metadata})
    pq.write_table(table, path)
    return path


def test_a_class_without_a_name_is_a_bad_row(tmp_path: Path) -> None:
    features = {"answer": {"names": NAMES, "_type": "ClassLabel"}}
    metadata = json.dumps({"info": {"features": features}}).encode()
    path = with_metadata(tmp_path / "data", metadata)
    good, bad = bad_of(path, need_images=False)
    assert [row.answers for row in good] == [("yes",)]
    assert [row.reason for row in bad] == ["class 2, of 2 that the file names (from 0)"]


@pytest.mark.parametrize(
    "metadata",
    [
        b"\xff", b"[]", b'{"info": 1}', b'{"info": {"features": [1]}}', b"[" * 100_000,
        b'{"info": {"features": {"answer": {"_type": "ClassLabel", "names": [1]}}}}',
        b'{"info": {"features": {"answer": {"_type": "ClassLabel"}}}}',
        b'{"info": {"features": {"other": {"_type": "ClassLabel", "names": ["a"]}}}}',
    ],
)  # fmt: skip
def test_other_metadata_changes_nothing(tmp_path: Path, metadata: bytes) -> None:
    path = with_metadata(tmp_path / "data", metadata)
    assert [row.answers for row in rows_of(path)] == [("1",), ("2",)]
