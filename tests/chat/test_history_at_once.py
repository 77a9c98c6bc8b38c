"""Many who write into one history at the same time."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import vqa.chat.database
from vqa.chat.history import History
from vqa.chat.picture_store import PictureFolder


def test_who_writes_waits_for_as_long_as_others_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = PictureFolder.add

    def slowly(self: PictureFolder, content: bytes) -> str:
        time.sleep(0.1)  # a busy disk
        return add(self, content)

    monkeypatch.setattr(PictureFolder, "add", slowly)
    monkeypatch.setattr(vqa.chat.database, "_PATIENCE", 0.3)  # less than all of them need
    history = History(tmp_path)

    def ask(number: int) -> None:
        conversation = history.start(f"owner {number}")
        history.add_question(
            f"owner {number}", conversation, None, "What?", [("a.png", b"%d" % number)]
        )

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(ask, range(12)))
    for number in range(12):
        [one] = history.conversations(f"owner {number}")
        [turn] = history.branch(f"owner {number}", one.id)
        assert turn.pictures[0].path.read_bytes() == b"%d" % number
