from __future__ import annotations

from pathlib import Path

import pytest

from vqa.data.stored import Budget, store, stored_in
from vqa.errors import InputError


def budget(files: int = 10, size: int = 100_000) -> Budget:
    return Budget(files, size, "too many", "too large")


def test_a_budget_is_passed_by_files_or_by_bytes(tmp_path: Path) -> None:
    with stored_in(tmp_path / "few", budget(files=2)):
        store(b"one"), store(b"two"), store(b"two")
        with pytest.raises(InputError, match="too many"):
            store(b"three")
    with stored_in(tmp_path / "small", budget(size=2 * 4096 + 100)):
        store(bytes(60))
        with pytest.raises(InputError, match="too large"):
            store(bytes(61))
    for folder, count in (("few", 2), ("small", 1)):
        kept = [path for path in (tmp_path / folder).rglob("*") if path.is_file()]
        assert len(kept) == count


def test_only_with_a_budget_is_anything_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vqa.images.MAX_PIXELS", 125)  # 1,000 bytes
    with stored_in(tmp_path):
        with stored_in(tmp_path, budget()), pytest.raises(ValueError, match="1,001 bytes"):
            store(bytes(1001))
        assert store(bytes(1001)).stat().st_size == 1001


def test_a_picture_too_large_for_load_image_makes_its_row_bad(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    from vqa.data import read

    monkeypatch.setattr("vqa.images.MAX_PIXELS", 125)  # 1,000 bytes
    file = tmp_path / "a.parquet"
    rows = [{"image": {"bytes": bytes(size)}, "question": "?"} for size in (1000, 1001)]
    pa.parquet.write_table(pa.Table.from_pylist(rows), file)
    bad: list[str] = []
    with stored_in(tmp_path / "inside", budget()):
        found = list(read(file, need_answers=False, bad=lambda row: bad.append(row.reason)))
    assert len(found) == 1 and len(bad) == 1 and "1,001 bytes" in bad[0]
