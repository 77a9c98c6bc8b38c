from __future__ import annotations

from pathlib import Path

import pytest

from vqa.data.embedded_pictures import DiskQuota, store_picture, store_pictures_in
from vqa.errors import InputError


def budget(files: int = 10, size: int = 100_000) -> DiskQuota:
    return DiskQuota(files, size, "too many", "too large")


def test_a_budget_is_passed_by_files_or_by_bytes(tmp_path: Path) -> None:
    with store_pictures_in(tmp_path / "few", budget(files=2)):
        store_picture(b"one"), store_picture(b"two"), store_picture(b"two")
        with pytest.raises(InputError, match="too many"):
            store_picture(b"three")
    with store_pictures_in(tmp_path / "small", budget(size=2 * 4096 + 100)):
        store_picture(bytes(60))
        with pytest.raises(InputError, match="too large"):
            store_picture(bytes(61))
    for folder, count in (("few", 2), ("small", 1)):
        stored = [path for path in (tmp_path / folder).rglob("*") if path.is_file()]
        assert len(stored) == count


def test_only_with_a_budget_is_anything_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vqa.inputs.images.MAX_PIXELS", 125)  # 1,000 bytes
    with store_pictures_in(tmp_path):
        with store_pictures_in(tmp_path, budget()), pytest.raises(ValueError, match="1,001 bytes"):
            store_picture(bytes(1001))
        assert store_picture(bytes(1001)).stat().st_size == 1001


def test_a_picture_too_large_for_load_image_makes_its_row_bad(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    from vqa.data import read

    monkeypatch.setattr("vqa.inputs.images.MAX_PIXELS", 125)  # 1,000 bytes
    file = tmp_path / "a.parquet"
    rows = [{"image": {"bytes": bytes(size)}, "question": "?"} for size in (1000, 1001)]
    pa.parquet.write_table(pa.Table.from_pylist(rows), file)
    bad: list[str] = []
    with store_pictures_in(tmp_path / "inside", budget()):
        rows = list(read(file, need_answers=False, bad=lambda row: bad.append(row.reason)))
    assert len(rows) == 1 and len(bad) == 1 and "1,001 bytes" in bad[0]


@pytest.mark.parametrize("damage", ["zeros", "cut short", "empty", "longer"])
def test_a_damaged_picture_is_written_again(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = bytes(range(256)) * 40
    damaged = {"zeros": data[:99] + bytes(9) + data[108:], "cut short": data[:-1], "empty": b""}
    with store_pictures_in(tmp_path):
        path = store_picture(data)
        path.write_bytes(damaged.get(damage, data + b"x"))
        assert store_picture(data) == path
        assert path.read_bytes() == data
        assert capsys.readouterr().err == f"vqa: {path} is damaged; it is written again\n"
        store_picture(data)
        assert capsys.readouterr().err == ""
