"""An index whose disk is full, or whose directory goes away: an early error that counts it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.run import vqa_here
from tests.disk import full_beyond
from vqa.alignment import search
from vqa.alignment.dual_encoder import DualEncoder
from vqa.alignment.index import PictureIndex, describe_saved
from vqa.alignment.search import index_folder
from vqa.errors import DiskError

Capture = pytest.CaptureFixture[str]


def test_it_is_told_before_anything_is_encoded(
    photos: Path, tmp_path: Path, encoder: DualEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    monkeypatch.setattr(
        DualEncoder, "encode_images", lambda self, images: encoded.append(len(images))
    )
    for out in (tmp_path / "index", tmp_path / "there"):
        if out.name == "there":
            out.mkdir()
        with full_beyond(1_000), pytest.raises(DiskError, match=r"Cannot write .*needs about"):
            index_folder(photos, out, encoder)
        assert encoded == []
        assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".tmp")]
    assert describe_saved(tmp_path / "index") == "nothing is kept; the same command begins again"


def test_full_while_it_is_saved_the_last_state_is_kept_and_counted(
    photos: Path, clip: Path, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_AT_ONCE", 1)
    monkeypatch.setattr(search, "_SAVE_EVERY", 0.0)
    out = tmp_path / "index"
    save = PictureIndex.save

    def full_later(self: PictureIndex) -> None:
        if len(self) < 3:
            save(self)
        else:
            with full_beyond(100):
                save(self)

    command = ("search", "index", photos, "--out", out, "--model", clip)
    with monkeypatch.context() as patch:
        patch.setattr(PictureIndex, "save", full_later)
        done = vqa_here(capfd, *command)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "File too large" in done.stderr
    assert done.stderr.endswith(f"({out} keeps 2 pictures; the same command goes on)\n")
    assert "(4 encoded, 2 unchanged" in vqa_here(capfd, *command).stderr


def test_its_directory_deleted_meanwhile_is_whole_at_the_end(
    photos: Path, tmp_path: Path, encoder: DualEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_AT_ONCE", 1)
    monkeypatch.setattr(search, "_SAVE_EVERY", 0.0)
    out = tmp_path / "index"

    def delete(done: int, total: int) -> None:
        if done in (2, total):
            shutil.rmtree(out, ignore_errors=True)

    index_folder(photos, out, encoder, delete)
    assert len(PictureIndex.open(out)) == 6
