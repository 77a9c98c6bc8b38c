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


@pytest.mark.parametrize("recipe", ["finetune", pytest.param("preference", marks=pytest.mark.slow)])
def test_three_commands(
    recipe: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
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

    pairs = ["--pairs"] * (recipe == "preference")
    result = vqa_here(
        capfd, "data", "export-feedback", "fb", "--history", "chats", "--json", *pairs
    )
    assert result.returncode == 0, result
    feedback = json.loads(result.stdout)
    # a thumb up says nothing of another answer
    assert feedback["rows"] == (10 if pairs else 20) and feedback["test"]["rows"] >= 1
    train, compare = map(shlex.split, feedback["next"])
    assert train[:4] == ["vqa", "train", recipe, "model=base"]

    few = ("epochs=1", "device=cpu", "dtype=float32", "row_tokens=128", "warmup_ratio=0")
    result = vqa_here(capfd, *train[1:], *few)
    assert result.returncode == 0, result
    assert (tmp_path / "runs" / "fb" / "adapter_config.json").is_file()

    result = vqa_here(capfd, *compare[1:], "--max-new-tokens", "2")
    assert result.returncode == 0, result
    assert f"exact_match over {feedback['test']['rows']} row" in result.stdout
    assert any(line.split()[:1] == ["runs/fb"] for line in result.stdout.splitlines())
