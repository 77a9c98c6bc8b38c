"""From judged answers to a better model in three commands, as they are printed; on a tiny model."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import pytest

from tests import tiny
from tests.cli.run import vqa_here
from tests.judging import judge, png
from vqa.chat.history import History


def test_three_commands(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VQA_CACHE", os.fspath(tmp_path / "cache"))
    tiny.llava_1_5(Path("base"))
    history = History(Path("chats"))
    for red in range(0, 250, 25):
        picture, answer = png(f"#{red:02x}0000"), "yes" if red > 100 else "no"
        key, _ = judge(history, "Red?", "maybe", picture, correction=answer, model="base")
        judge(history, "Sure?", "quite", rating=1, conversation=key, model="base")
    history.close()

    result = vqa_here(capfd, "data", "export-feedback", "fb", "--history", "chats", "--json")
    assert result.returncode == 0, result
    found = json.loads(result.stdout)
    assert found["rows"] == 20 and found["test"]["rows"] >= 2
    train, compare = map(shlex.split, found["next"])
    assert train[:4] == ["vqa", "train", "finetune", "model=base"]

    few = ("epochs=1", "device=cpu", "dtype=float32", "row_tokens=128", "warmup_ratio=0")
    result = vqa_here(capfd, *train[1:], *few)
    assert result.returncode == 0, result
    assert (tmp_path / "runs" / "fb" / "adapter_config.json").is_file()

    result = vqa_here(capfd, *compare[1:], "--max-new-tokens", "2")
    assert result.returncode == 0, result
    assert f"exact_match over {found['test']['rows']} rows" in result.stdout
    assert any(line.split()[:1] == ["runs/fb"] for line in result.stdout.splitlines())
